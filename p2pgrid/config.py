"""A node's settings: frozen, checked once, from options over environment over its ``config.toml``."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from p2pgrid.errors import BadConfig
from p2pgrid.ids import NAME_MAX, NAME_PATTERN, host_ports

OTHERS: Final = frozenset({"kind", "allow_private"})
"""Keys of a settings file that are the command line's and the gateway's."""
DEFAULT_EMAIL: Final = "info@openmined.org"


class NodeSettings(BaseSettings):
    """What one node is told.  Environment variables are ``P2PGRID_`` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix="P2PGRID_", frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str = Field(default="node", min_length=1, max_length=NAME_MAX)
    """A label for people; the node's key is what names it to others."""
    host: str = "127.0.0.1"
    """The address to listen at, for UDP and TCP alike."""
    port: int = Field(default=0, ge=0, le=65_535)
    """One number for UDP and TCP; 0 takes any that is free."""
    advertise: str | None = None
    """The IP address told to others, when it is not the one listened at (behind NAT, or on 0.0.0.0)."""
    bootstrap: Annotated[tuple[str, ...], NoDecode] = ()
    """host:port of nodes to join through."""
    gateway: str | None = None
    """URL of a gateway to join, and to join again when it forgets."""
    dev_mode: bool = False
    """Adds the seeds' data scientist with the default password; loopback only."""
    owner_email: str = DEFAULT_EMAIL
    owner_password: SecretStr | None = None
    """The data owner's password; unset keeps what the database has, at first the default one."""
    database_url: SecretStr | None = None
    """Any SQLAlchemy URL; SQLite in the home folder when unset.  Secret: it may hold a password."""
    assets_url: SecretStr | None = None
    """Any fsspec URL for the assets' bytes, such as file:///PATH or s3://BUCKET/PATH; the home folder when unset."""
    allow_unsandboxed: bool = False
    """Run approved code also where nothing confines it; never code that nobody has read."""
    mock_run: dict[str, int | float] = Field(default_factory=dict)
    """Limits of runs on mocks that differ from the defaults, such as ``{"wall_seconds": 5}``."""
    private_run: dict[str, int | float] = Field(default_factory=dict)
    """The same for runs on private data."""
    smtp_url: SecretStr | None = None
    """The mail server for notifications: smtps://USER:PASSWORD@HOST:465, or smtp:// with STARTTLS; none when unset."""
    smtp_from: str = ""
    """The address that e-mails come from."""
    metrics: Literal["local", "all", "off"] = "local"
    """Who may read ``GET /metrics``: callers on this machine, everybody who reaches the port, or nobody."""
    log_json: bool = False
    log_level: str = "INFO"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(NAME_PATTERN, name):
            raise ValueError("a name is made of letters, digits, spaces and . _ @ -, and starts with a letter or digit")
        return name

    @field_validator("advertise")
    @classmethod
    def _ip(cls, address: str | None) -> str | None:
        return str(ipaddress.ip_address(address)) if address else None

    @field_validator("bootstrap", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return host_ports(value) if isinstance(value, (str, list, tuple)) else value

    @field_validator("gateway")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url and not re.match(r"https?://[^/]+", url):
            raise ValueError("a gateway is an http:// or https:// URL")
        return url.rstrip("/") if url else None

    @field_validator("log_level")
    @classmethod
    def _level(cls, level: str) -> str:
        if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("log levels are DEBUG, INFO, WARNING and ERROR")
        return level.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options win over environment, environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the node."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def load_settings(config_file: Path | None = None, **options: Any) -> NodeSettings:
    """Settings from ``options`` (``None`` means not given), environment and file.  Raises ``BadConfig``."""
    given = {key: value for key, value in options.items() if value is not None}
    try:
        with_file = type(
            "NodeSettings",
            (NodeSettings,),
            {"model_config": SettingsConfigDict(toml_file=config_file), "__module__": __name__, "__doc__": None},
        )
        settings: NodeSettings = with_file(**given)
        _refuse_unknown(config_file)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        )
        raise BadConfig(f"A setting cannot be used: {problems}.") from None
    except (OSError, ValueError) as error:
        raise BadConfig(f"The settings file {config_file} cannot be read: {error}.") from error
    return settings


def _refuse_unknown(config_file: Path | None) -> None:
    """A misspelt setting that is passed over in silence is found out months later."""
    if config_file is None or not config_file.is_file():
        return
    known = {*NodeSettings.model_fields, *OTHERS}
    for key in tomllib.loads(config_file.read_text(encoding="utf-8")):
        if key not in known:
            close = difflib.get_close_matches(key, NodeSettings.model_fields, n=1)
            if close:  # one that is like none of ours may be a later version's
                raise BadConfig(f"{config_file} has a setting {key!r}, which is not known.", fix=f"Write {close[0]}.")
