"""How long software that is out of support stood on a device: intervals, folded from the journal.

An interval belongs to one version of a product on one device. It begins when an export first showed the version there
out of support, or on the day on which its support ended while it was there; it ends when an export first showed
otherwise. What was so when the journal begins was so before: its beginning is unknown, and is never made up.

Where a record says nothing of its support, what it said last holds, as for alerts (`staging.support`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from connector.clock import milliseconds_of
from connector.exports.fields import Export, columns_of
from connector.exports.software import END_OF_SUPPORT_STATUSES
from connector.history.filters import Selection
from connector.history.past import BLOCK_ROWS, Coverage, Past, member, records_at
from connector.model import Reason
from connector.staging import support
from connector.state.lists.paging import FLAG, NUMBER, TEXT, Listed, Order, Place
from connector.state.lists.patterns import all_of
from connector.state.sql import literal
from connector.state.state import StateFile

CLEARED: Final = "CLEARED"
"""How an interval ended whose version stayed: its status or date says that it is supported."""

NO_TOTALS: Final = {"open": 0, "openDevices": 0, "longestSeconds": 0, "byProduct": [], "byGroup": [], "byWeek": []}
"""Totals of nothing."""

FIXED: Final = (Reason.UPGRADED, Reason.DOWNGRADED, Reason.VERSION_CHANGED, Reason.UNINSTALLED, Reason.APPROVED)
"""How intervals end that somebody ended; a device that is gone, or a catalogue that changed, fixed nothing."""

_FIXED: Final = f"({', '.join(map(literal, FIXED))})"
_SHOWN: Final = ("deviceName", "osPlatform", "rbacGroupId", "rbacGroupName", "endOfSupportStatus", "endOfSupportDate")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which intervals.

    Attributes:
        selection: of devices, groups, products and inventories; its other filters are not used.
        is_open: only those that have not ended.
        older_than: only those that have lasted this long, or began before the journal.
    """

    selection: Selection = field(default_factory=Selection)
    is_open: bool = False
    older_than: timedelta | None = None

    def condition(self) -> tuple[str, dict[str, object]]:
        """An expression over `intervals`, and its named parameters."""
        condition, parameters = self.selection.record_condition()
        parts = [
            condition,
            "until IS NULL" if self.is_open else "",
            "" if self.older_than is None else f"(since IS NULL OR seconds >= {self.older_than.total_seconds()})",
        ]
        return all_of(parts), parameters


