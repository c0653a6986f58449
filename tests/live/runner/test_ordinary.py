"""What honest functions do: it must all work inside the limits."""

from __future__ import annotations

import time
import venv
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from p2pgrid import assets, wire
from p2pgrid.domain.runner import LAYERS, Limits, RunInput, Runner, RunReport, RunSpec
from p2pgrid.domain.runner.tiers import NEEDS

Run = Callable[..., Awaitable[RunReport]]
Value = Callable[..., Awaitable[Any]]


async def test_numpy(run: Run) -> None:
    report = await run(
        "import numpy as np\ndef f(x, y): return np.mean(x, axis=0) + y.sum()", x=np.ones((5, 3)), y=np.arange(3)
    )
    assert report.ok, report
    assert wire.unpack_value(report.result or b"").tolist() == [4.0, 4.0, 4.0]
    assert report.result_shape == "numpy float64 (3,)"
    assert (report.error, report.failure, report.output, report.started) == ("", "", "", True)
    assert report.wall_seconds > 0
    assert report.cpu_seconds > 0
    assert report.max_rss > 5 << 20
    assert report.tier in ("strong", "kernel")
    assert set(NEEDS[report.tier]) <= set(report.confinement) <= set(LAYERS)


async def test_frame(run: Run) -> None:
    table = pd.DataFrame({"a": [1, 2, 2], "b": [0.5, 1.5, 2.5], "c": ["x", "y", None]})
    report = await run("def f(t): return t.groupby('a').b.mean().reset_index()", t=table)
    assert report.ok, report
    assert wire.unpack_value(report.result or b"").b.tolist() == [0.5, 2.0]
    assert report.result_shape == "DataFrame (2, 2)"


@pytest.mark.parametrize("given", ["grün\n", b"\x00\xff", {"a": [1, None, 2.5]}, [1, "x"], 7, None, ""])
async def test_text_bytes_and_json(value: Value, given: Any) -> None:
    assert await value("def f(x): return x", x=given) == given


