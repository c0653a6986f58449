"""``p2pgrid environments``: sets of packages that submitted code may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli.ending import Listing
from p2pgrid.cli.output import Out
from p2pgrid.errors import NothingFound

if TYPE_CHECKING:
    from p2pgrid.environments import Environment, Environments

LIST_EXAMPLES: Final = opt.examples("p2pgrid environments --node Bob")
ADD_EXAMPLES: Final = opt.examples("p2pgrid environments add science scipy 'scikit-learn>=1.5' pandas --node Bob")
REMOVE_EXAMPLES: Final = opt.examples("p2pgrid environments remove science --node Bob")

app = typer.Typer(
    cls=Listing, help="Sets of packages for submitted code: list (the default), add, remove.", epilog=LIST_EXAMPLES
)
Name = Annotated[str, typer.Argument(help="The environment's name.", metavar="ENVIRONMENT")]


@app.command("list", epilog=LIST_EXAMPLES)
def list_(node: opt.Node = None, home: opt.HomeFolder = None, as_json: opt.Json = False) -> None:
    """List the environments of your node."""
    found = _of(node, home).all()
    out = Out(as_json=as_json)
    if not found:
        fix = "Make one: p2pgrid environments add NAME PACKAGE..."
        out.fail(NothingFound("The node has no environment.", fix=fix), {"environments": []})
    out.document({"environments": [_to_json(item) for item in found]})
    rows = [(item.name, " ".join(item.packages) or "numpy") for item in found]
    out.table(("environment", "packages"), rows, f"Environments ({len(found)})")


@app.command("add", epilog=ADD_EXAMPLES)
def add(
    name: Name,
    packages: Annotated[list[str], typer.Argument(help="Packages, as pip takes them.", metavar="PACKAGE...")],
    node: opt.Node = None,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Make an environment; requests may name it from then on, also while the node is up.

    pip installs the packages with your rights: name only what you trust.
    """
    out, place = Out(as_json=as_json), _of(node, home)
    with out.working(f"Installing {' '.join(packages)}"):
        made = place.add(name, packages)
    out.document(_to_json(made))
    out.line(f"{made.name}: {' '.join(made.packages)}")


@app.command("remove", epilog=REMOVE_EXAMPLES)
def remove(name: Name, node: opt.Node = None, home: opt.HomeFolder = None, as_json: opt.Json = False) -> None:
    """Delete an environment; requests that name it cannot run any more."""
    out = Out(as_json=as_json)
    _of(node, home).remove(name)
    out.document({"removed": name})
    out.line(f"{name} is removed.")


def _of(node: str | None, base: Any) -> Environments:
    from p2pgrid.environments import Environments
    from p2pgrid.home import own_home

    return Environments(own_home(node, base).environments)


def _to_json(environment: Environment) -> dict[str, Any]:
    return {"name": environment.name, "packages": list(environment.packages)}
