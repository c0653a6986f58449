"""The main job on one machine: three nodes, no gateway, a researcher elsewhere, a question, a verdict, an answer.

Every line that starts with ``$`` is a real command in a process of its own, over real UDP and HTTP on loopback.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import re
import select
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
FUNCTION = "scripts/demo_function.py"
PASSWORD = "researcher-on-loopback"  # noqa: S105 - of an account that lives for one demo
COMMAND_TIMEOUT = 120.0
LINE_TIMEOUT = 0.1
WIDTH = 116
PICTURED = (3, 5, 6, 7)
"""The steps that a recorded picture shows."""


class Demo:
    """Runs commands as the owner of nodes or as the researcher, and shows them."""

    def __init__(self, folder: Path, record: bool) -> None:
        self.console = Console(width=WIDTH, highlight=False)
        self.picture = Console(record=True, width=WIDTH, highlight=False, file=io.StringIO()) if record else None
        self.owner_home = folder / "grid"
        self.researcher_home = folder / "researcher"
        self.times: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A titled, timed part of the demo."""
        self.say(f"\n[bold cyan]{len(self.times) + 1}. {title}[/]")
        began = time.perf_counter()
        yield
        self.times.append((title, time.perf_counter() - began))
        self.say(f"[dim]   {self.times[-1][1]:.2f} s[/]", at=len(self.times))

    def say(self, *words: str | Text, at: int | None = None) -> None:
        """Show something, and keep it for the picture when its step is one of the picture's."""
        self.console.print(*words)
        if self.picture and (at or len(self.times) + 1) in PICTURED:
            self.picture.print(*words)

    def run(self, *words: str, researcher: bool = False, quiet: bool = False) -> str:
        """One ``p2pgrid`` command; its output is shown, and is what this returns.  A failure ends the demo."""
        home = self.researcher_home if researcher else self.owner_home
        ours = {"P2PGRID_HOME": str(home), "P2PGRID_PASSWORD": PASSWORD, "TERM": "xterm-256color"}
        ours["P2PGRID_ALLOW_UNSANDBOXED"] = "1"  # the function is our own; some machines cannot confine it
        environment = {**os.environ, **ours}
        who = "[magenta]researcher[/] $" if researcher else "[green]owner[/] $"
        if not quiet:
            self.say(who, Text(shlex.join(["p2pgrid", *words]), style="bold"))
        command = [sys.executable, "-m", "p2pgrid", *words]
        code, out = piped(command, environment) if quiet else on_terminal(command, environment)
        if not quiet or code:
            self.say(Text.from_ansi(out.rstrip()))
        if code:
            raise SystemExit(f"'p2pgrid {shlex.join(words)}' ended with {code}")
        return out

    def ask(self, *words: str, researcher: bool = False) -> Any:
        """One command's ``--json`` document, not shown."""
        return json.loads(self.run(*words, "--json", researcher=researcher, quiet=True))


def piped(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and standard output of a command, for a program to read."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=COMMAND_TIMEOUT, check=False
    )
    return done.returncode, done.stdout


def on_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a command as a person's terminal gets it; standard error too, but no spinners."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    pipe_out, pipe_in = os.pipe()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=pipe_in
    )
    os.close(theirs)
    os.close(pipe_in)
    parts, open_ends = [], {ours, pipe_out}
    while open_ends:
        ready, _, _ = select.select(list(open_ends), [], [], COMMAND_TIMEOUT)
        if not ready:
            process.kill()
        if ready == [pipe_out] and parts and not parts[-1].endswith(b"\n"):
            select.select([ours], [], [], LINE_TIMEOUT)  # the rest of a line comes before what was said after it
            ready = [*select.select([ours], [], [], 0)[0], pipe_out]
        for end in ready:
            try:
                data = os.read(end, 65_536)
            except OSError:  # a pseudo-terminal whose other end is closed
                data = b""
            parts.append(data)
            if not data:
                open_ends.discard(end)
                os.close(end)
    return process.wait(), b"".join(parts).decode().replace("\r\n", "\n")


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
        demo.run("accounts", "add", "jane@caltech.edu", "--name", "Jane Doe", "--node", "alice")
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
        result = demo.ask("result", request[:8], *on, researcher=True)["result"]["value"]
        check(demo, result)


def check(demo: Demo, result: dict[str, float]) -> None:
    """Compare with the truth, which the researcher could not have seen."""
    from demo_function import ink_per_digit
    from sklearn.datasets import load_digits

    digits = load_digits()
    truth = {str(digit): ink for digit, ink in ink_per_digit(digits.images, digits.target).items()}
    if {str(digit): ink for digit, ink in result.items()} != truth:
        raise SystemExit(f"the result {result} is not the truth {truth}")
    demo.say("   It equals what the function gives on the real images.")


def as_svg(console: Console) -> str:
    """What was shown, as an SVG that fetches no font from a network."""
    svg = console.export_svg(title="scripts/demo")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace, Menlo")


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
    demo.say(f"\n[bold green]The demo succeeded[/] in {took:.1f} s.", at=PICTURED[-1])
    if demo.picture:
        options.record.write_text(as_svg(demo.picture), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
