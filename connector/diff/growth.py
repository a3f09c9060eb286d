"""Decides whether the additions of a snapshot are believed; where they are not, they wait outside the inventory.

Additions are new records, but for what moved here from the other inventory and the later halves of changes of version.
A snapshot's additions are held, first rule that applies:

    KEYS_CHANGED    a part of the key is empty on most new records, and nearly all stored records that have one are
                    absent; or additions are more than `max_added_share` of the stored records, at least `min_added`
                    of them, and half as many of those are absent: what is there is written in another way
    MASS_ADDITION   additions are as many, and next to nothing is absent

Where keys changed, no absence is believed either, and nothing but a person ends it, or that the keys are as they were;
it lasts while additions are more than `LASTING` of the stored records. A mass of additions alone is growth, or another
tenant's data in an export by mistake: the next generation confirms it with at least half as many. While a baseline is
young they complete it (`staging.young_baseline`), and are not held.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.diff.distrust import FEW, LASTING, NEARLY_ALL
from connector.diff.doubts import Doubt
from connector.diff.guard import HALF, HoldReason, Sighting
from connector.diff.tables import Difference, Moves, Relation, Workspace
from connector.exports.fields import Field
from connector.state.sql import literal

_COMPARABLE: Final = 0.5
"""At least this number of absent records for each addition: what came may be what went."""


@dataclass(frozen=True, slots=True)
class GrowthRules:
    """The limits of `[guard]` for additions: a share of the stored records, and a number."""

    max_added_share: float
    min_added: int


class Arrived(NamedTuple):
    """What a snapshot brought, as it was compared.

    Attributes:
        pairs: changes of version.
        stored: records in the inventory.
        young: whether no ordinary snapshot has confirmed the baseline yet.
    """

    difference: Difference
    moves: Moves
    pairs: Relation
    stored: int
    young: bool


def judge_additions(
    workspace: Workspace, arrived: Arrived, standing: Doubt | None, rules: GrowthRules, sighting: Sighting
) -> Doubt | None:
    """Take additions that are not believed out of what arrived, and out of the pairs.

    Args:
        workspace: inside the staging transaction.
        arrived: the snapshot; its relations are changed.
        standing: the additions that are held since an earlier snapshot, or approved.
        rules: the limits.
        sighting: the snapshot that is being staged.

    Returns what is held.
    """
    if standing and standing.approved:
        return None
    difference = arrived.difference
    new = workspace.count(f"{difference.arrivals} WHERE previous_row IS NULL")
    lasts = standing is not None and standing.reason is HoldReason.KEYS_CHANGED
    if new < FEW:
        return None
    emptied = _find_emptied(workspace, difference, new, share=LASTING if lasts else NEARLY_ALL)
    if not emptied and new <= (LASTING if lasts else rules.max_added_share) * arrived.stored:
        return None
    additions = _find_additions(workspace, arrived, emptied)
    added = workspace.count(additions)
    reason = HoldReason.KEYS_CHANGED if emptied else _reason_to_hold(workspace, arrived, added, rules, lasts=lasts)
    if reason is HoldReason.MASS_ADDITION and _is_confirmed(workspace, standing, added, sighting):
        reason = None
    if reason is None or added < FEW:
        return None
    devices = workspace.database.number(f"SELECT count(DISTINCT device_no) FROM {additions}")
    is_waiting = f"(device_no, software_no) IN (SELECT (device_no, software_no) FROM {additions})"
    for relation in (difference.arrivals, arrived.pairs):
        workspace.database.rows(f"DELETE FROM {relation} WHERE {is_waiting}")
    is_same = standing is not None and standing.reason is reason
    since = standing.since_snapshot if standing and is_same else sighting.snapshot_no
    return Doubt(None, reason, added, devices, since)


def _find_emptied(workspace: Workspace, difference: Difference, new: int, *, share: float) -> list[Field]:
    """The parts of the subject that most new records lack where stored ones that have them are nearly all absent."""
    subject = workspace.export.subject
    counts = ", ".join(f"count(*) FILTER ({field.column} = '')" for field in subject)
    (lacking,) = workspace.database.rows(f"SELECT {counts} FROM {difference.arrivals} WHERE previous_row IS NULL")
    candidates = [field for field, number in zip(subject, lacking, strict=True) if number >= max(FEW, HALF * new)]
    if not candidates or not workspace.count(difference.absent):
        return []
    stored = f"inventory WHERE inventory = {literal(workspace.inventory)}"
    counts = ", ".join(f"count(*) FILTER ({field.column} <> '')" for field in candidates)
    gone, had = (
        workspace.database.rows(f"SELECT {counts} FROM {records} JOIN software USING (software_no)")[0]
        for records in (difference.absent, f"(FROM {stored})")
    )
    return [
        field
        for field, absent, all_of_them in zip(candidates, gone, had, strict=True)
        if absent >= FEW and absent >= share * all_of_them
    ]


def _find_additions(workspace: Workspace, arrived: Arrived, emptied: Collection[Field]) -> Relation:
    """New records that neither moved here nor are another version; a version that is empty throughout is none."""
    is_another = "version_after <> ''" if workspace.export.version in {field.name for field in emptied} else "true"
    return workspace.make(
        "additions",
        f"""
        WITH upgraded AS (
            SELECT device_no, software_no
            FROM {arrived.pairs}
            WHERE {is_another}
        )
        SELECT device_no, software_no
        FROM {arrived.difference.arrivals}
        ANTI JOIN upgraded USING (device_no, software_no)
        ANTI JOIN {arrived.moves.moved_in} USING (device_no, software_no)
        WHERE previous_row IS NULL
        """,
    )


def _reason_to_hold(
    workspace: Workspace, arrived: Arrived, added: int, rules: GrowthRules, *, lasts: bool
) -> HoldReason | None:
    share = LASTING if lasts else rules.max_added_share
    if added < (FEW if lasts else rules.min_added) or added <= share * arrived.stored:
        return None
    which = literal(workspace.inventory)
    gone = workspace.database.number(
        f"""
        WITH held_here AS (
            SELECT device_no, software_no
            FROM held
            WHERE inventory = {which}
        )
        SELECT count(*)
        FROM {arrived.difference.absent}
        ANTI JOIN {arrived.pairs} USING (previous_row)
        ANTI JOIN {arrived.moves.elsewhere} USING (device_no, software_no)
        ANTI JOIN held_here USING (device_no, software_no)
        """
    )
    if gone >= _COMPARABLE * added:
        return HoldReason.KEYS_CHANGED
    is_mass = added >= rules.min_added and added > rules.max_added_share * arrived.stored
    return HoldReason.MASS_ADDITION if is_mass and not arrived.young else None


def _is_confirmed(workspace: Workspace, standing: Doubt | None, added: int, sighting: Sighting) -> bool:
    """Whether an earlier generation had such a mass of additions already."""
    if standing is None or standing.reason is not HoldReason.MASS_ADDITION or added < HALF * standing.records:
        return False
    return bool(
        workspace.database.number(
            "SELECT count(*) FROM snapshots WHERE snapshot_no = $1 AND generated_at < $2",
            [standing.since_snapshot, sighting.generated_at],
        )
    )
