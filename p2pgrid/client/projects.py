"""A project: the scope in which a data scientist's requests and an owner's verdicts meet."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from p2pgrid.client.bridge import Bridge, bridged, bridged_property
from p2pgrid.client.door import Holder
from p2pgrid.client.functions import GridFunction
from p2pgrid.client.requests import Request, Requests, submit
from p2pgrid.client.show import Shown, ShownList
from p2pgrid.errors import InvalidInput


class Project(Shown):
    """Made here, then ``start``-ed at the domain of its members."""

    def __init__(self, name: str, description: str = "", members: Sequence[Holder] = ()) -> None:
        if not name:
            raise InvalidInput("A project needs a name.")
        if len(members) != 1:
            raise InvalidInput("A project has exactly one member for now.", fix="Pass members=[client].")
        self.id = uuid.uuid4().hex
        self.name = name
        self.description = description
        self.created_by = members[0].email
        self._client = members[0]
        self._started = False

    @classmethod
    def held(cls, client: Holder, raw: Mapping[str, Any]) -> Project:
        """A project that a domain already holds."""
        project = cls(str(raw["name"]), str(raw.get("description") or ""), [client])
        project.id, project.created_by, project._started = str(raw["id"]), str(raw["created_by"]), True
        return project

    @property
    def _bridge(self) -> Bridge:
        return self._client._bridge

    @bridged
    async def start(self) -> Project:
        """Bring it to the domain.  Raises ``Conflict`` when the name is taken."""
        call = self._client.door.call("project.create", id=self.id, name=self.name, description=self.description)
        started = Project.held(self._client, await call)
        self._started = True
        return started

    @bridged
    async def create_code_request(self, function: GridFunction, client: Holder, reason: str = "") -> Request:
        """Send a function to be reviewed; it runs on the mock at once, so that both sides see what it does."""
        self._must_be_started()
        return await submit(client, function, project=self.id, reason=reason)

    @bridged_property
    async def requests(self) -> Requests:
        """The requests of this project that its holder may see."""
        self._must_be_started()
        rows = await self._client.door.rows("request.list", project=self.id)
        return Requests([Request(self._client, raw) for raw in rows])

    def _must_be_started(self) -> None:
        if not self._started:
            raise InvalidInput(f"The project {self.name!r} was not started.", fix="Start it first: project.start()")

    def fields(self) -> Mapping[str, Any]:
        """What it is, and whether the domain has it."""
        shown = {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "created_by": self.created_by,
        }
        return {**shown, "events": []} if self._started else shown


class Projects(ShownList[Project]):
    """The projects of a domain."""

    columns = ("id", "name", "description", "created_by")
    heading = "Projects"
