"""The calendar: on which days all dates were looked at, what came near or ended since, and what was said of a date.

Dates are looked at once a day: UTC's, of the staging. What is raised is what the days since the last look before
today brought. A clock may be wrong: the last looks are remembered in their order, so that a day that lies ahead hides
nothing from the days before it, and a day that lies behind does not bring back what was passed over at the beginning.
What was raised once for a date is remembered in `crossings`, and never raised for it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from connector.clock import moment_of
from connector.diff.tables import Outcome, Relation, Workspace
from connector.exports.fields import columns_of
from connector.exports.identity import event_id, event_id_expression
from connector.exports.software import SOFTWARE
from connector.model import AlertType, Inventory, StagedSnapshot
from connector.staging import support
from connector.state import meta
from connector.state.sql import Database, literal

LOOKS_KEPT: Final = 32
"""Days on which dates were looked at that are remembered; a clock that is wrong for longer is taken for right."""

CROSSING_KEPT: Final = timedelta(days=3 * 366)
"""How long it is remembered what was raised for a date, from the later of that date and the day."""

_DATE: Final = SOFTWARE.column("endOfSupportDate")
_STATUS: Final = SOFTWARE.column("endOfSupportStatus")


@dataclass(frozen=True, slots=True)
class Days:
    """The day of a staging, and the day of the last look at all dates before it; the same where there was none."""

    today: date
    looked: date
    thresholds: tuple[int, ...]

    def crossed(self, after: str, before: str | None = None) -> str:
        """An expression: the tightest threshold that a date crossed, or NULL.

        `after` and `before` are dates as text: of the record now, and at the last look; without `before`, the same.
        Dates of this form are in order as text.
        """
        steps = [
            f"WHEN {after} <= {literal(str(self.today + timedelta(days=days)))}"
            f" AND coalesce({before or after} > {literal(str(self.looked + timedelta(days=days)))}, true) THEN {days}"
            for days in self.thresholds
        ]
        return f"CASE {' '.join(steps)} END" if steps else "NULL::INTEGER"

    def came(self, ends: str) -> str:
        """An expression: whether a date as text came since the last look."""
        return f"({ends} <= {literal(str(self.today))} AND {ends} > {literal(str(self.looked))})"


def days_of(database: Database, row: StagedSnapshot, thresholds: tuple[int, ...]) -> Days:
    """The days that a staging judges by."""
    today = moment_of(row.staged_at).date()
    looks = [] if row.baseline else _looks(database, row.inventory)
    earlier = [look for look in looks if look < today] if looks and looks[-1] != today else []
    return Days(today, max(earlier, default=today), tuple(sorted(set(thresholds))))


def is_due(database: Database, inventory: Inventory, at: datetime) -> bool:
    """Whether the dates of an inventory were last looked at on another day."""
    return at.astimezone(UTC).date() not in _looks(database, inventory)[-1:]


def note_day(database: Database, inventory: Inventory, day: date) -> None:
    """Remember the day on which the dates of an inventory were looked at."""
    looks = _looks(database, inventory)
    if looks[-1:] != [day]:
        latest = [*(look for look in looks if look != day), day][-LOOKS_KEPT:]
        meta.remember(database, _note(inventory), " ".join(map(str, latest)))


def forget_days(database: Database, inventory: Inventory) -> None:
    """Where alerts are turned on later, they begin with a first look."""
    if meta.recall(database, _note(inventory)) is not None:
        meta.forget(database, _note(inventory))


def judge(workspace: Workspace, outcome: Outcome, raised: Relation, days: Days) -> None:
    """Add to `raised` the records whose date came near, or came, since the last look, and did not move.

    One that was out of support before, by its status now, before, or the last known one, does not reach its end again.
    Of the wide columns only those of such records are read.
    """
    export = workspace.export
    workspace.database.rows(
        f"""
        WITH {_crossing(workspace, outcome, days)},
        dated AS (
            SELECT *
            FROM crossing
            WHERE {support.readable(_DATE)} IS NOT NULL
        ),
        known AS (
            SELECT *
            FROM {support.last_said(workspace)}
            WHERE said IN {support.ENDED}
        )
        INSERT INTO {raised} (alert_type, threshold_days, decided_by, crossed_date, {export.columns})
        SELECT {literal(AlertType.DATE_THRESHOLD)}, threshold, 'date', {_DATE}, {export.columns}
        FROM dated
        WHERE threshold IS NOT NULL
        UNION ALL
        SELECT {literal(AlertType.REACHED)}, NULL, 'date', {_DATE}, {export.columns}
        FROM dated
        ANTI JOIN known USING ({export.key_columns})
        WHERE ends
        """
    )


def _crossing(workspace: Workspace, outcome: Outcome, days: Days) -> str:
    """Two CTEs: the records whose date crossed a threshold, or came and is the first to end their support."""
    export, difference = workspace.export, outcome.difference
    crossed, arrived = days.crossed(_DATE), days.crossed(f"a.{_DATE}")
    came, arrived_came = days.came(_DATE), days.came(f"a.{_DATE}")
    ended, ended_before = support.has_ended(f"a.{_STATUS}"), support.has_ended(f"b.{_STATUS}")
    return f"""
        near AS (
            SELECT *
            FROM {workspace.stored}
            WHERE {crossed} IS NOT NULL OR {came}
        ),
        crossing AS (
            SELECT {export.columns}, {crossed} AS threshold, {came} AND NOT {support.has_ended(_STATUS)} AS ends
            FROM near
            ANTI JOIN ({outcome.leaving}) USING (previous_row)
            UNION ALL
            SELECT {columns_of(export.fields, of="a")}, {arrived}, {arrived_came} AND NOT {ended} AND NOT {ended_before}
            FROM {difference.arrivals} a
            JOIN {difference.earlier} b USING (previous_row)
            WHERE ({arrived} IS NOT NULL OR {arrived_came})
              AND (
                  a.{_DATE} = b.{_DATE}
                  OR previous_row IN (SELECT previous_row FROM {difference.quiet})
              )
        )
    """.strip()


def crossing_expression(keys: list[str]) -> str:
    """An expression over `raised`: what is remembered of an alert for a date; NULL where it is none.

    The parameters are those of the alert ids.
    """
    subject = ("$tenant", "alert_type", "$inventory", *keys, "crossed_date")
    return (
        f"CASE WHEN threshold_days IS NOT NULL THEN {event_id_expression(*subject, 'threshold_days::VARCHAR')}"
        f" WHEN crossed_date IS NOT NULL THEN {event_id_expression(*subject)} END"
    )


def crossing_of(tenant_id: str, alert: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is remembered of a published alert for a date, and until when; None where it is none."""
    ends, days, threshold = alert["endOfSupportDate"], alert["daysToEndOfSupport"], alert["thresholdDays"]
    is_end = alert["alertType"] == AlertType.REACHED and days is not None and days <= 0
    if alert.get("summarizes") is not None or not (is_end or threshold is not None):
        return None
    keys = (alert[field.name] or "" for field in SOFTWARE.keys)
    more = () if threshold is None else (str(threshold),)
    until = max(ends, f"{alert['emittedAt']:%Y-%m-%d}")
    return event_id(tenant_id, alert["alertType"], alert["inventory"], *keys, ends, *more), until


