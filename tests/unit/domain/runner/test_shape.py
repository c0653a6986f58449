"""A result in a few words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from p2pgrid.domain.runner.answer import shape_of


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((2, 3)), "numpy float64 (2, 3)"),
        (np.float32(1), "numpy float32 ()"),
        (pd.DataFrame({"shape": [1], "dtype": ["secret"]}), "DataFrame (1, 2)"),
        (pd.Series([1, 2]), "Series (2,)"),
        ({"a": 1}, "dict (1)"),
        ([1, 2], "list (2)"),
        ("text", "str (4)"),
        (3, "int"),
        (None, "NoneType"),
    ],
)
def test_shape(value: Any, words: str) -> None:
    assert shape_of(value) == words
