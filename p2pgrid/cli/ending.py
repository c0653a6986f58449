"""How every command ends: one message, one exit code, no traceback.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 nothing found, 4 not reachable in time, 130 interrupted.
"""

from __future__ import annotations

import difflib
import errno
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup

from p2pgrid.errors import InternalError, InvalidInput, NotAllowed, NotLoggedIn, P2PError, WrongUse

DEBUG_VARIABLE: Final = "P2PGRID_DEBUG"
PROGRAM: Final = "p2pgrid"
INTERRUPTED: Final = 130
LIKE: Final = 0.75
"""How like a command's name a word must be, from 0 to 1, to be taken for a slip of the hand."""
NEEDS: Final = re.compile(r"^[a-z]+\.[a-z_]+ needs ")
"""How a node begins to say what a call needs: with the call's name on the link, which no person knows."""
PIPE_CLOSED: Final = 141
"""128 and SIGPIPE, as shells report a program whose reader went away."""


class Grid(TyperGroup):
    """The root command: whatever is raised below it ends here."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **more: Any,
    ) -> Any:
        """Run one command line and end the process."""
        words = list(sys.argv[1:] if args is None else args)
        run = super().main
        code = ended(lambda: run(words, PROGRAM, complete_var, False, **more), as_json="--json" in words)
        sys.exit(code)


class Listing(TyperGroup):
    """A group with a command that may be left out: ``datasets`` is ``datasets list``."""

    usual = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the usual command where no other one of the group is named."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        if not named and not ctx.resilient_parsing:  # a shell that completes words asks for the commands
            if args and not args[0].startswith("-"):
                self._refuse_slip(str(ctx.command_path), args[0])
            args = [self.usual, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def _refuse_slip(self, group: str, word: str) -> None:
        """Raise ``WrongUse`` for a word that the usual command cannot mean, or that looks like another command."""
        takes = any(param.param_type_name == "argument" for param in self.commands[self.usual].params)
        like = difflib.get_close_matches(word, self.commands, n=1, cutoff=LIKE)
        if takes and not like:
            return
        meant = f"Did you mean {like[0]!r}? " if like else ""
        else_ = f", or write: {group} {self.usual} {shlex.quote(word)}" if takes else ""
        raise WrongUse(f"No such command {word[:80]!r}.", fix=f"{meant}Look at: {group} --help{else_}")


class Showing(Listing):
    """The same for ``show``: ``audit`` is ``audit show``."""

    usual = "show"


def ended(work: Callable[[], object], *, as_json: bool) -> int:
    """Run a command; tell what went wrong, if something did; the exit code."""
    never_fail_to_encode()
    # What a library logs is no part of a command's words; a node that is launched sets its own log up.
    logging.getLogger("p2pgrid").addHandler(logging.NullHandler())
    try:
        result = work()
        sys.stdout.flush()
    except BrokenPipeError:
        quiet_stdout()
        return PIPE_CLOSED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        if os.environ.get(DEBUG_VARIABLE):
            import traceback

            traceback.print_exception(error, file=sys.stderr)
        fault = as_p2p_error(error)
        tell(fault, as_json=as_json)
        return fault.exit_code
    return result if isinstance(result, int) else 0


def as_p2p_error(error: BaseException) -> P2PError:
    """What to tell a person about any exception."""
    known = next((found for found in _inside(error) if isinstance(found, P2PError)), None)
    if isinstance(known, NotLoggedIn):
        cause = NEEDS.sub("This needs ", known.cause)
        return NotLoggedIn(cause, fix="Log in with --email EMAIL; the password is asked for.")
    if isinstance(known, NotAllowed) and NEEDS.match(known.cause):
        return type(known)(NEEDS.sub("This needs ", known.cause), fix=known.fix)
    if known is not None:
        return known
    if hasattr(error, "format_message"):  # a usage error, from whichever click this typer carries
        return _wrong_use(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        what = f"{error.filename} cannot be written" if error.filename else "What is printed cannot be written"
        return InvalidInput(f"{what}: no space is left there.", fix="Free some space, or send it elsewhere.")
    return InternalError(
        f"Something unforeseen happened: {type(error).__name__}: {str(error)[:500]}",
        fix=f"Run it again with {DEBUG_VARIABLE}=1 for the traceback, and report it.",
    )


def tell(error: P2PError, *, as_json: bool, word: str = "error") -> None:
    """One message on standard error, or one JSON document on standard output."""
    from p2pgrid.client.show import clean

    try:
        if as_json:
            print(json.dumps({"error": error.to_wire()}, indent=2), flush=True)
        else:
            print(f"{word}[{error.code}]: {clean(error.cause)}", file=sys.stderr)
            print(f"fix: {clean(error.fix)}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        quiet_stdout()
    except OSError:  # a full disk that our output goes to
        quiet_stdout()
        if as_json:
            tell(error, as_json=False, word=word)


def never_fail_to_encode() -> None:
    """Let a terminal that is not UTF-8 show an escape where it lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def quiet_stdout() -> None:
    """Nobody reads our output any more: let the interpreter's last flush go nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _inside(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that a group of errors holds."""
    yield error
    for inner in getattr(error, "exceptions", ()):
        yield from _inside(inner)


def _wrong_use(error: Any) -> P2PError:
    context = getattr(error, "ctx", None)
    path = str(getattr(context, "command_path", "") or "p2pgrid")
    message = " ".join(str(error.format_message()).split()) or "A command is missing."
    return WrongUse(message, fix=f"Look at: {path} --help")
