"""What every engine does with the rows that differ, once it has found them: keys, values, and what is set aside.

An engine says which records differ from what is stored, and which stored ones the snapshot lacks. What follows is small
and the same for all of them, so it stands here once, on the database of the state file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from connector.diff.keys import number_keys, same_subject
from connector.diff.lookalikes import continue_stored, pair_lookalikes
from connector.diff.scan import normal_forms
from connector.diff.tables import Difference, Relation, Workspace, compare_values
from connector.errors import SourceMalformed
from connector.exports.fields import Field, Kind, columns_of
from connector.model import Snapshot
from connector.state.sql import literal


class Differing(NamedTuple):
    """What an engine found.

    Attributes:
        read: lines as `number_arrivals` was given them; gone after `settle`, where it needs them at all.
        arrivals: of those, one row a key, in normal form and numbered.
        absent: stored records that the snapshot lacks.
        duplicates: lines of the snapshot beyond the first of their key.
    """

    read: Relation
    arrivals: Relation
    absent: Relation
    duplicates: int


def check_devices(workspace: Workspace, records: Relation, snapshot: Snapshot) -> None:
    """Refuse records without a device: nobody could say whose software that is."""
    if workspace.count(f"{records} WHERE device_id = ''"):
        raise SourceMalformed(
            f"snapshot {snapshot.snapshot_id} has lines without a DeviceId",
            hint="Nothing was staged.",
        )


def number_arrivals(workspace: Workspace, differing: Relation) -> Relation:
    """The records in `differing`, in normal form and all of them numbered."""
    export = workspace.export
    number_keys(
        workspace.database,
        export,
        f"""
        SELECT {export.key_columns}
        FROM {differing}
        WHERE device_id IS NOT NULL AND (device_no IS NULL OR software_no IS NULL)
        """,
    )
    return workspace.make(
        "arrivals",
        f"""
        WITH current AS (
            SELECT {normal_forms(export.fields)}, digest, previous_row
            FROM {differing}
            WHERE device_id IS NOT NULL
        )
        SELECT {columns_of(export.fields, of="r")}, digest, d.device_no, s.software_no, previous_row
        FROM current r
        JOIN devices d USING (device_id)
        JOIN software s ON {same_subject(export, "s", "r")}
        """,
        grows=True,
    )


def check_spellings(workspace: Workspace, snapshot: Snapshot, arrivals: Relation, absent: Relation) -> None:
    """Refuse new records that are absent ones without a part of their key, where not every line was inspected.

    A property that is spelled differently on one line beyond the sample reads as null there. Of most properties that
    makes a change that was none; of a product's name or version it would make a removal, and that is worth inspecting
    each line.
    """
    if not any(part.sampled for part in snapshot.parts):
        return
    subject = workspace.export.subject
    empty = " OR ".join(f"{field.column} = ''" for field in subject)
    same = " AND ".join(f"a.{field.column} IN ('', s.{field.column})" for field in subject)
    if workspace.database.number(
        f"""
        WITH nameless AS (
            SELECT *
            FROM {arrivals}
            WHERE previous_row IS NULL AND ({empty})
        )
        SELECT count(*)
        FROM nameless a
        JOIN {absent} b ON b.device_no = a.device_no
        JOIN software s ON s.software_no = b.software_no
        WHERE {same}
        """
    ):
        raise SourceMalformed(
            f"{snapshot.snapshot_id} has records without vendor, name or version that had one: a line may spell it"
            " differently",
            hint="Nothing was staged.",
        )


def settle(
    workspace: Workspace,
    snapshot: Snapshot,
    differing: Differing,
    fields: tuple[Sequence[Field], Sequence[Field]],
    *,
    folds: bool,
) -> Difference:
    """What the rows that differ come to. `fields` are those that are tracked, and those that were."""
    read, arrivals, absent, duplicates = differing
    pairs, lookalikes = pair_lookalikes(workspace, arrivals, absent)
    if folds and lookalikes:
        continue_stored(workspace, arrivals, absent, pairs)
    earlier = _fetch_earlier(workspace, arrivals, absent)
    if snapshot.unreadable:
        _keep_stored_values(workspace, snapshot, read, arrivals, earlier)
        workspace.database.rows(f"DROP TABLE {read}")
    quiet, rewritten = _set_aside_unchanged(workspace, arrivals, earlier, *fields)
    devices = _count_devices(workspace, arrivals, absent)
    records = snapshot.lines - duplicates
    return Difference(arrivals, earlier, absent, quiet, rewritten, records, devices, duplicates, lookalikes)


def _keep_stored_values(
    workspace: Workspace, snapshot: Snapshot, differing: Relation, arrivals: Relation, earlier: Relation
) -> None:
    """Give records in `arrivals` the stored values of attributes that could not be read: nothing says they changed."""
    export = workspace.export
    for name in snapshot.unreadable:
        field = export.field(name)
        is_unknown = f"{arrivals}.{field.column} IS NULL"
        if field.kind is Kind.TEXT_SET:
            is_unknown = f"coalesce(len({arrivals}.{field.column}), 0) = 0"
        workspace.database.rows(
            f"""
            WITH unread AS (
                SELECT DISTINCT {columns_of(export.keys)}
                FROM {differing}
                WHERE list_contains(unreadable, {literal(name)})
            ),
            kept AS (
                SELECT a.previous_row, b.{field.column} AS kept_value
                FROM {arrivals} a
                JOIN unread USING ({columns_of(export.keys)})
                JOIN {earlier} b ON b.previous_row = a.previous_row
            )
            UPDATE {arrivals}
            SET {field.column} = kept_value
            FROM kept
            WHERE {arrivals}.previous_row = kept.previous_row AND {is_unknown}
            """
        )


def _fetch_earlier(workspace: Workspace, arrivals: Relation, absent: Relation) -> Relation:
    """What is stored under the keys of `arrivals`, and perhaps some of what is absent."""
    # With what is stored under the keys of arrivals, some of what is absent is fetched: one pass serves for both, as a
    # rule, and a whole device group that is absent is not held in memory all the same.
    return workspace.make(
        "earlier",
        f"""
        WITH wanted AS (
            SELECT previous_row FROM {arrivals}
            UNION ALL (SELECT previous_row FROM {absent} LIMIT (SELECT count(*) FROM {arrivals}))
        )
        SELECT *
        FROM {workspace.stored_among("wanted")}
        """,
        grows=True,
    )


def _set_aside_unchanged(
    workspace: Workspace, arrivals: Relation, earlier: Relation, tracked: Sequence[Field], known: Sequence[Field]
) -> tuple[Relation, Relation]:
    """Take what is stored already out of `arrivals`. Returns `quiet` and `rewritten`."""
    judged = [field for field in tracked if field in known]
    compared = compare_values(workspace, "compared", earlier=earlier, arrivals=arrivals, tracked=tracked, judged=judged)
    rewritten = workspace.make(
        "rewritten", f"SELECT previous_row, digest FROM {compared} WHERE NOT differs", grows=True
    )
    quiet = workspace.make("quiet", f"SELECT previous_row FROM {compared} WHERE differs AND NOT changed")
    workspace.database.rows(f"DELETE FROM {arrivals} WHERE previous_row IN (SELECT previous_row FROM {rewritten})")
    return quiet, rewritten


def _count_devices(workspace: Workspace, arrivals: Relation, absent: Relation) -> int:
    """Distinct devices of the snapshot: those with a stored record that is not absent, and those that arrived."""
    return workspace.database.number(
        f"""
        WITH present AS (
            SELECT device_no
            FROM inventory
            ANTI JOIN {absent} USING (device_no, software_no)
            WHERE inventory = {literal(workspace.inventory)}
            UNION ALL
            SELECT device_no
            FROM {arrivals}
        )
        SELECT count(DISTINCT device_no)
        FROM present
        """
    )
