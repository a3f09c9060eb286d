"""Two moments side by side: what was added, removed and changed between them, netted.

What came and went between the two is no difference, and neither is a value that changed and changed back. As in a
snapshot, a version that left a device while exactly one other of the product came is one change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from connector.diff.changes import changed_fields
from connector.diff.versions import version_reason
from connector.errors import ConfigError
from connector.exports.fields import Export, Field, columns_of
from connector.history.filters import Selection
from connector.history.past import BLOCK_ROWS, Past, is_between, member, order_of_keys, states_of
from connector.model import ChangeType, Inventory, Reason, StagedSnapshot
from connector.staging import support
from connector.state.lists.paging import Place
from connector.state.sql import literal
from connector.state.state import StateFile


class Pairs(NamedTuple):
    """The snapshots that two times stand for.

    Attributes:
        known: the earlier and the later one of each inventory.
        left_out: inventories whose past begins after the earlier time.
    """

    known: list[tuple[StagedSnapshot, StagedSnapshot]]
    left_out: list[Inventory]


def pair_up(past: Past, earlier: datetime, later: datetime, selection: Selection) -> Pairs:
    """The snapshots of two times, of the inventories that a selection asks for.

    Raises:
        StateError: nothing is known of any of them at one of the times.
    """
    first = {snapshot.inventory: snapshot for snapshot in past.at(earlier, selection)}
    last = past.at(later, selection)
    return Pairs(
        [(first[snapshot.inventory], snapshot) for snapshot in last if snapshot.inventory in first],
        [snapshot.inventory for snapshot in last if snapshot.inventory not in first],
    )


def compare(
    state: StateFile, earlier: StagedSnapshot, later: StagedSnapshot, selection: Selection, after: Place | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Blocks of the differences between two snapshots of an inventory, in the order of their keys.

    Each is a mapping with the names of `SoftwareChange`: `changeType`, `reason`, `changedFields`, `isEndOfSupport`
    (what the record says by its status alone), the fields, and `before`. The reason of what was added or removed is
    that of the last change that did it. Of the selection, the filters by device, group and product count. With `after`,
    those beyond a place in `order_of_keys`.

    Raises:
        ConfigError: the earlier snapshot is the later one.
    """
    if earlier.snapshot_no > later.snapshot_no:
        raise ConfigError(
            f"{earlier.snapshot_id} is not before {later.snapshot_id}", hint="Name the earlier time with --from."
        )
    export = state.export
    names = (
        "inventory",
        "changeType",
        "reason",
        "changedFields",
        "isEndOfSupport",
        *(field.name for field in export.fields),
        "before",
    )
    condition, parameters = selection.record_condition()
    beyond, place = order_of_keys(export).beyond(after)
    statement = f"""
        WITH {_differences(export, earlier, later)}
        SELECT {literal(later.inventory)},
               change_type,
               reason,
               changed_fields,
               is_end_of_support,
               {export.columns},
               before
        FROM differences
        WHERE {condition} AND {beyond}
        ORDER BY {export.key_columns}
    """
    for rows in state.database.blocks(statement, parameters | place, BLOCK_ROWS):
        differences = [dict(zip(names, row, strict=True)) for row in rows]
        for difference in differences:
            difference["reason"] = difference["reason"] or _version_reason(difference, export)
        yield differences


def _version_reason(difference: Mapping[str, Any], export: Export) -> str:
    """The reason of a change whose reason only Python can tell: which of two versions is the later."""
    version = str(export.version)
    return version_reason(difference["before"][version], difference[version]).value


def _differences(export: Export, earlier: StagedSnapshot, later: StagedSnapshot) -> str:
    """CTEs that end with `differences`: a row for each key that differs, or for each version that followed another."""
    keys = columns_of(export.keys)
    values = {field.name: (member("before", field), member("after", field)) for field in export.fields}
    record = ", ".join(f"{member('coalesce(after, before)', field)} AS {field.column}" for field in export.fields)
    return f"""
        between_them AS (
            FROM changes
            WHERE {is_between(earlier, later)}
        ),
        states AS ({states_of(export, "between_them")}),
        ends AS (
            SELECT {keys}, min(sequence) AS first, max(sequence) AS last
            FROM states
            GROUP BY ALL
        ),
        net AS (
            SELECT {columns_of(export.keys, of="ends")}, b.before, a.after, a.reason
            FROM ends
            JOIN states b ON {_same(export.keys, "ends", "b")} AND b.sequence = first
            JOIN states a ON {_same(export.keys, "ends", "a")} AND a.sequence = last
            WHERE b.before IS DISTINCT FROM a.after
        ),
        {_pairs(export)},
        described AS (
            SELECT CASE WHEN before IS NULL THEN {literal(ChangeType.ADDED)}
                        WHEN after IS NULL THEN {literal(ChangeType.REMOVED)}
                        ELSE {literal(ChangeType.CHANGED)} END AS change_type,
                   reason,
                   {record},
                   CASE WHEN before IS NULL OR after IS NULL THEN [] ELSE {changed_fields(values)} END
                       AS changed_fields,
                   CASE WHEN after IS NOT NULL THEN before END AS before
            FROM paired
        ),
        differences AS (
            SELECT *, {support.has_ended("end_of_support_status")} AS is_end_of_support
            FROM described
        )
    """


def _pairs(export: Export) -> str:
    """CTEs that end with `paired`: `net`, with one row for a version that left a device while one other came."""
    product = (export.keys[0], *export.product)
    return f"""
        moves AS (
            SELECT {columns_of(product)},
                   any_value(before) FILTER (after IS NULL) AS before,
                   any_value(after) FILTER (before IS NULL) AS after
            FROM net
            WHERE {"true" if export.version else "false"}
            GROUP BY ALL
            HAVING count(*) FILTER (after IS NULL) = 1 AND count(*) FILTER (before IS NULL) = 1
        ),
        paired AS (
            SELECT before, after, NULL AS reason
            FROM moves
            UNION ALL
            SELECT before,
                   after,
                   CASE WHEN before IS NULL OR after IS NULL THEN reason
                        ELSE {literal(Reason.ATTRIBUTES_CHANGED)} END
            FROM net
            ANTI JOIN moves ON {_same(product, "net", "moves")} AND (net.before IS NULL OR net.after IS NULL)
        )"""


def _same(fields: Iterable[Field], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{field.column} = {other}.{field.column}" for field in fields)
