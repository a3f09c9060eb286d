"""Previous and current -> changes: what counts as a difference, once `comparison` has found what differs.

Runs inside the transaction that `state` opened, and leaves its results in temporary tables:

    pairs      one version gone and one version come of the same product on the same device
    staged     the changes to be: one row a change, without the wide columns

Must not decide which removals are believed (that is `guard`), number changes or write a table of the state file.
"""

from __future__ import annotations

from collections.abc import Collection

from connector.diff.compare import expect_nothing
from connector.diff.versions import version_reason
from connector.exports.fields import ATTRIBUTE_FIELDS, FIELDS, Field
from connector.model import ChangeType, Inventory, Reason
from connector.state.sql import Database, literal


def tracked_fields(ignored: Collection[str]) -> tuple[Field, ...]:
    """The attributes whose difference makes a change."""
    return tuple(field for field in ATTRIBUTE_FIELDS if field.name not in ignored)


def pair_versions(database: Database, inventory: Inventory, *, believed: bool) -> None:
    """Fill `pairs`: exactly one removed and one added version of a product on a device are one change of version.

    A version whose removal is held already counts only where no other is absent. Where absences are not `believed`
    there are no pairs: the earlier version may still be there, on a line that could not be read.
    """
    database.rows(
        "CREATE OR REPLACE TEMP TABLE pairs AS"
        " WITH added AS (SELECT device_no, software_vendor, software_name, any_value(software_no) AS software_no,"
        "  any_value(software_version) AS version_after FROM arrivals WHERE previous_row IS NULL"
        "  GROUP BY ALL HAVING count(*) = 1),"
        " gone AS (SELECT device_no, software_no, previous_row, software_vendor, software_name,"
        "  software_version, held.device_no IS NOT NULL AS held FROM absent SEMI JOIN added USING (device_no)"
        "  JOIN software USING (software_no)"
        "  LEFT JOIN (SELECT device_no, software_no FROM held WHERE inventory = $1) held"
        "  USING (device_no, software_no)),"
        " removed AS (SELECT device_no, software_vendor, software_name, any_value(software_no) AS previous_software_no,"
        "  any_value(software_version) AS version_before, any_value(previous_row) AS previous_row FROM"
        "  (SELECT *, bool_and(held) OVER (PARTITION BY device_no, software_vendor, software_name) AS all_held"
        "   FROM gone)"
        "  WHERE held = all_held GROUP BY ALL HAVING count(*) = 1)"
        " SELECT device_no, software_no, previous_software_no, previous_row, version_before, version_after"
        " FROM added JOIN removed USING (device_no, software_vendor, software_name)"
        + ("" if believed else " WHERE false"),
        [inventory.value],
    )


def stage_arrivals(database: Database, inventory: Inventory, *, paired: bool) -> None:
    """Begin `staged` with the changes that need no guard: ADDED, CHANGED, and REMOVED where an update removes.

    A device is new where the inventory has no record of it at all; what is in `moved_in` is neither new nor installed.
    With `paired` false, the two halves of a change of version are two changes.
    """
    steps = database.rows("SELECT DISTINCT version_before, version_after FROM pairs") if paired else []
    # Version strings are few beside records: their order is told once for each pair of strings, in Python.
    reasons = [version_reason(before, after).value for before, after in steps]
    database.rows(
        "CREATE OR REPLACE TEMP TABLE version_steps AS SELECT unnest($1::VARCHAR[]) AS version_before,"
        " unnest($2::VARCHAR[]) AS version_after, unnest($3::VARCHAR[]) AS reason",
        [[before for before, _ in steps], [after for _, after in steps], reasons],
    )
    added = "arrivals ANTI JOIN pairs USING (device_no, software_no)" if paired else "arrivals"
    halves = (
        f"SELECT device_no, software_no, previous_row, {literal(ChangeType.CHANGED)}, reason"
        " FROM pairs JOIN version_steps USING (version_before, version_after)"
        if paired
        else f"SELECT device_no, previous_software_no, previous_row, {literal(ChangeType.REMOVED)},"
        f" {literal(Reason.UNINSTALLED)} FROM pairs"
    )
    database.rows(
        "CREATE OR REPLACE TEMP TABLE staged AS"
        " WITH added AS (SELECT device_no, software_no FROM arrivals WHERE previous_row IS NULL),"
        " known AS (SELECT DISTINCT device_no FROM inventory SEMI JOIN added USING (device_no) WHERE inventory = $1)"
        " SELECT device_no, software_no, NULL::BIGINT AS previous_row,"
        f"  {literal(ChangeType.ADDED)} AS change_type,"
        "  CASE WHEN (device_no, software_no) IN (SELECT (device_no, software_no) FROM moved_in)"
        f"  THEN {literal(Reason.MOVED)}"
        f"  WHEN device_no IN (SELECT device_no FROM known)"
        f"  THEN {literal(Reason.INSTALLED)} ELSE {literal(Reason.NEW_DEVICE)} END AS reason"
        f" FROM {added} WHERE previous_row IS NULL"
        " UNION ALL"
        f" SELECT device_no, software_no, previous_row, {literal(ChangeType.CHANGED)},"
        f"  {literal(Reason.ATTRIBUTES_CHANGED)} FROM arrivals ANTI JOIN quiet USING (previous_row)"
        "  WHERE previous_row IS NOT NULL"
        f" UNION ALL {halves}",
        [inventory.value],
    )


def stage_baseline(database: Database, inventory: Inventory, *, emit: bool) -> None:
    """Make `staged` one BASELINE change a record of a first snapshot; none where the baseline is silent."""
    expect_nothing(database, inventory)
    database.rows(
        "CREATE OR REPLACE TEMP TABLE staged AS SELECT device_no, software_no, NULL::BIGINT AS previous_row,"
        f" {literal(ChangeType.BASELINE)} AS change_type, {literal(Reason.FIRST_SNAPSHOT)} AS reason FROM inventory"
        " WHERE inventory = $1 AND $2",
        [inventory.value, emit],
    )


def changed_fields(before: str, after: str) -> str:
    """An expression: names of the fields that differ between two row aliases, in the order of `fields`."""
    names = ", ".join(
        f"CASE WHEN {before}.{field.column} IS DISTINCT FROM {after}.{field.column} THEN {literal(field.name)} END"
        for field in FIELDS
    )
    return f"list_filter([{names}], lambda name: name IS NOT NULL)"
