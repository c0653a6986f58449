"""What the gateway may know of p2pgrid, and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import gateway

ALLOWED = {"p2pgrid.errors", "p2pgrid.ids", "p2pgrid.link.connections", "p2pgrid.logs", "p2pgrid.records"}


def test_the_gateway_sees_no_more_of_p2pgrid_than_its_ground() -> None:
    for path in Path(gateway.__file__).parent.glob("**/*.py"):
        for part in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(part, ast.Import):
                names = [alias.name for alias in part.names]
            elif isinstance(part, ast.ImportFrom):
                names = [
                    f"{part.module}.{alias.name}" if part.module == "p2pgrid" else part.module or ""
                    for alias in part.names
                ]
            for name in names:
                assert not name.startswith("p2pgrid") or name in ALLOWED, f"{path.name} imports {name}"


def test_public_names() -> None:
    assert sorted(gateway.__all__) == ["Gateway", "GatewaySettings", "NodeStatus", "run"]
    for name in gateway.__all__:
        assert getattr(gateway, name).__module__.startswith("gateway.")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import gateway, gateway.settings, sys; print({'aiohttp', 'sqlalchemy', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
