"""Every test starts from a clean environment and a home of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "p2pgrid",
    deadline=None,  # the machines that run this are shared
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("p2pgrid")


def pytest_configure() -> None:
    """A run in the background of a shell begins with interrupts ignored, and so would every process it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No ``P2PGRID_*`` variable of the person who runs the tests, and a home folder that is thrown away."""
    for name in [name for name in os.environ if name.startswith("P2PGRID_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("P2PGRID_HOME", str(tmp_path / "p2pgrid-home"))
    monkeypatch.setenv("COLUMNS", "160")  # tables wrap by the terminal, and whoever runs this may have none
    # The tests' own functions run also where a machine cannot confine them; what confinement holds is tested apart.
    monkeypatch.setenv("P2PGRID_ALLOW_UNSANDBOXED", "1")