class Exposure:
    """Intervals of an open state file, as of a time."""

    def __init__(self, state: StateFile, now: datetime) -> None:
        self._database = state.database
        self._export = state.export
        self._now = now
        self._past = Past(state)
        keys = [field.name for field in self._export.keys]
        self._names = ("inventory", *keys, *_SHOWN, "since", "until", "ended", "seconds")
        columns = ", ".join(self._export.column(name) for name in (*keys, *_SHOWN))
        self._columns = f"inventory, {columns}, since, until, ended, seconds"
        self.order = Order(
            (
                ("since IS NOT NULL", FLAG),
                ("-seconds", NUMBER),
                ("inventory", TEXT),
                *((self._export.column(name), TEXT) for name in keys),
                ("since", NUMBER),
            )
        )

    @property
    def begins(self) -> dict[str, datetime]:
        """From when on each inventory's past is known."""
        return {coverage.inventory.value: coverage.oldest.observed_at for coverage in self._past.coverages}

    def intervals(self, wanted: Wanted) -> Iterator[list[dict[str, Any]]]:
        """Blocks of intervals, the longest first, as mappings.

        `since` and `until` are milliseconds since 1970: None where it began before the journal, or has not ended.
        `ended` is None, CLEARED, or the reason of the change that ended it. `seconds` is how long it has lasted at
        least.
        """
        statement, parameters = self._statement(wanted)
        if statement:
            statement = f"SELECT {self._columns} FROM ({statement}) ORDER BY {self.order.columns}"
            for rows in self._database.blocks(statement, parameters, BLOCK_ROWS):
                yield [dict(zip(self._names, row, strict=True)) for row in rows]

    def summary(self, wanted: Wanted) -> dict[str, Any]:
        """Totals of the intervals: `open` now, on `openDevices`, `longestSeconds`; `byProduct`, `byGroup`, `byWeek`.

        `fixed` are those that ended in one of `FIXED`; the median of the time to fix counts those of them whose
        beginning is known. A week begins on Monday, in UTC.
        """
        return self._totals() if self._fold(wanted) else dict(NO_TOTALS)

    def examine(self, wanted: Wanted, rows_max: int, after: Place | None = None) -> tuple[dict[str, Any], Listed]:
        """The totals of all intervals of a selection, and a page of those that are wanted; folded once for both."""
        if not self._fold(Wanted(wanted.selection)):
            return dict(NO_TOTALS), Listed([], None)
        condition, parameters = wanted.condition()
        beyond, place = self.order.beyond(after)
        rows = self._database.rows(
            f"""
            SELECT {self.order.columns}, {self._columns}
            FROM shown
            WHERE {condition} AND {beyond}
            ORDER BY {self.order.columns}
            LIMIT {rows_max + 1}
            """,
            parameters | place,
        )
        return self._totals(), self.order.listed(self._names, rows, rows_max)

    def _fold(self, wanted: Wanted) -> bool:
        """Fold the intervals into the table `shown`. Returns whether anything is known of them."""
        statement, parameters = self._statement(wanted)
        if statement:
            self._database.rows(f"CREATE OR REPLACE TEMP TABLE shown AS {statement}", parameters)
        return bool(statement)

    def _totals(self) -> dict[str, Any]:
        ((still_open, devices, longest),) = self._database.rows(
            """
            SELECT count(*), count(DISTINCT device_id), coalesce(max(seconds), 0)
            FROM shown
            WHERE until IS NULL
            """
        )
        product = self._export.product
        return {
            "open": still_open,
            "openDevices": devices,
            "longestSeconds": longest,
            "byProduct": self._totals_by([field.name for field in product], columns_of(product)),
            "byGroup": self._totals_by(["rbacGroupName"], "rbac_group_name"),
            "byWeek": self._weeks(),
        }

    def _totals_by(self, names: list[str], columns: str) -> list[dict[str, Any]]:
        rows = self._database.rows(
            f"""
            SELECT {columns},
                   count(*) FILTER (until IS NULL) AS open,
                   count(*) FILTER (ended IN {_FIXED}) AS fixed,
                   median(seconds) FILTER (ended IN {_FIXED} AND since IS NOT NULL)
            FROM shown
            GROUP BY {columns}
            ORDER BY open DESC, fixed DESC, {columns}
            """
        )
        return [dict(zip((*names, "open", "fixed", "medianSecondsToFix"), row, strict=True)) for row in rows]

    def _weeks(self) -> list[dict[str, Any]]:
        rows = self._database.rows(
            f"""
            WITH ends AS (
                SELECT since AS moment, 1 AS began, 0 AS fixed FROM shown WHERE since IS NOT NULL
                UNION ALL
                SELECT until, 0, 1 FROM shown WHERE ended IN {_FIXED}
            )
            SELECT date_trunc('week', epoch_ms(moment))::DATE::VARCHAR AS week, sum(began)::BIGINT, sum(fixed)::BIGINT
            FROM ends
            GROUP BY week
            ORDER BY week
            """
        )
        return [dict(zip(("week", "began", "fixed"), row, strict=True)) for row in rows]

    def _statement(self, wanted: Wanted) -> tuple[str, dict[str, object]]:
        """A SELECT of the intervals that are wanted, and its parameters; "" where nothing is known of them."""
        condition, parameters = wanted.condition()
        each = "\n            UNION ALL\n            ".join(
            f"(WITH {_intervals(self._export, coverage, self._now)} SELECT * FROM intervals)"
            for coverage in self._past.of(wanted.selection)
        )
        return f"SELECT * FROM ({each}) WHERE {condition}" if each else "", parameters


def _intervals(export: Export, coverage: Coverage, now: datetime) -> str:
    """CTEs that end with `intervals`, of one inventory."""
    keys = columns_of(export.keys)
    over = f"(PARTITION BY {keys} ORDER BY sequence)"
    shown = ", ".join(export.column(name) for name in _SHOWN)
    newest = ", ".join(f"arg_max_null({column}, sequence) AS {column}" for column in map(export.column, _SHOWN))
    return f"""
        {records_at(export, coverage.oldest)},
        points AS ({_points(export, coverage, now)}),
        {_exposed(keys, now)},
        numbered AS (
            SELECT *, count(*) FILTER (NOT continues) OVER {over} AS island
            FROM (
                SELECT *,
                       coalesce(lag(exposed_at) OVER {over} IS NOT NULL AND exposed_at = moment, false) AS continues
                FROM exposed
            )
            WHERE exposed_at IS NOT NULL
        ),
        folded AS (
            SELECT {keys},
                   {newest},
                   nullif(min(CASE WHEN is_first AND exposed_at = moment THEN 0 ELSE exposed_at END), 0) AS since,
                   arg_max_null(next_at, sequence) AS until,
                   arg_max_null(CASE WHEN next_leaves THEN next_reason ELSE {literal(CLEARED)} END, sequence) AS how
            FROM numbered
            GROUP BY {keys}, island
        ),
        intervals AS (
            SELECT {literal(coverage.inventory)} AS inventory,
                   {keys},
                   {shown},
                   since,
                   until,
                   CASE WHEN until IS NOT NULL THEN how END AS ended,
                   (
                       coalesce(until, {milliseconds_of(now)})
                       - coalesce(since, {milliseconds_of(coverage.oldest.observed_at)})
                   ) // 1000 AS seconds
            FROM folded
        )
    """


