"""The main job on one machine: three nodes, no gateway, a researcher elsewhere, a question, a verdict, an answer.

Every line that starts with ``$`` is a real command in a process of its own, over real UDP and HTTP on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
FUNCTION = HERE / "demo_function.py"
PASSWORD = "researcher-on-loopback"  # noqa: S105 - of an account that lives for one demo
COMMAND_TIMEOUT = 120.0


class Demo:
    """Runs commands as the owner of nodes or as the researcher, and shows them."""

    def __init__(self, folder: Path, record: bool) -> None:
        self.console = Console(record=record, width=118, highlight=False, force_terminal=record or None)
        self.owner_home = folder / "grid"
        self.researcher_home = folder / "researcher"
        self.times: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A titled, timed part of the demo."""
        self.console.print(f"\n[bold cyan]{len(self.times) + 1}. {title}[/]")
        began = time.perf_counter()
        yield
        self.times.append((title, time.perf_counter() - began))
        self.console.print(f"[dim]   {self.times[-1][1]:.2f} s[/]")

    def run(self, *words: str, researcher: bool = False, quiet: bool = False) -> str:
        """One ``p2pgrid`` command; its output is shown, and is what this returns.  A failure ends the demo."""
        home = self.researcher_home if researcher else self.owner_home
        environment = {**os.environ, "P2PGRID_HOME": str(home), "P2PGRID_PASSWORD": PASSWORD, "COLUMNS": "116"}
        who = "[magenta]researcher[/] $" if researcher else "[green]owner[/] $"
        if not quiet:
            self.console.print(who, Text(shlex.join(["p2pgrid", *words]), style="bold"))
        done = subprocess.run(
            [sys.executable, "-m", "p2pgrid", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        if not quiet or done.returncode:
            self.console.print(Text.from_ansi((done.stdout + done.stderr).rstrip()))
        if done.returncode:
            raise SystemExit(f"'p2pgrid {shlex.join(words)}' ended with {done.returncode}")
        return done.stdout

    def ask(self, *words: str, researcher: bool = False) -> Any:
        """One command's ``--json`` document, not shown."""
        return json.loads(self.run(*words, "--json", researcher=researcher, quiet=True))


def story(demo: Demo) -> None:
    """The demo, step by step."""
    with demo.step("Three nodes, three processes, no gateway"):
        demo.run("launch", "alice", "--detach")
        first = demo.ask("id", "--node", "alice")
        for name in ("bob", "canada-domain"):
            demo.run("launch", name, "--detach", "--bootstrap", first["dht"])
        demo.run("check")

    with demo.step("Their owners publish real data: tags go to the grid, data stays"):
        demo.run("publish", "sklearn:digits", "--node", "alice")
        demo.run("publish", "sklearn:breast_cancer", "--node", "bob")
        demo.run("publish", "sklearn:diabetes", "--node", "bob")
        demo.run("publish", "statsmodels:randhie", "--node", "canada-domain")

    with demo.step("A fourth party, who knows only one address, searches the grid"):
        bootstrap = demo.ask("id", "--node", "canada-domain")["dht"]
        demo.run("search", "#digits", "--bootstrap", bootstrap, researcher=True)
        demo.run("search", "#medical", "--bootstrap", bootstrap, researcher=True)
        url = demo.ask("search", "#digits", "--bootstrap", bootstrap, researcher=True)["results"][0]["url"]

    with demo.step("She gets an account, and looks at the mock"):
        demo.run("accounts", "add", "--node", "alice", "--name", "Jane Doe", "--email", "jane@caltech.edu")
        on = ("--on", url, "--email", "jane@caltech.edu")
        demo.run("datasets", "show", "digits", *on, researcher=True)

    with demo.step("She submits a function; it runs on the mock at once"):
        function = f"{FUNCTION}:ink_per_digit"
        assets = ("--dataset", "digits", "--asset", "images=images", "--asset", "labels=labels")
        demo.run("submit", function, "--to", url, "--email", "jane@caltech.edu", *assets, researcher=True)

    with demo.step("The owner reads it and approves"):
        demo.run("requests", "list", "--node", "alice")
        request = demo.ask("requests", "list", "--node", "alice")["requests"][0]["id"]
        demo.run("requests", "show", request[:8], "--node", "alice")
        demo.run("requests", "approve", request[:8], "--node", "alice")

    with demo.step("The private result, and nothing else, comes back"):
        demo.run("result", request[:8], *on, researcher=True)
        result = demo.ask("result", request[:8], *on, researcher=True)["result"]
        check(demo.console, result)


def check(console: Console, result: dict[str, float]) -> None:
    """Compare with the truth, which the researcher could not have seen."""
    from demo_function import ink_per_digit
    from sklearn.datasets import load_digits

    digits = load_digits()
    truth = {str(digit): ink for digit, ink in ink_per_digit(digits.images, digits.target).items()}
    if {str(digit): ink for digit, ink in result.items()} != truth:
        raise SystemExit(f"the result {result} is not the truth {truth}")
    console.print("   It equals what the function gives on the real images.")


def main() -> int:
    """Run the demo in a temporary folder; land every node whatever happens."""
    parser = argparse.ArgumentParser(description="A real grid on this machine, from launch to private result.")
    parser.add_argument("--record", type=Path, help="save the terminal as an SVG picture")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="p2pgrid-demo-") as folder:
        demo = Demo(Path(folder), record=options.record is not None)
        try:
            story(demo)
        finally:
            demo.run("land", "all")
    took = time.perf_counter() - began
    demo.console.print(f"\n[bold green]The demo succeeded[/] in {took:.1f} s.")
    if options.record:
        demo.console.save_svg(str(options.record), title="scripts/demo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
