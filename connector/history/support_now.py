"""What is out of support now, and what will be within days: counted from the stored records alone.

A fold of the journal says since when, and takes as long as the journal is large; this takes one look at the inventory.
Few pairs of status and date occur, so each pair is judged once, and the records are joined with those that count.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

from connector.exports.fields import columns_of
from connector.history.filters import Selection
from connector.staging import support
from connector.state.lists.paging import NUMBER, TEXT, Listed, Order, Place
from connector.state.lists.patterns import all_of
from connector.state.sql import literal
from connector.state.state import StateFile

_SHOWN: Final = ("deviceName", "osPlatform", "rbacGroupId", "rbacGroupName", "endOfSupportStatus", "endOfSupportDate")
PAIR: Final = """inventory.end_of_support_status IS NOT DISTINCT FROM judged.end_of_support_status
                  AND inventory.end_of_support_date IS NOT DISTINCT FROM judged.end_of_support_date"""
"""A condition that joins `inventory` and `judged`."""

EARLIEST: Final = Order((("ends", TEXT), ("inventory", TEXT), ("device_no", NUMBER), ("software_no", NUMBER)))
"""Those first whose support ended first."""


class SupportNow:
    """Records of an open state file that are out of support on a day, of a selection.

    Of the selection, the filters by device, group, product and inventory count.
    """

    def __init__(self, state: StateFile, selection: Selection, day: date) -> None:
        self._database = state.database
        self._export = state.export
        self._day = day
        condition, self._parameters = selection.record_condition()
        of_inventory = f"inventory = {literal(selection.inventory)}" if selection.inventory else ""
        self._condition = all_of([condition, of_inventory])

    def totals(self, rows_max: int, after: Place | None = None) -> tuple[dict[str, Any], Listed]:
        """`open` now, on `openDevices`; `byProduct`, `byGroup`; and a page of the records, in `EARLIEST` order."""
        # Each look at the inventory takes less than keeping what is out of support of ten million records would.
        found = self._open()
        ((records, devices),) = self._database.rows(
            f"{found} SELECT count(*), count(DISTINCT device_no) FROM open_now", self._parameters
        )
        self._database.rows(
            f"""
            CREATE OR REPLACE TEMP TABLE open_counts AS
            {found}
            SELECT software_no, rbac_group_name, count(*) AS records
            FROM open_now
            GROUP BY ALL
            """,
            self._parameters,
        )
        product = list(self._export.product)
        totals = {
            "open": records,
            "openDevices": devices,
            "byProduct": self._by([field.name for field in product], columns_of(product)),
            "byGroup": self._by(["rbacGroupName"], "rbac_group_name"),
        }
        return totals, self._records(found, rows_max, after)

    def _records(self, found: str, rows_max: int, after: Place | None) -> Listed:
        """A page of what is out of support, which is found by these CTEs."""
        names = ("inventory", *(field.name for field in self._export.keys), *_SHOWN)
        columns = ", ".join(self._export.column(name) for name in names[1:])
        # Places in the table are found without a look at every row.
        beyond, end = EARLIEST.beyond(after)
        first = self._database.rows(
            f"""
            {found}
            SELECT {EARLIEST.columns}, place
            FROM open_now
            WHERE {beyond}
            ORDER BY {EARLIEST.columns}
            LIMIT {rows_max + 1}
            """,
            self._parameters | end,
        )
        listed = EARLIEST.listed(("place",), first, rows_max)
        places = ", ".join(str(row["place"]) for row in listed.rows) or "NULL"
        rows = self._database.rows(
            f"""
            SELECT inventory, {columns}
            FROM (SELECT *, rowid AS place FROM inventory WHERE rowid IN ({places}))
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
            ORDER BY list_position([{places}], place)
            """
        )
        return Listed([dict(zip(names, row, strict=True)) for row in rows], listed.end)

    def ending(self, days: int, rows_max: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The days after this one on which support ends, and the versions whose it is, the earliest first.

        A day has `day`, `records`, `devices` and `products`; a version its `day`, `records` and `devices`.
        """
        last = self._day + timedelta(days=days)
        statement = f"""
            WITH {judged(self._day)},
            ending AS (
                SELECT ends AS day, device_no, software_vendor, software_name, software_version
                FROM inventory
                JOIN judged ON {PAIR}
                JOIN devices USING (device_no)
                JOIN software USING (software_no)
                WHERE says IS DISTINCT FROM 'status'
                  AND ends > {literal(str(self._day))}
                  AND ends <= {literal(str(last))}
                  AND {self._condition}
            )
        """
        by_day = self._database.rows(
            f"""
            {statement}
            SELECT day, count(*), count(DISTINCT device_no), count(DISTINCT row(software_vendor, software_name))
            FROM ending
            GROUP BY day
            ORDER BY day
            """,
            self._parameters,
        )
        by_version = self._database.rows(
            f"""
            {statement}
            SELECT day, software_vendor, software_name, software_version, count(*) AS records, count(DISTINCT device_no)
            FROM ending
            GROUP BY ALL
            ORDER BY day, records DESC, software_vendor, software_name, software_version
            LIMIT {rows_max}
            """,
            self._parameters,
        )
        subject = [field.name for field in self._export.subject]
        return (
            [dict(zip(("day", "records", "devices", "products"), row, strict=True)) for row in by_day],
            [dict(zip(("day", *subject, "records", "devices"), row, strict=True)) for row in by_version],
        )

    def _by(self, names: list[str], columns: str) -> list[dict[str, Any]]:
        rows = self._database.rows(
            f"""
            SELECT {columns}, sum(records)::BIGINT AS open
            FROM open_counts
            JOIN software USING (software_no)
            GROUP BY {columns}
            ORDER BY open DESC, {columns}
            """
        )
        return [dict(zip((*names, "open"), row, strict=True)) for row in rows]

    def _open(self) -> str:
        """CTEs that end with `open_now`: the records that are out of support, and those that said so last."""
        shown = "inventory, device_no, software_no, device_name, rbac_group_id, rbac_group_name, ends"
        remembered = ""
        if self._database.number(f"SELECT count(*) FROM last_said WHERE said IN {support.ENDED}"):
            remembered = f"""
                UNION ALL
                SELECT inventory.rowid, {shown}
                FROM inventory
                JOIN last_said USING (inventory, device_no, software_no)
                JOIN judged ON {PAIR}
                WHERE says IS NULL AND said IN {support.ENDED} AND {support.stays("said", "ends")}
            """
        return f"""
            WITH {judged(self._day)},
            ended AS (
                SELECT inventory.rowid AS place, {shown}
                FROM inventory
                JOIN judged ON {PAIR}
                WHERE says IN {support.ENDED}
                {remembered}
            ),
            open_now AS (
                SELECT place, inventory, device_no, software_no, rbac_group_name, ends
                FROM ended
                {"JOIN devices USING (device_no) JOIN software USING (software_no)" if self._parameters else ""}
                WHERE {self._condition}
            )
        """


def judged(day: date) -> str:
    """CTEs that end with `judged`: each pair of status and date of the inventory, with what it says on a day.

    Beside the pair stand `ends`, the date where it is one, and `says`, as `staging.support` has it.
    """
    return f"""
        pairs AS (
            SELECT DISTINCT end_of_support_status, end_of_support_date
            FROM inventory
        ),
        readable AS (
            SELECT *,
                   {support.folded("end_of_support_status")} AS status,
                   {support.readable("end_of_support_date")} AS ends
            FROM pairs
        ),
        judged AS (
            SELECT end_of_support_status,
                   end_of_support_date,
                   ends,
                   {support.says("status", "ends", day)} AS says
            FROM readable
        )"""