def drop_repeats(workspace: Workspace, identified: Relation, row: StagedSnapshot, today: date) -> None:
    """Take away what was raised for its date before; remember what is raised for one now.

    Of changes only a status that says what the date had said is a repeat. What is old is forgotten, by the earlier of
    our clock and the generation's.
    """
    database = workspace.database
    database.rows(
        f"DELETE FROM {identified} WHERE (alert_id = crossing OR decided_by = 'status')"
        " AND crossing IN (SELECT alert_id FROM crossings)"
    )
    oldest = min(today, row.observed_at.date()) - CROSSING_KEPT
    database.rows("DELETE FROM crossings WHERE end_of_support_date < $1", [str(oldest)])
    database.rows(
        f"""
        INSERT INTO crossings
        SELECT crossing, greatest(crossed_date, $1)
        FROM {identified}
        WHERE crossing IS NOT NULL AND crossing NOT IN (SELECT alert_id FROM crossings)
        """,
        [str(today)],
    )


def _looks(database: Database, inventory: Inventory) -> list[date]:
    """The days on which dates were looked at, the latest look last."""
    return [date.fromisoformat(day) for day in (meta.recall(database, _note(inventory)) or "").split()]


def _note(inventory: Inventory) -> str:
    return f"alerts day {inventory}"
