"""``p2pgrid launch``: bring up a node or a gateway, here or in the background."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.output import Out
from p2pgrid.errors import BadConfig, InternalError, NoBootstrap, P2PError

if TYPE_CHECKING:
    from p2pgrid.config import NodeSettings
    from p2pgrid.home import Home

EXAMPLES: Final = opt.examples(
    "p2pgrid launch Bob --port 8080",
    "p2pgrid launch Jane --bootstrap 127.0.0.1:8080 --detach",
    "p2pgrid launch my-gateway gateway --port 5000",
)
SHOWN: Final = ("name", "kind", "id", "url", "dht", "home", "log")
HARMLESS: Final = frozenset({"lock", "log"})
"""What the folder of a node that never ran may hold."""


class Kind(StrEnum):
    """What to launch."""

    domain = "domain"
    gateway = "gateway"


def launch(
    name: opt.OwnName,
    kind: Annotated[Kind | None, typer.Argument(help="What it is: a domain unless said otherwise.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=0, max=65_535, help="UDP and TCP port; 0 takes any free one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at; 0.0.0.0 for everybody.")] = None,
    bootstrap: opt.Bootstrap = None,
    gateway: Annotated[str | None, typer.Option(metavar="URL", help="A gateway to join and stay joined to.")] = None,
    advertise: Annotated[
        str | None, typer.Option(metavar="IP", help="The address told to others, when it is another.")
    ] = None,
    owner_email: Annotated[str | None, typer.Option(metavar="EMAIL", help="The data owner's account.")] = None,
    owner_password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Read the owner's password here; - asks for it. Or set $P2PGRID_OWNER_PASSWORD."
        ),
    ] = None,
    dev: Annotated[
        bool | None, typer.Option("--dev/--no-dev", help="Add the documents' test account; loopback only.")
    ] = None,
    allow_private: Annotated[
        bool | None,
        typer.Option("--allow-private/--no-allow-private", help="A gateway: let nodes of private networks join."),
    ] = None,
    allow_unsandboxed: Annotated[
        bool | None,
        typer.Option(
            "--allow-unsandboxed/--no-allow-unsandboxed",
            help="Run approved code even where this machine cannot confine it.",
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget all that a node of this name had.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background; return when healthy.")] = False,
    timeout: Annotated[float, opt.timeout("Seconds until it must be healthy, with --detach.")] = 30,
    log_json: Annotated[bool | None, typer.Option("--log-json", help="Log lines as JSON.")] = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
    report_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Launch a node or a gateway.

    It stays until Ctrl-C; with --detach it runs in the background, and the command returns when it is healthy.

    Its settings are kept in its home folder for the next launch; options win over environment over that file.
    """
    from p2pgrid.home import Home

    if name == opt.ALL:
        fix = "Choose another name."
        raise BadConfig(f"No node may have the name {opt.ALL!r}: 'p2pgrid land all' means every node.", fix=fix)
    place = Home(name, home)
    given = {
        "host": host,
        "port": port,
        "advertise": advertise,
        "bootstrap": tuple(bootstrap) if bootstrap else None,
        "gateway": opt.with_scheme(gateway),
        "dev_mode": dev,
        "allow_unsandboxed": allow_unsandboxed,
        "owner_email": owner_email,
        "log_json": log_json,
        "allow_private": allow_private,
    }
    plan = _plan(place, kind, {key: value for key, value in given.items() if value is not None}, reset=reset)
    out, password = Out(as_json=as_json), _password(owner_password_file)
    if not detach:
        _here(plan, out, password, report_fd)
        return
    from p2pgrid.cli.background import start

    with out.working(f"Launching {name}"):
        about = start(plan, home, password, timeout)
    _show(out, about)


class Plan:
    """What is to be launched, checked before anything is touched.  ``Raises BadConfig`` for what cannot be used."""

    def __init__(self, home: Home, kind: Kind, given: dict[str, Any], *, reset: bool) -> None:
        self.home = home
        self.kind = kind
        self.given = given
        self.reset = reset
        self.fresh = not home.path.exists() or {entry.name for entry in home.path.iterdir()} <= HARMLESS

    @property
    def config(self) -> Path | None:
        """The settings of the last launch; none when they are to be forgotten."""
        return None if self.reset else self.home.config

    def settings(self, password: str | None = None) -> NodeSettings:
        """The node's settings."""
        from p2pgrid.config import load_settings

        return load_settings(self.config, name=self.home.name, owner_password=password, **self.given)

    def check(self) -> Plan:
        """Raise what is wrong with the settings."""
        self.settings() if self.kind is Kind.domain else _gateway_settings(self)
        return self


def _plan(home: Home, kind: Kind | None, given: dict[str, Any], *, reset: bool) -> Plan:
    saved = {} if reset else _saved(home.config)
    chosen = kind or Kind(saved.get("kind", Kind.domain))
    if chosen is Kind.domain and "allow_private" in given:
        raise BadConfig("--allow-private is for gateways.", fix="Leave it out.")
    if chosen is Kind.gateway and (wrong := sorted(set(given) - {"host", "port", "log_json", "allow_private"})):
        raise BadConfig(f"A gateway has no setting {', '.join(wrong)}.", fix="Leave it out.")
    return Plan(home, chosen, given, reset=reset).check()


