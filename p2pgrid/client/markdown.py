"""Descriptions in Markdown, as static HTML and for a terminal: nothing in them runs, and nothing is fetched.

HTML in a description is shown as text.  An image is shown as its words, a link only with an http, https or mailto
address; following it tells nobody where it came from.
"""

from __future__ import annotations

import html
import io
import shutil
from typing import Any, Final
from urllib.parse import urlsplit

from p2pgrid.client.show import clean

SCHEMES: Final = frozenset({"http", "https", "mailto"})
MAX_MARKDOWN: Final = 20_000
"""Characters that are rendered; what is longer is shown as text."""


def markdown_html(text: str) -> str:
    """A description as HTML that holds no script, no style and no address of anything but links."""
    shown = clean(text, lines=True)
    if not shown.strip():
        return ""
    if len(shown) > MAX_MARKDOWN:
        return f"<pre>{html.escape(shown)}</pre>"
    parser = _parser()
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link)
    return f'<div class="p2pgrid-description">{parser.render(shown)}</div>'


def markdown_text(text: str, *, color: bool = False) -> str:
    """A description for a terminal, as wide as it is."""
    from rich.console import Console
    from rich.markdown import Markdown

    shown = clean(text, lines=True)
    if not shown.strip() or len(shown) > MAX_MARKDOWN:
        return shown
    out = io.StringIO()
    width = max(40, min(120, shutil.get_terminal_size((100, 24)).columns))
    # Without hyperlinks: a terminal would hide the address behind a stranger's words.
    Console(file=out, width=width, color_system="standard" if color else None, force_jupyter=False).print(
        Markdown(shown, hyperlinks=False)
    )
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def _parser() -> Any:
    from markdown_it import MarkdownIt  # what rich renders with

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _image(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    words = html.escape(tokens[index].content or "image")
    return f"[{words}]"


def _link(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    address = str(tokens[index].attrs.get("href", ""))
    if urlsplit(address).scheme.lower() not in SCHEMES:
        return "<a>"
    return f'<a href="{html.escape(address)}" rel="noopener noreferrer nofollow" target="_blank">'
