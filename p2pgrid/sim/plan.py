"""What to run, as a person wrote it: options of a command, or a TOML file.

::

    experiment = "churn"
    nodes = 1_000
    seed = [1, 2, 3]

    [parameters]
    hours = 0.5

    [vary]
    shape = [0.4, 0.5, 1.0]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from p2pgrid.errors import BadExperiment
from p2pgrid.sim.checks import MOST_SEED
from p2pgrid.sim.experiments import named
from p2pgrid.sim.sweep import Job, jobs_of

KEYS: Final = ("experiment", "nodes", "seed", "hours", "parameters", "vary")


@dataclass(slots=True)
class Plan:
    """An experiment, and what it runs with."""

    experiment: str
    nodes: list[int | None] = field(default_factory=lambda: [None])
    seeds: list[int] = field(default_factory=lambda: [1])
    parameters: dict[str, Any] = field(default_factory=dict)
    vary: dict[str, list[Any]] = field(default_factory=dict)

    def jobs(self) -> list[Job]:
        """A run for each combination.  Raises ``BadExperiment``."""
        return jobs_of(self.experiment, nodes=self.nodes, seeds=self.seeds, parameters=self.parameters, vary=self.vary)

    def set(self, text: str) -> None:
        """Take ``name=value``; several values with commas are varied, unless the parameter is a list itself."""
        name, equals, value = text.partition("=")
        name = name.strip()
        values = [part.strip() for part in value.split(",") if part.strip()]
        if not (equals and name and values):
            raise BadExperiment(f"{text[:80]!r} sets nothing.", fix="Write it as name=value, or name=value,value.")
        if len(values) == 1 or isinstance(named(self.experiment).parameters.get(name), tuple):
            self.parameters[name] = values if len(values) > 1 else values[0]
            self.vary.pop(name, None)
        else:
            self.vary[name] = list(values)
            self.parameters.pop(name, None)


def read(what: str) -> Plan:
    """The plan in a file, or an experiment's name alone.  Raises ``BadExperiment``."""
    if not what.endswith(".toml"):
        named(what)
        return Plan(what)
    path = Path(what)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadExperiment(f"{path} cannot be read: {error}.", fix="Give the path of a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadExperiment(f"{path} is no TOML: {error}.", fix="See docs/simulation.md for an example.") from error
    return _plan(document, path)


def _plan(document: Mapping[str, Any], path: Path) -> Plan:
    unknown = sorted(set(document) - set(KEYS))
    if unknown or not isinstance(document.get("experiment"), str):
        wrong = f"has an unknown key {unknown[0]!r}" if unknown else "names no experiment"
        raise BadExperiment(f"{path} {wrong}.", fix=f"Its keys are {', '.join(KEYS)}.")
    plan = Plan(document["experiment"])
    named(plan.experiment)
    plan.nodes = list(_numbers(path, "nodes", document["nodes"])) if "nodes" in document else [None]
    plan.seeds = list(_numbers(path, "seed", document.get("seed", 1)))
    for name, table in (("parameters", plan.parameters), ("vary", plan.vary)):
        given = document.get(name, {})
        if not isinstance(given, dict) or (name == "vary" and not all(isinstance(v, list) for v in given.values())):
            raise BadExperiment(f"{path}: [{name}] is a table of {'lists' if name == 'vary' else 'values'}.")
        table.update(given)
    if "hours" in document:
        plan.parameters["hours"] = document["hours"]
    return plan


def _numbers(path: Path, name: str, value: Any) -> Sequence[int]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(one) is int and 0 <= one < MOST_SEED for one in values):
        raise BadExperiment(f"{path}: {name} is a whole number from 0 on, or a list of them.")
    return values