def _exposed(keys: str, now: datetime) -> str:
    """CTEs that end with `exposed`: the points, with the time from which on a record was out of support until the next.

    `exposed_at` is NULL where it was not. `next_at` and the other `next_` are of the next point of the same key.
    """
    over = f"(PARTITION BY {keys} ORDER BY sequence)"
    return f"""dated AS (
            SELECT *,
                   {support.folded("end_of_support_status")} AS status,
                   {support.readable("end_of_support_date")} AS ends,
                   lead(moment) OVER {over} AS next_at,
                   lead(reason) OVER {over} AS next_reason,
                   lead(leaves) OVER {over} AS next_leaves
            FROM points
        ),
        speaking AS (
            SELECT *, {_says(now)} AS says
            FROM dated
        ),
        remembering AS (
            SELECT *,
                   coalesce(
                       last_value(says IGNORE NULLS) OVER (
                           PARTITION BY {keys} ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                       ),
                       CASE WHEN is_first AND next_at IS NULL THEN remembered END
                   ) AS said
            FROM speaking
        ),
        exposed AS (
            SELECT *,
                   CASE WHEN leaves THEN NULL
                        WHEN status IN ({_ended_statuses()}) THEN moment
                        WHEN {_is_silent()} AND said IN {support.ENDED} AND {support.stays("said", "ends")} THEN moment
                        WHEN says = 'date' THEN greatest(moment, epoch_ms(ends::TIMESTAMP)) END AS exposed_at
            FROM remembering
        )"""


def _points(export: Export, coverage: Coverage, now: datetime) -> str:
    """A SELECT: what is known of each key, from when on: the record there, or that it leaves, and why."""
    keys, shown = columns_of(export.keys), ", ".join(export.column(name) for name in _SHOWN)
    record = ", ".join(
        f"{member('coalesce(after, before)', export.field(name))} AS {export.column(name)}" for name in _SHOWN
    )
    silent = f"""
                SELECT {keys}, said
                FROM last_said
                JOIN devices USING (device_no)
                JOIN software USING (software_no)
                WHERE inventory = {literal(coverage.inventory)}
    """
    return f"""
            SELECT {keys},
                   0 AS sequence,
                   {milliseconds_of(coverage.oldest.observed_at)}::BIGINT AS moment,
                   true AS is_first,
                   false AS leaves,
                   NULL AS reason,
                   said AS remembered,
                   {shown}
            FROM folded_back
            LEFT JOIN ({silent}) USING ({keys})
            WHERE {support.folded("end_of_support_status")} IN ({_ended_statuses()})
               OR end_of_support_date <= {literal(str(now.date()))}
               OR said IS NOT NULL
               OR ({keys}) IN (SELECT ({keys}) FROM first_states)
            UNION ALL BY NAME
            SELECT {keys},
                   sequence,
                   generated_at AS moment,
                   false AS is_first,
                   after IS NULL AS leaves,
                   reason,
                   {record}
            FROM states
            JOIN (SELECT snapshot_no, generated_at FROM snapshots) USING (snapshot_no)
    """


def _says(now: datetime) -> str:
    """An expression over `dated`: what a record says until something else is known; `gone` where it leaves."""
    last_day = f"epoch_ms(coalesce(next_at, {milliseconds_of(now)}))::DATE::VARCHAR"
    return f"""CASE WHEN leaves THEN 'gone'
                        WHEN status IN ({_ended_statuses()}) THEN 'status'
                        WHEN ends <= {last_day} THEN 'date'
                        WHEN NOT ({_is_silent()}) THEN 'supported' END"""


def _ended_statuses() -> str:
    return ", ".join(literal(status.lower()) for status in END_OF_SUPPORT_STATUSES)


def _is_silent() -> str:
    """A condition: a status that is null or unknown says nothing of the support."""
    known = ", ".join(literal(status.lower()) for status in support.KNOWN_STATUSES)
    return f"coalesce(status NOT IN ({known}), true)"