async def test_sklearn_fit(value: Value) -> None:
    code = """
    def f(x, y):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score
        from sklearn.preprocessing import StandardScaler
        model = LogisticRegression(max_iter=200).fit(StandardScaler().fit_transform(x), y)
        return {"coef": model.coef_, "score": cross_val_score(LogisticRegression(), x, y, cv=3).mean()}
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10))
    found = await value(code, x=x, y=(x[:, 0] > 0).astype(int))
    assert found["coef"].shape == (1, 10)
    assert found["score"] > 0.8


async def test_sklearn_forest_with_threads(value: Value) -> None:
    code = """
    def f(x):
        from sklearn.ensemble import RandomForestClassifier
        return RandomForestClassifier(20, n_jobs=4).fit(x, x[:, 0] > 0).score(x, x[:, 0] > 0)
    """
    assert await value(code, x=np.random.default_rng(0).normal(size=(200, 4))) > 0.9


async def test_scipy(value: Value) -> None:
    code = "def f(x):\n    from scipy import stats, optimize\n    return float(stats.ttest_1samp(x, 0).pvalue)"
    assert await value(code, x=np.random.default_rng(0).normal(size=1000)) > 0.001


async def test_statsmodels(value: Value) -> None:
    code = "def f(x):\n    import statsmodels.api as sm\n    return sm.OLS(x[:, 0], x[:, 1:]).fit().params"
    assert (await value(code, x=np.random.default_rng(0).normal(size=(100, 3)))).shape == (2,)


async def test_threads(value: Value) -> None:
    code = """
    from concurrent.futures import ThreadPoolExecutor
    def f(x):
        with ThreadPoolExecutor(32) as pool:
            return sum(pool.map(float, x))
    """
    assert await value(code, x=np.arange(100)) == 4950.0


async def test_prints_are_kept_in_order(run: Run) -> None:
    report = await run(
        "import sys\ndef f():\n    print('one')\n    print('two', file=sys.stderr)\n    print('three')\n    return 0"
    )
    assert sorted(report.output.split()) == ["one", "three", "two"]


async def test_module_level_code_and_helpers(value: Value) -> None:
    code = """
    from dataclasses import dataclass
    SCALE = 3
    @dataclass
    class Pair:
        a: int
    def helper(x): return Pair(x * SCALE)
    def f(): return helper(2).a
    """
    assert await value(code) == 6


async def test_decorators_of_the_client_are_passed_over(value: Value) -> None:
    for decorator in (
        "@sy.syft_function(input_policy=sy.ExactMatch(x=1))",
        "@grid_function",
        "@p2pgrid.grid_function()",
    ):
        assert await value(f"{decorator}\ndef f(): return 1") == 1


async def test_other_decorators_stay(value: Value) -> None:
    assert await value("def twice(g): return lambda: 2 * g()\n@twice\ndef f(): return 4") == 8


async def test_parquet_in_memory(value: Value) -> None:
    code = """
    def f(t):
        import io, pandas as pd
        file = io.BytesIO()
        t.to_parquet(file)
        file.seek(0)
        return pd.read_parquet(file).a.sum()
    """
    assert await value(code, t=pd.DataFrame({"a": [1, 2]})) == 3


async def test_error_names_the_line(run: Run) -> None:
    report = await run("import json\ndef g(): return json.loads('{')\ndef f():\n    return g()")
    assert report.error.startswith("JSONDecodeError: ")
    assert report.error.endswith("(line 2 of the submitted code)")


async def test_syntax_error_names_the_line(run: Run) -> None:
    report = await run("def f():\n    return 1 +\n")
    assert report.error == "SyntaxError: invalid syntax (line 2 of the submitted code)"


async def test_missing_argument(run: Run) -> None:
    report = await run("def f(x, y): return 1", x=1)
    assert "missing 1 required positional argument: 'y'" in report.error


async def test_input_of_the_wrong_kind_is_the_nodes_fault(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"nonsense")
    for kind in ("numpy", "frame", "json"):
        report = await runner.run(RunSpec("def f(x): return 1", "f", {"x": RunInput(kind, str(tmp_path / "bad"))}))
        assert (report.failure, report.started) == ("unavailable", False)
        assert report.error.startswith("An input cannot be read")


async def test_big_result_within_its_limit(value: Value) -> None:
    assert (await value("import numpy as np\ndef f(): return np.ones(1_900_000)")).sum() == 1_900_000


@pytest.mark.slow
async def test_array_of_100_mb(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "big.npy"
    np.save(path, np.ones(13_107_200))
    started = time.monotonic()
    spec = RunSpec("def f(x): return float(x.sum())", "f", {"x": RunInput("numpy", str(path))})
    report = await runner.run(spec)
    assert wire.unpack_value(report.result or b"") == 13_107_200.0
    assert time.monotonic() - started < 5


async def test_memory_limit_counts_beyond_the_inputs(run: Run) -> None:
    code = "def f(x): return float((x * 2).sum())"
    report = await run(code, x=np.ones(10_000_000), limits=Limits(memory_bytes=128 << 20))
    assert report.ok, report
    report = await run(code, x=np.ones(10_000_000), limits=Limits(memory_bytes=32 << 20))
    assert report.failure == "memory"
    assert report.error


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "behind-a-link"])
async def test_interpreter_in_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, direct: bool) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    real = tmp_path / ("venv" if direct else "elsewhere")
    venv.create(real, symlinks=True)
    if not direct:
        (tmp_path / "venv").symlink_to(real)
    library = Path(np.__file__).parents[1]
    site = next(real.glob("lib/python*/site-packages"))
    (site / "more.pth").write_text(f"{library}\n")
    (site / "own_library.py").write_text("VALUE = 5\n")
    runner = Runner(python=str(tmp_path / "venv" / "bin" / "python"), hide=[tmp_path / "node"])
    code = "def f():\n    import own_library, scipy.stats, statistics\n    return own_library.VALUE"
    report = await runner.run(RunSpec(code, "f"))
    await runner.close()
    assert report.ok, report
    assert wire.unpack_value(report.result or b"") == 5


async def test_digests_of_inputs_stay(value: Value, tmp_path: Path) -> None:
    array = np.arange(10)
    before = assets.dump(array).meta.digest
    assert await value("def f(x):\n    x[:] = 0\n    return int(x.sum())", x=array) == 0
    assert assets.dump(np.load(tmp_path / "input-x")).meta.digest == before
