"""``python -m gateway``: run a gateway until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.settings import GatewaySettings
from p2pgrid.errors import LocalError

Host = Annotated[str, typer.Option(envvar="GATEWAY_HOST", help="Address to listen on; 0.0.0.0 for everybody.")]
Port = Annotated[int, typer.Option(envvar="GATEWAY_PORT", help="Port to listen on; 0 for any free one.")]
Home = Annotated[Path | None, typer.Option(envvar="GATEWAY_HOME", help="Folder for the registry.", show_default=False)]
AllowPrivate = Annotated[
    bool, typer.Option("--allow-private", envvar="GATEWAY_ALLOW_PRIVATE", help="Let nodes join from private networks.")
]
Public = Annotated[
    bool,
    typer.Option(
        "--public", envvar="GATEWAY_PUBLIC", help="Keep the rules of a public gateway on loopback, behind a proxy."
    ),
]
Interval = Annotated[float, typer.Option(envvar="GATEWAY_PROBE_INTERVAL", help="Seconds between probes of a node.")]
Deadline = Annotated[float, typer.Option(envvar="GATEWAY_DEADLINE", help="Seconds that a search may take.")]
LogJson = Annotated[bool, typer.Option("--log-json", envvar="GATEWAY_LOG_JSON", help="Log lines as JSON.")]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 5000,
    home: Home = None,
    allow_private: AllowPrivate = False,
    public: Public = False,
    probe_interval: Interval = 10.0,
    deadline: Deadline = 2.0,
    log_json: LogJson = False,
) -> None:
    """Run a p2pgrid gateway: a registry of nodes that answers who holds a tag.

    Example: python -m gateway --port 5000
    """
    try:
        settings = GatewaySettings(host, port, home, allow_private, public, probe_interval, deadline, log_json)
        from gateway.running import run

        run(settings, started=lambda gateway: print(f"gateway {gateway.url}", flush=True))
    except LocalError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None


def main() -> None:
    """The door of ``python -m gateway``."""
    typer.run(serve)


if __name__ == "__main__":
    main()
