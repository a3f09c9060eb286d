"""Two moments side by side: what was added, removed and changed between them, netted.

What came and went between the two is no difference, and neither is a value that changed and changed back. As in a
snapshot, a version that left a device while exactly one other of the product came is one change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from connector.diff.versions import version_reason
from connector.errors import ConfigError
from connector.exports.fields import Export, columns_of
from connector.history.filters import Selection
from connector.history.past import before_key, has_other_version, record_of
from connector.model import ChangeType, Reason, StagedSnapshot
from connector.staging import support
from connector.state.sql import literal
from connector.state.state import StateFile

BLOCK_ROWS: Final = 10_000


def compare(
    state: StateFile, earlier: StagedSnapshot, later: StagedSnapshot, selection: Selection
) -> Iterator[list[dict[str, Any]]]:
    """Blocks of the differences between two snapshots of an inventory, in the order of their keys.

    Each is a mapping with the names of `SoftwareChange`: `changeType`, `reason`, `changedFields`, `isEndOfSupport`
    (what the record says by its status alone), the fields, and `before`. The reason of what was added or removed is
    that of the last change that did it.

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
    condition, parameters = selection.condition()
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
        WHERE {condition}
        ORDER BY {export.key_columns}
    """
    for rows in state.database.blocks(statement, parameters, BLOCK_ROWS):
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
    device_and_product = columns_of((export.keys[0], *export.product))
    fields = ", ".join(
        f'coalesce(after."{field.name}", CASE WHEN after IS NULL THEN before."{field.name}" END) AS {field.column}'
        for field in export.fields
    )
    return f"""
        between_them AS (
            SELECT c.*
            FROM changes c
            WHERE c.epoch = {later.epoch}
              AND c.sequence > {earlier.sequence_after}
              AND c.sequence <= {later.sequence_after}
              AND c.snapshot_no IN (SELECT snapshot_no FROM snapshots WHERE inventory = {literal(later.inventory)})
        ),
        states AS ({_states(export)}),
        ends AS (
            SELECT {keys}, min(sequence) AS first, max(sequence) AS last
            FROM states
            GROUP BY ALL
        ),
        net AS (
            SELECT {columns_of(export.keys, of="ends")}, b.before, a.after, a.reason
            FROM ends
            JOIN states b ON {_same_key(export, "b")} AND b.sequence = first
            JOIN states a ON {_same_key(export, "a")} AND a.sequence = last
            WHERE b.before IS DISTINCT FROM a.after
        ),
        {_pairs(export, device_and_product)},
        described AS (
            SELECT CASE WHEN before IS NULL THEN {literal(ChangeType.ADDED)}
                        WHEN after IS NULL THEN {literal(ChangeType.REMOVED)}
                        ELSE {literal(ChangeType.CHANGED)} END AS change_type,
                   reason,
                   {fields},
                   CASE WHEN before IS NULL OR after IS NULL THEN [] ELSE {_changed_fields(export)} END
                       AS changed_fields,
                   CASE WHEN after IS NOT NULL THEN before END AS before
            FROM paired
        ),
        differences AS (
            SELECT *, {support.has_ended("end_of_support_status")} AS is_end_of_support
            FROM described
        )
    """


def _states(export: Export) -> str:
    """A SELECT: what each change `between_them` says of a key before and after it; NULL where there was no record."""
    keys, record = columns_of(export.keys), record_of(export)
    removed, other_version = f"change_type = {literal(ChangeType.REMOVED)}", has_other_version(export)
    return f"""
            SELECT sequence,
                   {keys},
                   reason,
                   CASE WHEN {removed} THEN {record} WHEN NOT ({other_version}) THEN before END AS before,
                   CASE WHEN NOT {removed} THEN {record} END AS after
            FROM between_them
            UNION ALL
            SELECT sequence, {before_key(export)}, reason, before, NULL
            FROM between_them
            WHERE {other_version}
    """


def _pairs(export: Export, device_and_product: str) -> str:
    """CTEs that end with `paired`: `net`, with one row for a version that left a device while one other came."""
    if export.version is None:
        return f"""
        paired AS (
            SELECT before, after, CASE WHEN before IS NULL OR after IS NULL THEN reason
                                       ELSE {literal(Reason.ATTRIBUTES_CHANGED)} END AS reason
            FROM net
        )"""
    return f"""
        moves AS (
            SELECT {device_and_product},
                   any_value(before) FILTER (after IS NULL) AS before,
                   any_value(after) FILTER (before IS NULL) AS after
            FROM net
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
            ANTI JOIN moves ON {_same_product(export)} AND (net.before IS NULL OR net.after IS NULL)
        )"""


def _changed_fields(export: Export) -> str:
    names = ", ".join(
        f'CASE WHEN before."{field.name}" IS DISTINCT FROM after."{field.name}" THEN {literal(field.name)} END'
        for field in export.fields
    )
    return f"list_filter([{names}], lambda name: name IS NOT NULL)"


def _same_key(export: Export, other: str) -> str:
    return " AND ".join(f"ends.{field.column} = {other}.{field.column}" for field in export.keys)


def _same_product(export: Export) -> str:
    return " AND ".join(f"net.{field.column} = moves.{field.column}" for field in (export.keys[0], *export.product))
