"""Settings: options over environment over file, and one clear error for what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from p2pgrid.config import DEFAULT_EMAIL, load_settings
from p2pgrid.errors import BadConfig


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('name = "from-file"\nport = 1\nhost = "127.0.0.3"\nbootstrap = ["127.0.0.1:1"]\n')
    return path


def test_defaults_are_safe() -> None:
    settings = load_settings()
    assert (settings.host, settings.on_loopback, settings.dev_mode) == ("127.0.0.1", True, False)
    assert settings.owner_email == DEFAULT_EMAIL
    assert settings.owner_password is None


def test_options_win_over_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_PORT", "2")
    monkeypatch.setenv("P2PGRID_NAME", "from-environment")
    settings = load_settings(file, name="from-option", port=None)
    assert (settings.name, settings.port, settings.host) == ("from-option", 2, "127.0.0.3")
    assert settings.bootstrap == ("127.0.0.1:1",)


def test_a_file_of_one_node_does_not_leak_into_the_next(file: Path) -> None:
    assert load_settings(file).name == "from-file"
    assert load_settings().name == "node"


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml").model_dump() == load_settings().model_dump()


@pytest.mark.parametrize("text", ["a:1,b:2", "a:1 b:2", " a:1 ,\tb:2\n"])
def test_bootstrap_in_the_environment_is_a_list(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PGRID_BOOTSTRAP", text)
    assert load_settings().bootstrap == ("a:1", "b:2")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]


def test_unknown_settings_of_a_later_version_are_ignored(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("later = 1\n")
    monkeypatch.setenv("P2PGRID_LATER", "1")
    assert load_settings(file).model_dump() == load_settings().model_dump()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""),
        ("name", "a/b"),
        ("name", "../up"),
        ("name", "."),
        ("name", " a"),
        ("name", "a "),
        ("name", "a\n"),
        ("name", "a\x1b[2J"),
        ("name", "x" * 65),
        ("port", -1),
        ("port", 65_536),
        ("port", "http"),
        ("gateway", "ftp://host"),
        ("gateway", "host:1"),
        ("gateway", "http://"),
        ("advertise", "example.org"),
        ("advertise", "1.2.3"),
        ("log_level", "LOUD"),
        ("dev_mode", "perhaps"),
    ],
)
def test_a_bad_value_is_one_clear_error(option: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfig) as caught:
        load_settings(**{option: value})
    assert option in caught.value.cause
    assert "\n" not in str(caught.value)
    if "\n" not in str(value):
        monkeypatch.setenv(f"P2PGRID_{option.upper()}", str(value))
        with pytest.raises(BadConfig, match=option):
            load_settings()


@pytest.mark.parametrize("text", ["port = ", "= 1", 'name = "a', "\x00", "port = 1\nport = 2"])
def test_a_damaged_file_is_one_clear_error(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(BadConfig, match=r"config\.toml"):
        load_settings(file)


def test_a_file_that_is_no_text_is_one_clear_error(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfig, match=r"config\.toml"):
        load_settings(file)


def test_no_password_shows_in_a_repr_or_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(owner_password="hunter2secret")
    assert "hunter2secret" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert settings.owner_password is not None
    assert settings.owner_password.get_secret_value() == "hunter2secret"
    settings = load_settings(database_url="postgresql://jane:hunter2secret@db/grid")
    assert "hunter2secret" not in f"{settings!r} {settings} {settings.model_dump()}"
    file.write_text('owner_password = "hunter2secret"\nport = "hunter3secret"\n')
    with pytest.raises(BadConfig) as caught:
        load_settings(file)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("P2PGRID_OWNER_PASSWORD", "hunter4secret")
    with pytest.raises(BadConfig) as caught:
        load_settings(owner_password=["hunter5secret"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert load_settings(host=host).on_loopback


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org", "127.0.0.1.nip.io"]
)
def test_what_others_can_reach_is_not_loopback(host: str) -> None:
    assert not load_settings(host=host).on_loopback


def test_a_misspelt_setting_is_one_clear_error(file: Path) -> None:
    file.write_text('bootstrp = ["127.0.0.1:8080"]\n')
    with pytest.raises(BadConfig, match="bootstrp") as caught:
        load_settings(file)
    assert "bootstrap" in caught.value.fix
