"""Past alerts and how each stands: whether what it reports is still so, or a later alert took it back.

An incident is a product on a device. INSTALLED and REACHED add a version to it and take the previous one away; CLEARED
takes one away. So an alert is open as long as no later one took its version away (docs/alerts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any, Final

from connector.clock import milliseconds_of
from connector.history.filters import Selection
from connector.model import AlertType
from connector.state.journal import alert_columns
from connector.state.lists import patterns
from connector.state.lists.paging import NUMBER, Listed, Order, Place
from connector.state.sql import literal
from connector.state.state import StateFile

OPEN: Final = "open"
CLEARED: Final = "cleared"
WARNING: Final = "warning"
"""UPCOMING and DATE_THRESHOLD: nothing has happened yet."""
SUMMARY: Final = "summary"
"""Counts alerts that stand beside it."""
STANDINGS: Final = (OPEN, CLEARED, WARNING, SUMMARY)

_OPENING: Final = f"({literal(AlertType.INSTALLED)}, {literal(AlertType.REACHED)})"
_TAKEN: Final = f"""CASE WHEN alert_type <> {literal(AlertType.CLEARED)} THEN previous_version
                        ELSE coalesce(previous_version, software_version) END"""
"""The version that an alert takes away from its incident."""


NEWEST: Final = Order((("-epoch", NUMBER), ("-alert_no", NUMBER)))
"""The newest first."""


@dataclass(frozen=True, slots=True)
class WantedAlerts:
    """Which alerts.

    Attributes:
        selection: of devices, groups and products, and times; its other filters are not used.
        types, severities, rules, standings: one of these each; empty for any. A rule is what decided: status or date.
    """

    selection: Selection = field(default_factory=Selection)
    types: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    standings: tuple[str, ...] = ()

    def condition(self) -> tuple[str, dict[str, object]]:
        """An expression over `standing`, and its named parameters."""
        condition, parameters = self.selection.record_condition()
        since, until = self.selection.since, self.selection.until
        words = {
            "alert_type": self.types,
            "severity": self.severities,
            "decided_by": self.rules,
            "stands": self.standings,
        }
        parts = [
            condition,
            f"generated_at >= {milliseconds_of(since)}" if since else "",
            f"generated_at < {milliseconds_of(until)}" if until else "",
            *(f"{column} IN ({', '.join(map(literal, values))})" for column, values in words.items() if values),
        ]
        return patterns.all_of(parts), parameters


def newest(state: StateFile, wanted: WantedAlerts, rows_max: int, after: Place | None = None) -> Listed:
    """A page of the alerts that are wanted, newest first, as `EndOfSupportAlert` mappings with `standing`."""
    columns = ", ".join(alert_columns(state.export).values())
    condition, parameters = wanted.condition()
    beyond, place = NEWEST.beyond(after)
    rows = state.database.rows(
        f"""
        WITH {_standing()}
        SELECT {NEWEST.columns}, snapshot_no, stands, {columns}
        FROM standing
        WHERE {condition} AND {beyond}
        ORDER BY {NEWEST.columns}
        LIMIT {rows_max + 1}
        """,
        parameters | place,
    )
    known = read_alerts(state, [(number, columns) for _, _, number, _, *columns in rows[:rows_max]])
    alerts = [alert | {"standing": row[3]} for alert, row in zip(known, rows, strict=False) if alert is not None]
    return Listed(alerts, rows[rows_max - 1][:2] if len(rows) > rows_max else None)


def read_alerts(state: StateFile, rows: Iterable[tuple[int, Sequence[Any]]]) -> Iterator[dict[str, Any] | None]:
    """What rows of alerts say, each the number of its snapshot and its columns; None where that was retired."""
    for number, group in groupby(rows, key=itemgetter(0)):
        snapshot, of_snapshot = state.journal.numbered_snapshot(number), [tuple(columns) for _, columns in group]
        yield from (
            repeat(None, len(of_snapshot)) if snapshot is None else state.journal.as_alerts(of_snapshot, snapshot)
        )


def count(state: StateFile, wanted: WantedAlerts) -> dict[str, Any]:
    """How many of the alerts that are wanted stand in which way, and on how many devices something is open."""
    condition, parameters = wanted.condition()
    rows = state.database.rows(
        f"""
        WITH {_standing()},
        chosen AS MATERIALIZED (
            SELECT stands, alert_type, severity, device_id
            FROM standing
            WHERE {condition}
        ),
        exposed AS (
            SELECT count(DISTINCT device_id) AS devices
            FROM chosen
            WHERE stands = {literal(OPEN)}
        )
        SELECT stands, alert_type, severity, count(*), any_value(devices)
        FROM chosen
        CROSS JOIN exposed
        GROUP BY stands, alert_type, severity
        ORDER BY stands, alert_type, severity
        """,
        parameters,
    )
    names = ("standing", "alertType", "severity", "alerts")
    return {
        "standings": {name: sum(row[3] for row in rows if row[0] == name) for name in STANDINGS},
        "openDevices": rows[0][4] if rows else 0,
        "counts": [dict(zip(names, row[:4], strict=True)) for row in rows],
    }


def _standing() -> str:
    """CTEs that end with `standing`: the alerts, with how each `stands`, and when its generation was."""
    return f"""
        taken AS (
            SELECT device_id,
                   software_vendor,
                   software_name,
                   {_TAKEN} AS software_version,
                   max(row(epoch, alert_no)) AS taken_at
            FROM alerts
            WHERE summarizes IS NULL
              AND ({_TAKEN} IS NOT NULL OR alert_type = {literal(AlertType.CLEARED)})
            GROUP BY ALL
        ),
        standing AS (
            SELECT alerts.*,
                   generated_at,
                   CASE WHEN summarizes IS NOT NULL THEN {literal(SUMMARY)}
                        WHEN alert_type = {literal(AlertType.CLEARED)} THEN {literal(CLEARED)}
                        WHEN alert_type NOT IN {_OPENING} THEN {literal(WARNING)}
                        WHEN taken_at > row(epoch, alert_no) THEN {literal(CLEARED)}
                        ELSE {literal(OPEN)} END AS stands
            FROM alerts
            LEFT JOIN taken
                ON alerts.device_id = taken.device_id
               AND alerts.software_vendor IS NOT DISTINCT FROM taken.software_vendor
               AND alerts.software_name IS NOT DISTINCT FROM taken.software_name
               AND alerts.software_version IS NOT DISTINCT FROM taken.software_version
            LEFT JOIN (SELECT snapshot_no, generated_at FROM snapshots) USING (snapshot_no)
        )
    """
