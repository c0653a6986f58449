"""``p2pgrid publish``: bring data to one of your nodes, with a mock, under tags."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2pgrid.cli import options as opt
from p2pgrid.cli import shapes
from p2pgrid.cli.output import Out, count_text
from p2pgrid.cli.where import own_place, visit
from p2pgrid.errors import Conflict, InvalidInput, NotAllowed

if TYPE_CHECKING:
    from p2pgrid.client.values import Dataset

EXAMPLES: Final = opt.examples(
    "p2pgrid publish sklearn:digits --node Bob",
    "p2pgrid publish patients.csv --name 'Patients 2024' --tag medical",
    "p2pgrid publish scan.npy --mock fake-scan.npy --tag mri",
    "p2pgrid publish scans/ --mock fake-scans/ --tag mri",
    "p2pgrid publish patients.csv --replace",
)
AUTO: Final = "auto"
NONE: Final = "none"
MAY_PUBLISH: Final = ("data owner", "admin")


def publish(
    source: Annotated[
        str,
        typer.Argument(
            help="A file (.npy .npz .csv .parquet .arrow .json .txt, images, any other), a folder, or sklearn:digits."
        ),
    ],
    node: opt.Node = None,
    name: Annotated[str | None, typer.Option(help="The dataset's name; else the source's.")] = None,
    description: Annotated[str | None, typer.Option(help="What it holds, for everybody to read.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="What the grid may know; repeatable.")
    ] = None,
    mock: Annotated[
        str, typer.Option(metavar="auto|none|FILE", help="Draw a mock, give none, or take a file's.")
    ] = AUTO,
    asset_name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Call the assets so, in their order; repeatable.")
    ] = None,
    citation: Annotated[str, typer.Option(help="How to cite it.")] = "",
    url: Annotated[str, typer.Option(help="Where to read more about it.")] = "",
    contributor: Annotated[
        list[str] | None, typer.Option(metavar="'NAME <EMAIL>'", help="Somebody to ask about it; repeatable.")
    ] = None,
    as_kind: Annotated[
        str, typer.Option("--as", metavar="auto|file|folder|image", help="Keep the source as it is, never loaded.")
    ] = AUTO,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make the next version of the dataset of that name.")
    ] = False,
    home: opt.HomeFolder = None,
    as_json: opt.Json = False,
) -> None:
    """Publish data at your node.

    The grid learns its tags, visitors see its mock, and the data stays where it is.
    """
    out = Out(as_json=as_json)
    place = own_place(node, home)
    with out.working(f"Reading {source}"):
        about = text_or_file(description)
        dataset = _compose(source, name, about, tag, mock, asset_name or [], citation, url, as_kind)
        for person in contributor or ():
            called, _, email = person.rstrip("> ").partition("<")
            dataset.add_contributor(called.strip(), email.strip())
    said = {"description": about, "citation": citation, "url": url, "tags": None if tag is None else dataset.tags}
    changes = {key: value for key, value in said.items() if value} if replace else None
    created = asyncio.run(_upload(place, dataset, out, changes, renamed=bool(asset_name)))
    out.document({"node": place.label, "dataset": created})
    out.pairs({**created, "tags": _tags(created), "assets": assets_text(created), "contributors": None}, "published")
    if not created["tags"]:
        out.note("It has no tags, so nobody finds it by searching: publish with --tag.")


def text_or_file(text: str | None) -> str | None:
    """A text as it is given, or the content of ``@FILE``.  Raises ``InvalidInput``."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{text[1:]!r} cannot be read: {error}.", fix="Give a text file.") from error


async def _upload(
    place: Any, dataset: Dataset, out: Out, changes: dict[str, Any] | None, *, renamed: bool
) -> dict[str, Any]:
    """Make it, or with ``changes`` the next version of the dataset of that name, of which those are said.

    An only asset goes on under the name that it has there, which requests and rules know, unless it is ``renamed``.
    """
    import sys

    from p2pgrid.client.upload import upload

    async with visit(place) as client:
        await _must_be_owner(client.door)
        verb = "dataset.create" if changes is None else "dataset.replace"
        if changes is not None and not renamed and len(dataset.assets) == 1:
            there = shapes.read(shapes.dataset, await client.door.call("dataset.get", name=dataset.name))["assets"]
            if len(there) == 1:
                dataset.assets[0].name = there[0]["name"]
        try:
            raw = await upload(client.door, dataset, show=out.speaks and sys.stderr.isatty(), verb=verb)
        except Conflict as error:
            if changes is not None:
                raise
            fix = "Add --replace to make its next version, or choose another name with --name."
            raise Conflict(error.cause, fix=fix) from error
        if changes:
            raw = await client.door.call("dataset.update", id=raw["id"], **changes)
    return shapes.read(shapes.dataset, raw)


