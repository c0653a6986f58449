"""Reading submitted code: what is one plain function, and what tries to look like one."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgrid.domain.review import MAX_CODE, check_inputs, review, statement
from p2pgrid.errors import BadCode

SEED = """@sy.syft_function(input_policy=sy.ExactMatch(data=asset),
                  output_policy=sy.SingleExecutionExactOutput())
def compute_sum(data):
    return data.sum()
"""


def test_the_seeds_function_keeps_its_text_and_loses_its_decorator_when_it_runs() -> None:
    code = review(SEED)
    assert code.source == SEED
    assert code.function == "compute_sum"
    assert code.runnable == "\n\ndef compute_sum(data):\n    return data.sum()\n"
    assert code.calls == ("data.sum",)


def test_an_error_in_the_run_names_the_line_that_was_written() -> None:
    source = "@policy\n@other(\n  1)\ndef f(x):\n    # a comment\n    return 1 / 0\n"
    namespace: dict[str, object] = {}
    exec(compile(review(source).runnable, "<code>", "exec"), namespace)
    with pytest.raises(ZeroDivisionError) as caught:
        namespace["f"](1)  # type: ignore[operator]
    assert caught.traceback[-1].lineno + 1 == 6


@pytest.mark.parametrize("first", ["@policy\n", ""])
def test_annotations_need_not_exist_where_it_runs(first: str) -> None:
    code = review(
        first + "def f(x: np.ndarray, *, n: int = 2) -> pd.Series:\n    def g(y: Nowhere): return y\n    return x * n\n"
    )
    namespace: dict[str, object] = {}
    exec(compile(code.runnable, "<code>", "exec"), namespace)
    assert namespace["f"](4) == 8  # type: ignore[operator]


def test_imports_and_calls_are_listed() -> None:
    source = "def f(x):\n  import os, numpy\n  from a.b import c\n  return numpy.linalg.norm(x)(getattr(os, 'x')())\n"
    code = review(source)
    assert code.imports == ("a.b.c", "numpy", "os")
    assert code.calls == ("(...)", "getattr", "numpy.linalg.norm")


def test_indented_code_is_read_as_it_was_meant() -> None:
    assert review("    def f(x):\r\n        return x\r\n").runnable == "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "one function"),
        ("x = 1", "one function"),
        ("'text'\ndef f(x): return x", "one function"),
        ("def f(x): return x\nf(1)", "one function"),
        ("def f(x): return x\ndef g(x): return x", "one function"),
        ("class A:\n    def f(self): pass", "one function"),
        ("import os\ndef f(x): return x", "outside"),
        ("async def f(x): return x", "async def"),
        ("def f(x):\n    async def g(): pass", "async def"),
        ("def f(x):\n    global y\n    y = x", "global"),
        ("def f(x):\n    return [y async for y in x]", "async"),
        ("def f(*x): return x", "name each one"),
        ("def f(**x): return x", "name each one"),
        ("def f(x, /): return x", "name each one"),
        ("def f(x: return x", "no Python"),
        ("def f(x): return x\x00", "cannot be seen"),
        (f"def {'f' * 129}(x): return x", "name is over"),
        ("def f(x): return " + "(" * 300 + ")" * 300, "."),
        ("def f(x): return " + "-" * 60_000 + "1", "."),
        ("def f(x): return x" + ".a" * 30_000, "."),
        ("def f(x): return x" + "+x" * 30_000, "."),
        ("def f(x): return " + "9" * 10_000, "."),
        ("def f(x): return '" + "x" * MAX_CODE + "'", "over"),
        ("def f(x): return '" + "é" * (MAX_CODE // 2) + "'", "over"),
        ("def f(x): return '\ud800'", "cannot be seen"),
    ],
)
def test_what_is_not_one_plain_function(source: str, why: str) -> None:
    with pytest.raises(BadCode, match=why):
        review(source)


@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200b", "\u2028", "\x0c", "\x1b", "\r", "\ufeff", "\xad"])
def test_trojan_source_code_that_looks_like_other_code(char: str) -> None:
    with pytest.raises(BadCode, match="cannot be seen"):
        review(f"def f(x):\n    # {char} harmless\n    return x\n")


@pytest.mark.parametrize(
    "source", ["# coding: utf-7\ndef f(x): return x", "def f(x):\n  # -*- coding: rot13 -*-\n  return x"]
)
def test_a_coding_cookie_that_would_make_it_other_code(source: str) -> None:
    with pytest.raises(BadCode, match="encoding"):
        review(source)


def test_which_inputs_a_function_takes() -> None:
    code = review("def f(a, b=1, *, c, d=2): return a")
    assert (code.parameters, code.required) == (("a", "b", "c", "d"), ("a", "c"))
    check_inputs(code, {"a", "c"})
    check_inputs(code, {"a", "b", "c", "d"})
    with pytest.raises(BadCode, match="needs an input for c"):
        check_inputs(code, {"a"})
    with pytest.raises(BadCode, match="no parameter e"):
        check_inputs(code, {"a", "c", "e"})


@given(st.text(max_size=200) | st.text("def f(x): \n\t@#'\"\\\r;=global", max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        code = review(text)
    except BadCode:
        return
    again = ast.parse(code.runnable).body[-1]
    assert isinstance(again, ast.FunctionDef)
    assert not again.decorator_list


def test_a_statement_is_the_same_bytes_for_the_same_fields() -> None:
    fields = {
        "node": "00" * 20,
        "account": "jane@caltech.edu",
        "project": None,
        "name": "f",
        "code": "c",
        "input_policy": "ExactMatch",
        "output_policy": "o",
        "reason": "",
    }
    one = statement(inputs={"a": "1", "b": "2"}, **fields)  # type: ignore[arg-type]
    assert one == statement(inputs={"b": "2", "a": "1"}, **fields)  # type: ignore[arg-type]
    assert one != statement(inputs={"a": "2", "b": "1"}, **fields)  # type: ignore[arg-type]
