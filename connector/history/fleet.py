"""The fleet as a whole: how many devices had which version of a product when, and what is new in the organisation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from connector.clock import milliseconds_of, moment_of
from connector.exports.fields import columns_of
from connector.history.filters import Selection
from connector.history.past import Coverage, Past, is_between, states_of, unpacked
from connector.model import Inventory
from connector.state.sql import stored_records
from connector.state.state import StateFile

SAMPLE: Final = 5
"""Devices named beside a count."""


def prevalence(state: StateFile, selection: Selection) -> list[dict[str, Any]]:
    """Devices that had each version of some products, on each day that is known: rows of a mapping, oldest first.

    The day's last generation counts. A version that no device had is left out; so is a day without a snapshot. Of the
    selection, the filters by device, group, product and inventory count, as they were on the day.
    """
    export = state.export
    names = ("day", *(field.name for field in export.subject), "devices")
    counts: dict[tuple[Any, ...], int] = {}
    for coverage in Past(state).of(selection):
        for day, *subject, devices in _count(state, coverage, selection):
            counts[day, *subject] = counts.get((day, *subject), 0) + devices
    return [dict(zip(names, (*row, devices), strict=True)) for row, devices in sorted(counts.items()) if devices > 0]


def newcomers(state: StateFile, since: datetime, selection: Selection | None = None) -> list[dict[str, Any]]:
    """Versions that the organisation first had after a time and still has, rarest first, with some of their devices.

    What the first snapshot had is not new, whenever it was seen first. `isNewProduct`: no version of it is older. Of
    the selection, the filters by device, group, product and inventory count: who has it now.
    """
    export, selection = state.export, selection or Selection()
    condition, parameters = selection.record_condition()
    inventories = [selection.inventory] if selection.inventory else list(Inventory)
    subject, product = export.subject_columns, columns_of(export.product)
    names = (*(field.name for field in export.subject), "firstSeenAt", "isNewProduct", "devices", "sample")
    rows = state.database.rows(
        f"""
        WITH products AS (
            SELECT {product}, bool_and(snapshot_no IS NOT NULL AND first_seen_at >= $since) AS is_new_product
            FROM first_seen
            GROUP BY ALL
        ),
        recent AS (
            SELECT {subject}, first_seen_at, is_new_product
            FROM first_seen
            JOIN products USING ({product})
            WHERE snapshot_no IS NOT NULL AND first_seen_at >= $since
        ),
        had AS (
            SELECT {subject}, device_id, any_value(device_name) AS device_name
            FROM inventory
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
            SEMI JOIN recent USING ({subject})
            WHERE inventory IN (SELECT unnest($inventories)) AND {condition}
            GROUP BY ALL
        )
        SELECT {subject},
               first_seen_at,
               is_new_product,
               count(*) AS devices,
               list_sort(min(coalesce(device_name, device_id), {SAMPLE}))
        FROM recent
        JOIN had USING ({subject})
        GROUP BY ALL
        ORDER BY devices, {subject}
        """,
        parameters | {"since": milliseconds_of(since), "inventories": [which.value for which in inventories]},
    )
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [version | {"firstSeenAt": moment_of(version["firstSeenAt"])} for version in found]


def _count(state: StateFile, coverage: Coverage, selection: Selection) -> list[tuple[Any, ...]]:
    """Rows of a day, a subject and a count, of one inventory: the stored counts, with later changes taken back."""
    export = state.export
    days = {str(snapshot.observed_at.date()): snapshot.snapshot_no for snapshot in coverage.snapshots}
    condition, parameters = selection.record_condition()
    return state.database.rows(
        f"""
        WITH later AS (
            FROM changes
            WHERE {is_between(coverage.oldest)}
        ),
        states AS ({states_of(export, "later")}),
        steps AS (
            SELECT snapshot_no, 1 AS step, {unpacked(export, "after")}
            FROM states
            WHERE after IS NOT NULL
            UNION ALL BY NAME
            SELECT snapshot_no, -1 AS step, {unpacked(export, "before")}
            FROM states
            WHERE before IS NOT NULL
        ),
        points AS (
            SELECT unnest($days::VARCHAR[]) AS day, unnest($points::BIGINT[]) AS point
        ),
        taken_back AS (
            SELECT day, {export.subject_columns}, -sum(step) AS devices
            FROM points
            JOIN steps ON snapshot_no > point
            WHERE {condition}
            GROUP BY ALL
        ),
        stored AS (
            SELECT {export.subject_columns}, count(*) AS devices
            FROM {stored_records(export, coverage.inventory)}
            WHERE {condition}
            GROUP BY ALL
        )
        SELECT day, {export.subject_columns}, sum(devices)::BIGINT
        FROM (
            FROM stored CROSS JOIN (SELECT day FROM points)
            UNION ALL BY NAME
            FROM taken_back
        )
        GROUP BY ALL
        """,
        parameters | {"days": list(days), "points": list(days.values())},
    )