async def _must_be_owner(door: Any) -> None:
    """Ask before megabytes are sent.  Raises ``NotAllowed`` or ``NotLoggedIn``."""
    role = shapes.read(shapes.account, await door.call("auth.whoami"))["role"]
    if role.lower().replace("_", " ") not in MAY_PUBLISH:
        raise NotAllowed(f"Publishing needs the role data owner; yours is {role}.")


def _compose(
    source: str,
    name: str | None,
    description: str | None,
    tags: list[str] | None,
    mock: str,
    names: list[str],
    citation: str,
    url: str,
    as_kind: str = AUTO,
) -> Dataset:
    from p2pgrid.client.data import keep_source, load_source
    from p2pgrid.client.values import Asset, Dataset
    from p2pgrid.ids import normalise_tags

    chosen = list(normalise_tags(opt.each_by_itself(tags))) if tags is not None else None
    loaded = load_source(source) if as_kind == AUTO else keep_source(source, as_kind)
    if len(names) not in (0, len(loaded.assets)):
        raise InvalidInput(
            f"{source} has {count_text(len(loaded.assets), 'asset')}, and --asset-name names {len(names)}.",
            fix="Give --asset-name once for each asset, or not at all.",
        )
    called = names or [asset for asset, _ in loaded.assets]
    mocks = _mocks(mock, loaded.assets)
    assets = [Asset(title, value, mocks[own]) for title, (own, value) in zip(called, loaded.assets, strict=True)]
    about = loaded.description if description is None else description
    tagged = list(loaded.tags) if chosen is None else chosen
    return Dataset(name or loaded.name, assets, about, tags=tagged, citation=citation, url=url)


def _mocks(wish: str, real: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """A mock for each asset, by the asset's own name.  Raises ``InvalidInput`` for one of another kind."""
    from p2pgrid.client.data import load_source, make_mock
    from p2pgrid.client.values import EMPTY

    if wish == NONE:
        return dict.fromkeys((name for name, _ in real), EMPTY)
    if wish == AUTO:
        return {name: make_mock(value) for name, value in real}
    given = dict(load_source(str(Path(wish))).assets)
    if len(real) == len(given) == 1:
        given = {real[0][0]: next(iter(given.values()))}
    missing = [name for name, _ in real if name not in given]
    if missing:
        raise InvalidInput(f"{wish} holds no mock for: {', '.join(missing)}.", fix="Name its arrays like the assets.")
    for name, value in real:
        _must_fit(name, value, given[name])
    return {name: given[name] for name, _ in real}


def _must_fit(name: str, real: Any, mock: Any) -> None:
    """What runs on the mock must run on the data: same kind, same number of axes, same columns."""
    from p2pgrid.assets import dump

    ours, fake = dump(real), dump(mock)
    if ours.size == fake.size and ours.meta.digest == fake.meta.digest:
        raise InvalidInput(f"The mock of {name!r} is the private data itself.", fix="Give another, or --mock auto.")
    same = ours.kind == fake.kind and len(ours.shape) == len(fake.shape) and dict(ours.columns) == dict(fake.columns)
    if not same:
        raise InvalidInput(
            f"The mock of {name!r} is {_kind(fake)}, and the data is {_kind(ours)}.",
            fix="Give a mock with the same schema, or --mock auto.",
        )


def _kind(meta: Any) -> str:
    columns = f" with the columns {', '.join(name for name, _ in meta.columns[:8])}" if meta.columns else ""
    return f"{meta.kind} of {len(meta.shape)} axes{columns}"


def _tags(dataset: dict[str, Any]) -> str:
    return " ".join(f"#{tag}" for tag in dataset["tags"])


def assets_text(dataset: dict[str, Any]) -> str:
    """One line an asset."""
    return "\n".join(
        f"{asset['name']}: {asset['dtype']} {tuple(asset['shape'])}, {'with' if asset['mock'] else 'no'} mock"
        for asset in dataset["assets"]
    )
