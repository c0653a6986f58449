"""The suite's own modules, and one run of the whole matrix for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from escape_suite.matrix import Matrix


@pytest.fixture(scope="session")
def matrix() -> Iterator[Matrix]:
    """Every attack by each way and user; begun when it is first asked for."""
    found = Matrix()
    yield found
    found.close()
