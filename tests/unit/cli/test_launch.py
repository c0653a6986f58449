"""What is planned before anything is touched, and what is kept for the next launch."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from p2pgrid.cli.background import _words
from p2pgrid.cli.launch import Kind, Plan, _keep_settings, _password, _plan
from p2pgrid.cli.options import with_scheme
from p2pgrid.errors import BadConfig
from p2pgrid.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home("Bob", tmp_path)


def test_a_plan_touches_nothing(home: Home) -> None:
    _plan(home, None, {"port": 8080}, reset=False)

    assert not home.path.exists()


def test_what_was_asked_for_is_kept_for_the_next_launch(home: Home) -> None:
    home.make()
    _keep_settings(_plan(home, None, {"port": 8080, "bootstrap": ("127.0.0.1:1",), "dev_mode": True}, reset=False))
    _keep_settings(_plan(home, None, {"port": 9090}, reset=False))

    settings = _plan(home, None, {}, reset=False).settings()
    assert (settings.port, settings.bootstrap, settings.dev_mode) == (9090, ("127.0.0.1:1",), True)


def test_limits_of_runs_that_an_owner_wrote_are_kept(home: Home) -> None:
    home.make()
    home.config.write_text("port = 1\n[mock_run]\nwall_seconds = 5\nthreads = 8\n")
    _keep_settings(_plan(home, None, {"port": 9090}, reset=False))
    kept = tomllib.loads(home.config.read_text())
    assert (kept["port"], kept["mock_run"]) == (9090, {"wall_seconds": 5, "threads": 8})


def test_options_win_over_environment_over_the_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.make()
    _keep_settings(_plan(home, None, {"port": 1111, "owner_email": "file@example.org"}, reset=False))
    monkeypatch.setenv("P2PGRID_OWNER_EMAIL", "environment@example.org")
    monkeypatch.setenv("P2PGRID_PORT", "2222")

    settings = _plan(home, None, {"port": 3333}, reset=False).settings()
    assert (settings.port, settings.owner_email) == (3333, "environment@example.org")


def test_the_environment_is_not_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.make()
    monkeypatch.setenv("P2PGRID_OWNER_EMAIL", "environment@example.org")
    monkeypatch.setenv("P2PGRID_OWNER_PASSWORD", "secret-in-the-environment")
    _keep_settings(_plan(home, None, {"port": 8080}, reset=False))

    kept = home.config.read_text()
    assert "8080" in kept
    assert "environment" not in kept


def test_a_reset_forgets_the_settings(home: Home) -> None:
    home.make()
    _keep_settings(_plan(home, None, {"port": 8080}, reset=False))

    assert _plan(home, None, {}, reset=True).settings().port == 0


def test_a_gateway_stays_a_gateway(home: Home) -> None:
    home.make()
    _keep_settings(_plan(home, Kind.gateway, {"port": 0, "allow_private": True}, reset=False))

    assert _plan(home, None, {}, reset=False).kind is Kind.gateway


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (None, {"gateway": "ftp://x"}),
        (None, {"allow_private": True}),
        (Kind.gateway, {"bootstrap": ("127.0.0.1:1",)}),
        (Kind.gateway, {"dev_mode": True}),
        (Kind.gateway, {"host": "no host"}),
    ],
)
def test_settings_that_cannot_be_used(home: Home, kind: Kind | None, given: dict[str, object]) -> None:
    with pytest.raises(BadConfig):
        _plan(home, kind, given, reset=False)


def test_a_settings_file_that_is_damaged(home: Home) -> None:
    home.make()
    home.config.write_text("port = [")
    with pytest.raises(BadConfig, match="cannot be read"):
        _plan(home, None, {}, reset=False)


def test_a_gateway_without_http(home: Home) -> None:
    plan = _plan(home, None, {"gateway": with_scheme("127.0.0.1:5000")}, reset=False)

    assert plan.settings().gateway == "http://127.0.0.1:5000"
    assert with_scheme("https://gate.example") == "https://gate.example"
    assert with_scheme(None) is None


def test_only_a_folder_that_never_held_a_node_counts_as_fresh(home: Home) -> None:
    assert Plan(home, Kind.domain, {}, reset=False).fresh
    home.make()
    (home.path / "lock").touch()
    (home.path / "log").touch()
    assert Plan(home, Kind.domain, {}, reset=False).fresh
    (home.path / "domain.sqlite").touch()
    assert not Plan(home, Kind.domain, {}, reset=False).fresh


def test_the_child_gets_every_wish_and_no_secret(home: Home) -> None:
    given = {
        "host": "127.0.0.1",
        "port": 0,
        "bootstrap": ("a:1", "b:2"),
        "dev_mode": False,
        "log_json": True,
        "owner_email": "a@b.org",
    }
    words = _words(_plan(home, None, given, reset=False), None, "a-secret-password")

    line = " ".join(words)
    assert "a-secret-password" not in line
    assert line.startswith(f"launch Bob domain --home {home.path.parent} --bootstrap a:1 --bootstrap b:2 --no-dev")
    assert line.endswith("--log-json --host 127.0.0.1 --port 0 --owner-email a@b.org --owner-password-file -")


def test_the_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\r\nnot this\n")
    (tmp_path / "empty").write_text("\n")

    assert _password(tmp_path / "password") == "correct horse"
    assert _password(None) is None
    for name in ("empty", "missing"):
        with pytest.raises(BadConfig):
            _password(tmp_path / name)
