#!/usr/bin/env python3
"""Run a p2pgrid node from a script and leave it up: settings from a file or the environment, stopped by SIGTERM.

    python scripts/run_node.py --config node.toml
    P2PGRID_NAME=bob P2PGRID_PORT=8080 P2PGRID_BOOTSTRAP=198.51.100.7:8080 python scripts/run_node.py --log-json

The file has the names of ``p2pgrid.config.NodeSettings``: name, host, port, bootstrap, gateway, ...
The owner's password is better given in the environment (P2PGRID_OWNER_PASSWORD) than in the file.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from p2pgrid import logs, loop
from p2pgrid.config import load_settings
from p2pgrid.errors import BadConfig, P2PError
from p2pgrid.home import Home
from p2pgrid.node import Node, serve

log = logging.getLogger("p2pgrid.run_node")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0] if __doc__ else "",
        epilog="example: python scripts/run_node.py --config node.toml --log-json",
    )
    parser.add_argument("--config", type=Path, help="a TOML file of settings")
    parser.add_argument("--home", help="the base folder of nodes (default: $P2PGRID_HOME, else the user's data folder)")
    parser.add_argument("--log-json", action="store_true", default=None, help="one JSON object a log line")
    return parser.parse_args()


def say_up(node: Node) -> None:
    """Say in the log what others need to reach the node."""
    details = {"node_id": node.id, "url": node.url, "dht": node.dht_address}
    log.info("serving; others join with --bootstrap %s", node.dht_address, extra=details)


def main() -> int:
    """Serve until told to stop; 0 after a graceful stop."""
    options = arguments()
    try:
        if options.config and not options.config.is_file():
            raise BadConfig(f"There is no settings file {options.config}.", fix="Check the path after --config.")
        settings = load_settings(options.config, log_json=options.log_json)
        logs.set_up(as_json=settings.log_json, level=settings.log_level)
        loop.run(serve(settings, Home(settings.name, options.home), ready=say_up))
    except P2PError as error:
        print(f"error[{error.code}]: {error.cause}\nfix: {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
