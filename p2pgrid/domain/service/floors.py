"""Verbs on the rules that an owner sets under every request on a dataset or one of its assets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import and_, delete, select
from sqlalchemy.orm import Session

from p2pgrid.assets import MAX_COLUMNS, AssetMeta
from p2pgrid.domain.fields import Args
from p2pgrid.domain.models import CodeRequest, moment
from p2pgrid.domain.policies import MinimumCellCount, Rule, all_rules, parse_rules
from p2pgrid.domain.service.door import Domain, Who, verb
from p2pgrid.domain.storage.catalogue import find
from p2pgrid.domain.storage.tables import AssetRow, FloorRow
from p2pgrid.errors import InvalidInput, NotFound

MAX_NAME: Final = 200
SHOWN_COLUMNS: Final = 12
SHOWN_LETTERS: Final = 30


@verb("rules.set")
async def set_rules(domain: Domain, who: Who, args: Args) -> Any:
    """Set the rules of a dataset, or of its ``asset`` by name; an empty list takes them away.

    They hold for every run that begins from now on, whenever its request was made or approved.
    """
    an_id, asset = args.id("dataset"), args.text("asset", MAX_NAME, default="")
    rules = parse_rules(args.raw("rules"))

    def work(session: Session) -> None:
        dataset = find(session, an_id).value()
        set_before = session.get(FloorRow, (dataset.id, asset)) is not None
        if asset not in {"", *(one.name for one in dataset.assets)} and (rules or not set_before):
            raise NotFound(f"The dataset {dataset.name!r} has no asset {asset[:80]!r}.")
        check_columns(rules, [one.data for one in dataset.assets if asset in ("", one.name)])
        session.execute(delete(FloorRow).where(FloorRow.dataset == dataset.id, FloorRow.asset == asset))
        if rules:
            wires = [rule.to_wire() for rule in rules]
            now, email = domain.clock(), who.person.email
            session.add(FloorRow(dataset=dataset.id, asset=asset, rules=wires, set_at=now, set_by=email))
        kinds = ", ".join(rule.kind for rule in rules)
        domain.record(session, who.label, "rules.set", dataset.id, asset=asset, rules=kinds)

    await domain.write(work)
    return await list_rules.work(domain, who, Args({"dataset": an_id}, "rules.list"))


def check_columns(rules: Sequence[Rule], assets: Sequence[AssetMeta]) -> None:
    """Refuse rules by columns that none of the assets has: nothing would ever come out.  Raises ``InvalidInput``.

    What columns JSON holds is not known before it is read, nor are all those of a very wide table.
    """
    if any(meta.kind == "json" or len(meta.columns) >= MAX_COLUMNS for meta in assets):
        return
    tables = [[name for name, _ in meta.columns] for meta in assets]
    there = list(dict.fromkeys(name for columns in tables for name in columns))
    for rule in rules:
        by = set(rule.by) if isinstance(rule, MinimumCellCount) else set()
        if by and not any(by <= set(columns) for columns in tables):
            missing = sorted(by - set(there)) or sorted(by)
            together = "" if by - set(there) else " in one table"
            raise InvalidInput(
                f"No asset has {_names(missing)}{together}, which {rule.kind} groups by.",
                fix=f"Name columns of one asset; there are: {_names(there) or 'none'}.",
            )


def _names(columns: Sequence[str]) -> str:
    more = ", …" if len(columns) > SHOWN_COLUMNS else ""
    return ", ".join(name[:SHOWN_LETTERS] for name in columns[:SHOWN_COLUMNS]) + more


@verb("rules.list")
async def list_rules(domain: Domain, who: Who, args: Args) -> Any:
    """The rules that are set here, of one ``dataset`` if it is named."""
    only = args.maybe_id("dataset")
    query = select(FloorRow).order_by(FloorRow.set_at, FloorRow.dataset, FloorRow.asset)
    if only is not None:
        query = query.where(FloorRow.dataset == only)
    names = {entry.id: entry.name for entry in domain.catalogue.index.entries.values()}

    def work(session: Session) -> list[dict[str, Any]]:
        return [
            {
                "dataset": row.dataset,
                "dataset_name": names.get(row.dataset, ""),
                "asset": row.asset,
                "rules": [rule.to_wire() for rule in parse_rules(row.rules)],
                "words": [f"{rule.kind}: {rule.words()}" for rule in parse_rules(row.rules)],
                "set_at": moment(row.set_at),
                "set_by": row.set_by,
            }
            for row in session.scalars(query)
        ]

    return await domain.read(work)


def check_rules(session: Session, inputs: Collection[str], rules: Sequence[Rule]) -> None:
    """``check_columns`` for the assets that a request is given; one that is gone may have had any."""
    found = session.scalars(select(AssetRow).where(AssetRow.id.in_(set(inputs)))).all()
    if len(found) == len(set(inputs)):
        check_columns(rules, [row.value().data for row in found])


def rules_of(session: Session, request: CodeRequest) -> tuple[Rule, ...]:
    """Every rule that holds for a run of this request now: its own, its approval's, its assets' and datasets'."""
    wanted = set(request.input_policy.inputs.values())
    holds = and_(FloorRow.dataset == AssetRow.dataset, FloorRow.asset.in_(("", AssetRow.name)))
    query = select(FloorRow.rules).join(AssetRow, holds).where(AssetRow.id.in_(wanted))
    query = query.order_by(FloorRow.dataset, FloorRow.asset)
    floors = [parse_rules(rules) for rules in session.scalars(query)]
    return all_rules(request.output_policy.rules, request.rules, *floors)