def _saved(config: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadConfig(f"The settings file {config} cannot be read: {error}.") from error


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    if str(file) == "-":
        if sys.stdin.isatty():
            from p2pgrid.cli.where import typed_password

            return typed_password("The owner's password", confirm=True)
        return _first_line(sys.stdin.readline(), "standard input")
    try:
        return _first_line(file.expanduser().read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError) as error:
        raise BadConfig(f"The password file {file} cannot be read: {error}.") from error


def _first_line(text: str, where: str) -> str:
    first = text.split("\n", 1)[0].rstrip("\r")
    if not first:
        raise BadConfig(f"There is no password in {where}.", fix="Write it as the first line.")
    return first


def _here(plan: Plan, out: Out, password: str | None, report_fd: int | None) -> None:
    """Run in this process until it is stopped."""
    reporter = _Reporter(report_fd)
    up = False

    def ready(about: dict[str, Any]) -> None:
        nonlocal up
        up = True
        _keep_settings(plan)
        if report_fd is None:
            _show(out, about)
            if sys.stderr.isatty():
                out.note("Stop it with Ctrl-C.")
        reporter.tell({"ready": about})

    try:
        if plan.reset:
            plan.home.wipe()
        _run_gateway(plan, ready) if plan.kind is Kind.gateway else _run_domain(plan, password, ready)
    except P2PError as error:
        if plan.fresh and not up and not isinstance(error, InternalError):
            plan.home.discard()
        reporter.tell({"error": error.to_wire()})
        raise
    except BaseException as error:
        reporter.tell({"error": InternalError(f"It ended with {type(error).__name__}: {error}").to_wire()})
        raise


def _run_domain(plan: Plan, password: str | None, ready: Any) -> None:
    from p2pgrid import logs, loop
    from p2pgrid.node import Node, serve

    settings = plan.settings(password)
    logs.set_up(as_json=settings.log_json, level=settings.log_level)

    def tell(node: Node) -> None:
        if plan.fresh and "bootstrap" in plan.given and not node.dht.joined:  # a first start: a wrong address, likely
            raise NoBootstrap(f"No node answered at {', '.join(settings.bootstrap)}.")
        about = _about(plan, node.id, node.url, node.port, node.dht_address)
        ready({**about, "joined": node.dht.joined} if settings.bootstrap else about)

    loop.run(serve(settings, plan.home, ready=tell))


def _run_gateway(plan: Plan, ready: Any) -> None:
    import time

    from gateway import Gateway, run
    from p2pgrid.home import RunState

    def tell(gateway: Gateway) -> None:
        plan.home.save_run(RunState(os.getpid(), Kind.gateway.value, plan.home.name, "", gateway.url, "", time.time()))
        ready(_about(plan, "", gateway.url, gateway.port, ""))

    with plan.home.lock():
        try:
            run(_gateway_settings(plan), started=tell)
        finally:
            plan.home.clear_run()


def _gateway_settings(plan: Plan) -> Any:
    from gateway.settings import GatewaySettings

    saved = _saved(plan.config) if plan.config else {}
    known: dict[str, Any] = {key: saved[key] for key in ("host", "port", "allow_private") if key in saved}
    wanted: dict[str, Any] = {**known, **plan.given, "home": plan.home.path}
    return GatewaySettings(**wanted)


def _keep_settings(plan: Plan) -> None:
    """Keep what was asked for, for the next launch of the name; nothing of the environment, never the password."""
    from p2pgrid.home import write_atomically

    if plan.home.config.exists() and not plan.given:
        return
    kept = {**_saved(plan.home.config), "kind": plan.kind.value, **plan.given}
    # What JSON writes for texts, numbers, truth values and lists of texts is TOML as well.
    lines = [f"{key} = {_toml(value)}\n" for key, value in kept.items()]
    write_atomically(plan.home.config, "".join(lines).encode())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _about(plan: Plan, an_id: str, url: str, port: int, dht: str) -> dict[str, Any]:
    return {
        "name": plan.home.name,
        "kind": plan.kind.value,
        "id": an_id,
        "url": url,
        "port": port,
        "dht": dht,
        "home": str(plan.home.path),
        "pid": os.getpid(),
    }


def _show(out: Out, about: dict[str, Any]) -> None:
    out.document(about)
    out.pairs({key: about.get(key) for key in SHOWN}, "p2pgrid")
    if about.get("joined") is False:
        out.warn(NoBootstrap("No bootstrap address answered yet; the node is up and keeps trying."))


class _Reporter:
    """Tells the process that launched us in the background how it went: one line, then silence."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # no child of ours may keep the launcher waiting

    def tell(self, news: dict[str, Any]) -> None:
        """Tell it once."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.write(descriptor, json.dumps(news).encode() + b"\n")
            os.close(descriptor)
        except OSError:
            return
