"""Decides which fields of a snapshot are believed; where one is not, the stored values stay.

An export that lacks a column, or has another in its place, is no news about ten thousand records. A tracked field is
held, first rule that applies:

    EMPTIED_FIELD   at least `FEW` records lost its value, and those are nearly all present ones that had one
    MASS_CHANGE     it changed on at least `min_changed` records and on more than its share of those compared, and that
                    on `FEW` devices or, where it is a fact of the product, of `FEW` products at least

Of an emptied field only what is missing is held; a new value is taken. A hold lasts while the field would still change
in that way on more than `LASTING` of the records, so that a fault which wanes is not believed in its last part; it ends
quietly, or with a person's approval. New records have whatever the snapshot says.

It reads the difference alone, as a rule. The inventory is read where so many values are gone that all may be, and then
by those columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.diff.doubts import Doubt
from connector.diff.guard import HoldReason
from connector.diff.scan import stored_digest
from connector.diff.tables import Difference, Relation, Workspace, compare_values, differ
from connector.exports.fields import Field, Kind, columns_of
from connector.state.sql import literal

FEW: Final = 10
"""Fewer records, devices or products are no evidence of a fault: somebody may have changed them."""

NEARLY_ALL: Final = 0.9
"""A share of the present records that had a value: parts of an export may be of two minds."""

LASTING: Final = 0.1
"""A field that is held stays so while more than this share of the records would change."""


@dataclass(frozen=True, slots=True)
class TrustRules:
    """The limits of `[guard]` for changes: the share of the records on which each field may change; 1: of all."""

    min_changed: int
    changed_shares: Mapping[str, float]


class Tally(NamedTuple):
    """On how many of the records that differ a field changed, lost its value, or had one and has one."""

    changed: int
    lost: int
    kept: int


def judge_fields(
    workspace: Workspace,
    difference: Difference,
    standing: Collection[Doubt],
    rules: TrustRules,
    *,
    fields: tuple[Sequence[Field], Sequence[Field]],
    snapshot_no: int,
) -> tuple[Difference, list[Doubt]]:
    """Take the stored values of fields that are not believed instead of the snapshot's.

    Args:
        workspace: inside the staging transaction.
        difference: of the snapshot and the inventory.
        standing: what is held since earlier snapshots, or approved.
        rules: the limits.
        fields: those that are tracked, and those of them that were when the inventory was last compared: only these
            are judged.
        snapshot_no: of the snapshot that is being staged.

    Returns the difference that is believed, and what is held.
    """
    tracked, known = fields
    settled = {doubt.field for doubt in standing if doubt.approved}
    held = {doubt.field: doubt for doubt in standing if not doubt.approved}
    judged = [field for field in known if field.name not in settled]
    differing = workspace.count(f"{difference.arrivals} WHERE previous_row IS NOT NULL")
    if differing < FEW or not judged:
        return difference, []
    tallies = _tally(workspace, difference, judged)
    emptied = _find_emptied(workspace, difference, tallies, held)
    others = {field: tally for field, tally in tallies.items() if field not in emptied}
    changed = _find_mass_changes(workspace, difference, others, held, rules)
    # In this order: where both begin with one snapshot, its report has the first reason.
    reasons = dict.fromkeys(changed, HoldReason.MASS_CHANGE) | dict.fromkeys(emptied, HoldReason.EMPTIED_FIELD)
    if not reasons:
        return difference, []
    doubts = _describe(workspace, difference, reasons, held, snapshot_no)
    return _without(workspace, difference, reasons, tracked, judged=known), doubts


def _tally(workspace: Workspace, difference: Difference, fields: Sequence[Field]) -> dict[Field, Tally]:
    """How each field fares among the records that differ, in one pass over them."""
    counts = ", ".join(
        f"count(*) FILTER ({differ([field], 'b', 'a')}), count(*) FILTER ({_is_lost(field)}),"
        f" count(*) FILTER ({_has(field, 'b')} AND {_has(field, 'a')})"
        for field in fields
    )
    (row,) = workspace.database.rows(f"SELECT {counts} FROM {_both(difference)}")
    return {field: Tally(*row[3 * place : 3 * place + 3]) for place, field in enumerate(fields)}


def _find_emptied(
    workspace: Workspace, difference: Difference, tallies: Mapping[Field, Tally], held: Mapping[str | None, Doubt]
) -> list[Field]:
    """The fields whose values are gone from nearly all records, or still from many of a field that is held."""
    shares = {field: LASTING if _is_held(held, field, HoldReason.EMPTIED_FIELD) else NEARLY_ALL for field in tallies}
    # Records that are as they were are not counted here yet: the more of those had a value, the smaller the share.
    candidates = [
        field
        for field, tally in tallies.items()
        if tally.lost >= FEW and tally.lost >= shares[field] * (tally.lost + tally.kept)
    ]
    if not candidates:
        return []
    counts = ", ".join(f"count(*) FILTER ({_has(field, 'i')})" for field in candidates)
    (had,) = workspace.database.rows(
        f"""
        WITH stored AS (
            SELECT rowid AS previous_row, {columns_of(candidates)}
            FROM inventory
            WHERE inventory = {literal(workspace.inventory)}
        )
        SELECT {counts}
        FROM stored i
        ANTI JOIN {difference.absent} USING (previous_row)
        """
    )
    return [
        field for field, number in zip(candidates, had, strict=True) if tallies[field].lost >= shares[field] * number
    ]


def _find_mass_changes(
    workspace: Workspace,
    difference: Difference,
    tallies: Mapping[Field, Tally],
    held: Mapping[str | None, Doubt],
    rules: TrustRules,
) -> list[Field]:
    """The fields that change on more than their share of the records that are compared."""
    held_before = [
        field
        for field, tally in tallies.items()
        if _is_held(held, field, HoldReason.MASS_CHANGE) and tally.changed >= FEW
    ]
    # A field that may change on all records is the rule where many do: then the inventory need not be counted.
    shares = {
        field: rules.changed_shares[field.name]
        for field, tally in tallies.items()
        if tally.changed >= max(rules.min_changed, 1) and rules.changed_shares[field.name] < 1
    }
    if not (held_before or shares):
        return []
    which = literal(workspace.inventory)
    compared = workspace.count(f"inventory WHERE inventory = {which}") - workspace.count(difference.absent)
    lasting = [field for field in held_before if tallies[field].changed > LASTING * compared]
    many = [
        field for field, share in shares.items() if tallies[field].changed > share * compared and field not in lasting
    ]
    return [*lasting, *(field for field in many if _spread(workspace, difference, field) >= FEW)]


def _spread(workspace: Workspace, difference: Difference, field: Field) -> int:
    """On how many devices a field changed; or of how many products, where it is a fact of the product."""
    product = ", ".join(f"a.{part.column}" for part in workspace.export.product)
    subject = f"({product})" if field.about == "product" else "a.device_no"
    return workspace.database.number(
        f"SELECT count(DISTINCT {subject}) FROM {_both(difference)} WHERE {differ([field], 'b', 'a')}"
    )


def _describe(
    workspace: Workspace,
    difference: Difference,
    reasons: Mapping[Field, HoldReason],
    held: Mapping[str | None, Doubt],
    snapshot_no: int,
) -> list[Doubt]:
    """What is held, with the numbers of records and devices."""
    doubts = []
    for field, reason in reasons.items():
        is_held = _is_lost(field) if reason is HoldReason.EMPTIED_FIELD else differ([field], "b", "a")
        ((records, devices),) = workspace.database.rows(
            f"SELECT count(*), count(DISTINCT a.device_no) FROM {_both(difference)} WHERE {is_held}"
        )
        since = held[field.name].since_snapshot if _is_held(held, field, reason) else snapshot_no
        doubts.append(Doubt(field.name, reason, records, devices, since))
    return doubts


def _without(
    workspace: Workspace,
    difference: Difference,
    reasons: Mapping[Field, HoldReason],
    tracked: Sequence[Field],
    *,
    judged: Sequence[Field],
) -> Difference:
    """The difference with the stored values of the held fields: what then is as it was is no part of it."""
    database = workspace.database
    believed = workspace.make("believed", _with_stored_values(workspace, difference, reasons, tracked))
    compared = compare_values(
        workspace, "believed_compared", earlier=difference.earlier, arrivals=believed, tracked=tracked, judged=judged
    )
    database.rows(
        f"DELETE FROM {believed} WHERE previous_row IN (SELECT previous_row FROM {compared} WHERE NOT differs)"
    )
    # A key that the snapshot has more than once has no digest, whatever its values are.
    database.rows(
        f"""
        INSERT INTO {difference.rewritten}
        SELECT previous_row, digest
        FROM {compared}
        WHERE NOT differs AND digest IS NULL
        """
    )
    quiet = workspace.make("quiet", f"SELECT previous_row FROM {compared} WHERE differs AND NOT changed")
    return difference._replace(arrivals=believed, quiet=quiet)


def _with_stored_values(
    workspace: Workspace, difference: Difference, reasons: Mapping[Field, HoldReason], tracked: Sequence[Field]
) -> str:
    """A SELECT of what arrived, with the stored values of the held fields.

    A record's digest is the one that it has when it is read with those values: until then it differs at each snapshot,
    and is judged at each.
    """
    values = ",\n                   ".join(
        f"CASE WHEN {_stays(field, reasons[field])} THEN b.{field.column} ELSE a.{field.column} END AS {field.column}"
        if field in reasons
        else f"a.{field.column}"
        for field in workspace.export.fields
    )
    return f"""
        WITH records AS (
            SELECT {values},
                   a.digest AS read_digest,
                   a.device_no,
                   a.software_no,
                   a.previous_row
            FROM {difference.arrivals} a
            LEFT JOIN {difference.earlier} b USING (previous_row)
        )
        SELECT {workspace.export.columns},
               CASE
                   WHEN read_digest IS NULL OR previous_row IS NULL THEN read_digest
                   ELSE {stored_digest(tracked)}
               END AS digest,
               device_no,
               software_no,
               previous_row
        FROM records
    """


def _both(difference: Difference) -> Relation:
    """The records that differ, as they are stored (`b`) and as they arrived (`a`)."""
    return f"{difference.earlier} b JOIN {difference.arrivals} a USING (previous_row)"


def _has(field: Field, record: str) -> str:
    column = f"{record}.{field.column}"
    return f"coalesce(len({column}), 0) > 0" if field.kind is Kind.TEXT_SET else f"{column} IS NOT NULL"


def _is_lost(field: Field) -> str:
    return f"{_has(field, 'b')} AND NOT ({_has(field, 'a')})"


def _stays(field: Field, reason: HoldReason) -> str:
    return _is_lost(field) if reason is HoldReason.EMPTIED_FIELD else "b.previous_row IS NOT NULL"


def _is_held(held: Mapping[str | None, Doubt], field: Field, reason: HoldReason) -> bool:
    return field.name in held and held[field.name].reason is reason
