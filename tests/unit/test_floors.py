"""The house rules of the design that a machine can check: import floors, and what no module may hold.

Imports go down, or sideways inside one folder without a circle.  The cores take bytes and time; only shells know
sockets, clocks, chance and the system.  Nothing is pickled.  Nothing at module level is changed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = {
    "p2pgrid.errors": 0.0,
    "p2pgrid.config": 0.0,
    "p2pgrid.ids": 0.0,
    "p2pgrid.crypto": 1.0,
    "p2pgrid.stored": 1.0,
    "p2pgrid.tables": 1.0,
    "p2pgrid.columns": 1.0,
    "p2pgrid.wire": 1.0,
    "p2pgrid.records": 1.0,
    "p2pgrid.assets": 1.0,
    "p2pgrid.dht": 2.0,
    "p2pgrid.link": 2.0,
    "p2pgrid.domain": 2.0,
    "p2pgrid.project": 2.0,
    "p2pgrid.home": 3.0,
    "p2pgrid.environments": 3.0,
    "p2pgrid.metrics": 3.0,
    "p2pgrid.logs": 3.0,
    "p2pgrid.loop": 3.0,
    # The fourth floor has an order of its own: the composition root, the client over it, the package's two faces.
    "p2pgrid.node": 4.0,
    "p2pgrid.client": 4.1,
    "p2pgrid.aio": 4.2,
    "p2pgrid": 4.3,
    "gateway": 4.4,
    "p2pgrid.sim": 4.5,
    "p2pgrid.cli": 5.0,
    "p2pgrid.web": 5.0,
    "p2pgrid.__main__": 5.1,
}
"""Where a module lives; the longest name that fits counts."""

SHELLS = {
    "p2pgrid.dht.udp",
    "p2pgrid.link.connections",
    "p2pgrid.link.door",
    "p2pgrid.link.fetch",
    "p2pgrid.link.http",
    "p2pgrid.link.links",
    "p2pgrid.link.server",
    "p2pgrid.link.session",
    "p2pgrid.link.transport",
    "p2pgrid.link.websocket",
    "p2pgrid.domain.runner",
    "p2pgrid.domain.service",
    "p2pgrid.domain.storage",
    "p2pgrid.project.service",
}
"""What of the second floor's rooms lies on the third: modules, and folders with all that is in them."""

FACES = {"p2pgrid.dht", "p2pgrid.link", "p2pgrid.domain", "p2pgrid.project"}
"""Packages whose ``__init__`` shows the whole room, shells included."""

WORLD = {"asyncio", "aiohttp", "socket", "time", "random", "os", "secrets", "subprocess", "threading"}
PICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
GATEWAY_SEES = (
    "p2pgrid",
    "p2pgrid.errors",
    "p2pgrid.ids",
    "p2pgrid.records",
    "p2pgrid.logs",
    "p2pgrid.link.connections",
    "p2pgrid.client",
)
CHANGES = {
    "add",
    "append",
    "appendleft",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
}
CONTAINERS = {
    "list",
    "dict",
    "set",
    "bytearray",
    "defaultdict",
    "deque",
    "OrderedDict",
    "Counter",
    "WeakValueDictionary",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for folder in ("p2pgrid", "gateway") for path in sorted((ROOT / folder).rglob("*.py"))}


def within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}.")


def floor(name: str) -> float:
    if name in FACES or any(within(name, shell) for shell in SHELLS):
        return 3.0
    fits = [known for known in FLOORS if (within(name, known) if known != "p2pgrid" else name == known)]
    assert fits, f"{name} has no floor: give it one in FLOORS"
    return FLOORS[max(fits, key=len)]


def room(name: str) -> str:
    """The folder in which imports may go sideways."""
    folder = "/".join(name.split(".")[:2])
    return folder if (ROOT / folder).is_dir() else name.split(".")[0]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: every node but those under ``if TYPE_CHECKING``."""
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from running(child)


@cache
def imports(name: str) -> frozenset[str]:
    """Every module that a module imports, at its top or inside a function."""
    found = set()
    for node in running(tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                base = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
                base = base.rsplit(".", node.level - 1)[0] if node.level > 1 else base
                package = f"{base}.{package}".rstrip(".")
            for alias in node.names:
                if (package, alias.name) == ("p2pgrid", "__version__"):
                    continue  # a constant of the package, which imports nothing
                inner = f"{package}.{alias.name}"
                found.add(inner if inner in MODULES else package)
    return frozenset(found)


def own(name: str) -> set[str]:
    return {target for target in imports(name) if target in MODULES and target != name}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_or_sideways_inside_one_folder(name: str) -> None:
    wrong = [
        target
        for target in sorted(own(name))
        if not (floor(target) < floor(name) or (floor(target) == floor(name) and room(target) == room(name)))
    ]
    assert wrong == [], f"{name} on floor {floor(name)} imports upwards or sideways"


def test_no_imports_go_in_a_circle() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "a circle: " + " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(own(name)):
                visit(target, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("name", [name for name in MODULES if floor(name) < 3])
def test_the_cores_know_no_sockets_clocks_chance_or_system(name: str) -> None:
    assert {target.split(".")[0] for target in imports(name)} & WORLD == set()


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, "gateway")])
def test_the_gateway_sees_only_the_client_side(name: str) -> None:
    seen = {target for target in imports(name) if within(target, "p2pgrid")}
    allowed = {target for target in seen if target in GATEWAY_SEES or within(target, "p2pgrid.client")}
    assert seen - allowed == set()


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_ever_pickled_or_evaluated(name: str) -> None:
    everything = {
        part.split(".")[0]
        for node in ast.walk(tree(name))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for part in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert everything & PICKLERS == set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "builtins.eval", "__import__"), f"line {node.lineno}: {called}"
            assert called.rpartition(".")[2] not in ("read_pickle", "to_pickle"), f"line {node.lineno}: {called}"
            for word in node.keywords:
                assert word.arg != "allow_pickle" or ast.unparse(word.value) == "False", f"line {node.lineno}"


def container(value: ast.expr | None) -> bool:
    literals = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in CONTAINERS
    return isinstance(value, literals)


@pytest.mark.parametrize("name", MODULES)
def test_no_state_lives_at_module_level(name: str) -> None:
    """A container at module level is a constant: its name is in capitals, and nothing in the module changes it."""
    held = set()
    for node in tree(name).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and container(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            held.update(target.id for target in targets if isinstance(target, ast.Name))
    assert [known for known in held if known != "__all__" and known != known.upper()] == []
    for node in ast.walk(tree(name)):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            assert ast.unparse(node.func.value) not in held, f"line {node.lineno} changes a constant"
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            assert ast.unparse(node.value) not in held, f"line {node.lineno} changes a constant"
        if isinstance(node, ast.AugAssign):
            assert ast.unparse(node.target) not in held, f"line {node.lineno} changes a constant"


def test_every_shell_in_the_list_exists() -> None:
    listed = {shell for shell in SHELLS if not within(shell, "p2pgrid.project")}
    assert listed <= set(MODULES)


def test_the_walk_sees_imports_where_they_hide() -> None:
    """The checks above are only as good as what they see."""
    assert "p2pgrid.link.http" in imports("p2pgrid.client.search"), "an import inside a function"
    assert "p2pgrid.client.domain" not in imports("p2pgrid.client.held"), "an import for types only"
    assert "asyncio" in imports("p2pgrid.client.door")
    assert floor("p2pgrid.dht.routing") == 2.0
    assert floor("p2pgrid.domain.runner.inside.worker") == 3.0
