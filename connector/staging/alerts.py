"""End-of-support alerts: which changes and which dates raise one, as SQL over what is staged.

Owns the rules, and the rows of `alerts` and `crossings`. Runs inside the staging transaction, before the inventory is
written: a record is out of support where its status says so or its date is past, whatever the status. Everything an
alert says is frozen here. Must not number changes, nor know Kafka.

A change raises one alert at most, the first of these that holds:

    INSTALLED       added, or another version than before, and out of support
    REACHED         out of support now, and its status did not say so before (by the date: was not out of support)
    CLEARED         removed, or changed, and out of support before
    UPCOMING        its status says Upcoming, and did not before
    DATE_THRESHOLD  its date moved to within a threshold

What MOVED from one export to the other is neither installed nor cleared; where it comes, it may have REACHED its end.

What no change touches is looked at once a day: a record whose date came within a threshold since the day of the last
look raises DATE_THRESHOLD, for the tightest threshold it crossed. The day is UTC's, of the staging. A first look, after
the first snapshot or where alerts are turned on, raises nothing; neither does one at a clock that was set back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from connector.clock import moment_of
from connector.diff.scan import COLUMNS, KEY_COLUMNS, SOFTWARE_COLUMNS
from connector.exports.fields import BY_NAME, END_OF_SUPPORT_STATUSES, UPCOMING_STATUSES
from connector.exports.identity import event_id_expression, event_namespace
from connector.model import AlertType, ChangeType, Inventory, Reason, StagedSnapshot
from connector.staging import first_seen
from connector.state import meta
from connector.state.sql import Database, literal, stored_records
from connector.telemetry import logger

log = logger(__name__)

SOON_DAYS: Final = 7
"""Up to so many days before the end of support, DATE_THRESHOLD is of medium severity."""

KNOWN_STATUSES: Final = ("None", *END_OF_SUPPORT_STATUSES, *UPCOMING_STATUSES)
STATUSES_NOTED_MAX: Final = 20
"""Unknown statuses that are reported of one snapshot; a feed that invents more says nothing by them."""

_STATUS: Final = BY_NAME["endOfSupportStatus"].column
_DATE: Final = BY_NAME["endOfSupportDate"].column
_BEFORE_STATUS: Final = "before.endOfSupportStatus"
_BEFORE_DATE: Final = "before.endOfSupportDate"
_RAISED: Final = f"sequence, event_id, change_type, alert_type, threshold_days, decided_by, {COLUMNS}"


@dataclass(frozen=True, slots=True)
class AlertRules:
    """`[alerts]`: days before the end of support, ascending or not, and severities by alert type in lower case."""

    enabled: bool = True
    on_baseline: bool = False
    date_thresholds_days: tuple[int, ...] = (90, 30, 7, 0)
    severity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Days:
    """The day of a staging, and the day of the last look at all dates; the same where there was none."""

    today: date
    looked: date
    thresholds: tuple[int, ...]

    @property
    def count(self) -> bool:
        """Whether dates are judged: not at a clock that was set back, nor without thresholds."""
        return self.today >= self.looked and bool(self.thresholds)

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
        return f"CASE {' '.join(steps)} END" if self.count else "NULL::INTEGER"


def stage(database: Database, row: StagedSnapshot, rules: AlertRules, tenant_id: str) -> StagedSnapshot:
    """Write the alerts of a snapshot that is being staged. Returns its row with their number.

    `staged`, `arrivals`, `earlier` and `quiet` are there, the changes are written, the inventory is not yet.
    """
    if not rules.enabled:
        _forget_day(database, row.inventory)
        return row
    days = _days(database, row, rules)
    _judge_changes(database, row, days, on_baseline=rules.on_baseline)
    if row.baseline and not row.baselined and rules.on_baseline:
        _judge_baseline(database, row, days)
    if days.count and days.today > days.looked:
        _judge_dates(database, row, days)
    if days.today >= days.looked:
        note_day(database, row.inventory, days.today)
    if not database.number("SELECT count(*) FROM raised"):
        return row
    written = _write(database, row, rules, tenant_id, days.today)
    return replace(row, alerts=written, alert_after=row.alert_after + written)


def is_due(database: Database, inventory: Inventory, rules: AlertRules, at: datetime) -> bool:
    """Whether all dates of an inventory are to be looked at, without a new snapshot: once on each day."""
    if not rules.enabled:
        _forget_day(database, inventory)
        return False
    looked = meta.recall(database, _day_note(inventory))
    return looked is None or str(at.astimezone(UTC).date()) > looked


def note_day(database: Database, inventory: Inventory, day: date) -> None:
    """The dates of an inventory were looked at on this day."""
    meta.remember(database, _day_note(inventory), str(day))


def note_unknown_statuses(database: Database, row: StagedSnapshot) -> None:
    """Report the statuses that nobody knows yet, each once; they raise nothing."""
    source = f"inventory WHERE inventory = {literal(row.inventory)}" if row.baseline else "arrivals WHERE true"
    found = database.rows(
        f"SELECT DISTINCT {_STATUS} FROM {source} AND {_STATUS} NOT IN ({_texts(KNOWN_STATUSES)})"
        f" ORDER BY {_STATUS} LIMIT {STATUSES_NOTED_MAX}"
    )
    for (status,) in found:
        name = f"unknown status {status}"
        if meta.recall(database, name) is None:
            meta.remember(database, name, row.snapshot_id)
            log.warning("an endOfSupportStatus is not known, and raises no alert", status=status)


def _day_note(inventory: Inventory) -> str:
    return f"alerts day {inventory}"


def _forget_day(database: Database, inventory: Inventory) -> None:
    """Where alerts are turned on later, they begin with a first look."""
    if meta.recall(database, _day_note(inventory)) is not None:
        meta.forget(database, _day_note(inventory))


def _days(database: Database, row: StagedSnapshot, rules: AlertRules) -> Days:
    today = moment_of(row.staged_at).date()
    looked = None if row.baseline else meta.recall(database, _day_note(row.inventory))
    return Days(today, date.fromisoformat(looked) if looked else today, tuple(sorted(set(rules.date_thresholds_days))))


def _judge_changes(database: Database, row: StagedSnapshot, days: Days, *, on_baseline: bool) -> None:
    """Make `raised` of the changes that raise an alert."""
    ended, ended_before = _decided_by(_STATUS, _DATE, days), _decided_by(_BEFORE_STATUS, _BEFORE_DATE, days)
    moved = f"{_BEFORE_DATE} IS DISTINCT FROM {_DATE} OR reason <> {literal(Reason.ATTRIBUTES_CHANGED)}"
    crossed = days.crossed(_readable(_DATE), _readable(_BEFORE_DATE))
    moves = f"reason = {literal(Reason.MOVED)}"
    upcoming, is_ended = _texts(UPCOMING_STATUSES), f"{_BEFORE_STATUS} IN ({_texts(END_OF_SUPPORT_STATUSES)})"
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE raised AS SELECT {_RAISED} FROM (SELECT * REPLACE ("
        f" CASE WHEN alert_type = {literal(AlertType.DATE_THRESHOLD)} THEN threshold_days END AS threshold_days,"
        f" CASE alert_type WHEN {literal(AlertType.DATE_THRESHOLD)} THEN 'date'"
        f"  WHEN {literal(AlertType.UPCOMING)} THEN 'status' ELSE coalesce(ended, ended_before) END AS decided_by)"
        " FROM (SELECT *, NULL AS decided_by, CASE"
        f"  WHEN change_type = {literal(ChangeType.REMOVED)}"
        f"   THEN CASE WHEN ended IS NOT NULL AND NOT ({moves}) THEN {literal(AlertType.CLEARED)} END"
        f"  WHEN change_type = {literal(ChangeType.BASELINE)}"
        f"   THEN CASE WHEN $on_baseline AND ended IS NOT NULL THEN {literal(AlertType.INSTALLED)} END"
        "  WHEN ended IS NOT NULL THEN CASE"
        f"   WHEN (change_type = {literal(ChangeType.ADDED)} OR reason <> {literal(Reason.ATTRIBUTES_CHANGED)})"
        f"    AND NOT ({moves}) THEN {literal(AlertType.INSTALLED)}"
        f"   WHEN CASE ended WHEN 'status' THEN NOT was_ended ELSE ended_before IS NULL END"
        f"    THEN {literal(AlertType.REACHED)} END"
        f"  WHEN ended_before IS NOT NULL THEN {literal(AlertType.CLEARED)}"
        f"  WHEN {_STATUS} IN ({upcoming}) AND NOT was_upcoming THEN {literal(AlertType.UPCOMING)}"
        f"  WHEN threshold_days IS NOT NULL THEN {literal(AlertType.DATE_THRESHOLD)} END AS alert_type"
        f" FROM (SELECT *, {ended} AS ended, {ended_before} AS ended_before, coalesce({is_ended}, false) AS was_ended,"
        f"  coalesce({_BEFORE_STATUS} IN ({upcoming}), false) AS was_upcoming, CASE WHEN"
        f"  change_type = {literal(ChangeType.CHANGED)} AND ({moved}) THEN {crossed} END AS threshold_days"
        "  FROM changes WHERE epoch = $epoch AND snapshot_no = $number))) WHERE alert_type IS NOT NULL",
        {"epoch": row.epoch, "number": row.snapshot_no, "on_baseline": on_baseline},
    )


def _judge_baseline(database: Database, row: StagedSnapshot, days: Days) -> None:
    """Add to `raised` what a first snapshot has that is out of support already; no change says so."""
    ended = _decided_by(_STATUS, _DATE, days)
    database.rows(
        f"INSERT INTO raised SELECT NULL, NULL, {literal(ChangeType.BASELINE)}, {literal(AlertType.INSTALLED)}, NULL,"
        f" {ended}, {COLUMNS} FROM {stored_records(row.inventory)} WHERE {ended} IS NOT NULL"
    )


def _judge_dates(database: Database, row: StagedSnapshot, days: Days) -> None:
    """Add to `raised` the records whose date came within a threshold since the last look, and did not move.

    Of the wide columns only those of such records are read.
    """
    crossed, arrived = days.crossed(_DATE), days.crossed(f"a.{_DATE}")
    arrivals = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
    database.rows(
        f"INSERT INTO raised SELECT NULL, NULL, NULL, {literal(AlertType.DATE_THRESHOLD)}, threshold, 'date', {COLUMNS}"
        f" FROM (SELECT {COLUMNS}, {crossed} AS threshold FROM (SELECT * FROM {stored_records(row.inventory)}"
        f"   WHERE {crossed} IS NOT NULL) ANTI JOIN ({_LEAVING}) USING (previous_row)"
        f"  UNION ALL SELECT {arrivals}, {arrived} FROM arrivals a JOIN earlier b USING (previous_row)"
        f"   WHERE {arrived} IS NOT NULL"
        f"   AND (a.{_DATE} = b.{_DATE} OR previous_row IN (SELECT previous_row FROM quiet)))"
        f" WHERE {_readable(_DATE)} IS NOT NULL"
    )


_LEAVING: Final = "SELECT previous_row FROM staged UNION ALL SELECT previous_row FROM quiet"


def _write(database: Database, row: StagedSnapshot, rules: AlertRules, tenant_id: str, today: date) -> int:
    """Number what is in `raised`, those of changes first, and freeze it. Returns how many there are."""
    parts = ("$tenant", "alert_type", "$inventory", *KEY_COLUMNS.split(", "), _DATE, "threshold_days::VARCHAR")
    alert_id = (
        f"CASE WHEN threshold_days IS NULL THEN {event_id_expression(parts[0], '$snapshot', *parts[1:-2])}"
        f" ELSE {event_id_expression(*parts)} END"
    )
    values = {"tenant": tenant_id, "snapshot": row.snapshot_id, "inventory": row.inventory.value}
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE identified AS SELECT *, {alert_id} AS alert_id,"
        f" {_readable(_DATE)}::DATE - {literal(str(today))}::DATE AS days FROM raised",
        values | {"namespace": event_namespace()},
    )
    _forget_crossed(database, today)
    _count_devices(database)
    first_seen_at = first_seen.first_seen_milliseconds("r.software_first_seen_timestamp")
    record = ", ".join(f"r.{column}" for column in COLUMNS.split(", "))
    return database.number(
        f"INSERT INTO alerts ({_WRITTEN}) SELECT $last + row_number() OVER (ORDER BY sequence NULLS LAST, device_id,"
        f" {SOFTWARE_COLUMNS}) AS number, $epoch, $number, sequence, alert_id, alert_type, {_severity(rules)}, days,"
        f" threshold_days, event_id, change_type, decided_by,"
        f" coalesce({_STATUS} IN ({_texts(END_OF_SUPPORT_STATUSES)}), false), p.seen_at, v.first_seen_at,"
        f" coalesce(p.is_new, false), coalesce(devices, 0), floor(($staged_at - {first_seen_at}) / 1000)::BIGINT,"
        f" {record} FROM identified r"
        " LEFT JOIN (SELECT software_vendor, software_name, min(first_seen_at) AS seen_at,"
        "  bool_and(snapshot_no IS NOT DISTINCT FROM $number) AS is_new FROM first_seen"
        "  SEMI JOIN raised USING (software_vendor, software_name) GROUP BY ALL) p"
        "  USING (software_vendor, software_name)"
        f" LEFT JOIN (SELECT * FROM first_seen SEMI JOIN raised USING ({SOFTWARE_COLUMNS})) v"
        f"  USING ({SOFTWARE_COLUMNS}) LEFT JOIN spread USING ({SOFTWARE_COLUMNS}) ORDER BY number",
        {"last": row.alert_after, "epoch": row.epoch, "number": row.snapshot_no, "staged_at": row.staged_at},
    )


_WRITTEN: Final = (
    "alert_no, epoch, snapshot_no, sequence, alert_id, alert_type, severity, days_to_end_of_support, threshold_days,"
    " event_id, change_type, decided_by, is_end_of_support, product_first_seen_at, version_first_seen_at,"
    f" new_to_organisation, devices_with_version, detection_lag_seconds, {COLUMNS}"
)


def _forget_crossed(database: Database, today: date) -> None:
    """Drop from `identified` what was crossed before, and remember what is crossed now, until the date is past."""
    database.rows("DELETE FROM identified WHERE alert_id IN (SELECT alert_id FROM crossings)")
    database.rows("DELETE FROM crossings WHERE end_of_support_date < $1", [str(today)])
    database.rows(
        f"INSERT INTO crossings SELECT alert_id, {_DATE} FROM identified"
        f" WHERE threshold_days IS NOT NULL AND {_DATE} >= $1",
        [str(today)],
    )


def _count_devices(database: Database) -> None:
    """Make `spread`: on how many devices each version in `identified` is, once the changes are made."""
    database.rows(
        f"CREATE OR REPLACE TEMP TABLE spread AS SELECT {SOFTWARE_COLUMNS}, count(DISTINCT device_no) AS devices FROM"
        "  (SELECT software_no, device_no FROM (SELECT rowid AS previous_row, software_no, device_no FROM inventory"
        f"    SEMI JOIN (SELECT software_no FROM software SEMI JOIN identified USING ({SOFTWARE_COLUMNS}))"
        f"    USING (software_no)) ANTI JOIN ({_LEAVING}) USING (previous_row)"
        "   UNION ALL SELECT software_no, device_no FROM arrivals)"
        f" JOIN (SELECT * FROM software SEMI JOIN identified USING ({SOFTWARE_COLUMNS})) USING (software_no)"
        " GROUP BY ALL"
    )


def _severity(rules: AlertRules) -> str:
    """An expression over `identified`: the severity that the configuration gives a type, or the default rule's."""
    by_rule = {
        AlertType.INSTALLED: "CASE WHEN number_of_weaknesses > 0 THEN 'high' ELSE 'medium' END",
        AlertType.REACHED: "CASE WHEN number_of_weaknesses > 0 THEN 'high' ELSE 'medium' END",
        AlertType.DATE_THRESHOLD: f"CASE WHEN days <= {SOON_DAYS} THEN 'medium' ELSE 'low' END",
    }
    given = {kind: literal(rules.severity[kind.lower()]) for kind in AlertType if kind.lower() in rules.severity}
    cases = " ".join(f"WHEN {literal(kind)} THEN {value}" for kind, value in (by_rule | given).items())
    return f"CASE alert_type {cases} ELSE 'low' END"


def _decided_by(status: str, ends: str, days: Days) -> str:
    """An expression: what says that a record is out of support, `status` or `date`; NULL where it is not."""
    return (
        f"CASE WHEN {status} IN ({_texts(END_OF_SUPPORT_STATUSES)}) THEN 'status'"
        f" WHEN {_readable(ends)} < {literal(str(days.today))} THEN 'date' END"
    )


def _readable(ends: str) -> str:
    """An expression: a date as text, NULL where it is none. A date that cannot be read is stored as it came."""
    return (
        f"CASE WHEN {ends} SIMILAR TO '\\d{{4}}-\\d\\d-\\d\\d' AND {ends} >= '0001'"
        f" AND try_cast({ends} AS DATE) IS NOT NULL THEN {ends} END"
    )


def _texts(texts: tuple[str, ...]) -> str:
    return ", ".join(literal(text) for text in texts)
