"""Uploading a dataset, with a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from p2pgrid.client.door import Door
from p2pgrid.client.values import Dataset


async def upload(door: Door, dataset: Dataset, *, show: bool = True, verb: str = "dataset.create") -> dict[str, Any]:
    """Stage every asset and mock, then create (or replace) the dataset in one step; the answer describes it.

    What was staged before a failure is cleared away by the domain; nothing of a half dataset is ever seen.
    """
    assets = []
    with _bar(len(dataset.assets), show) as (step, sent):
        for asset in dataset.assets:
            step(f"Uploading: {asset.name}", 0)
            data = await door.send(asset.data, sent)
            mock = await door.send(asset.mock, sent) if asset.has_mock else None
            assets.append({"name": asset.name, "description": asset.description, "data": data, "mock": mock})
            step(f"Uploading: {asset.name}", 1)
        created: dict[str, Any] = await door.call(
            verb,
            name=dataset.name,
            description=dataset.description,
            citation=dataset.citation,
            url=dataset.url,
            tags=dataset.tags,
            contributors=[person.to_wire() for person in dataset.contributors],
            assets=assets,
        )
    return created


@contextmanager
def _bar(assets: int, show: bool) -> Iterator[tuple[Callable[[str, int], None], Callable[[int], None]]]:
    if not show:
        yield (lambda text, done: None), (lambda size: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from p2pgrid.client.show import clean

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[megabytes]:.1f} MB"),
        TimeElapsedColumn(),
    )
    sent = 0
    # A log file and a notebook's error stream have no use for a bar that moves.
    console = Console(file=sys.stderr, force_jupyter=False)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Uploading", total=assets, megabytes=0.0)

        def step(text: str, done: int) -> None:
            progress.update(task, description=str(Text(clean(text))), advance=done)

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            progress.update(task, megabytes=sent / 1e6)

        yield step, count
