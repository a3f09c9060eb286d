"""End-of-support alerts: which changes and which dates raise one, as SQL over what is staged.

Alerts are written inside the staging transaction, before the inventory is. A record is out of support where its
status says so or its date has come, whatever the status; where it says nothing of its support, what it said last holds
(`support`). Everything an alert says is frozen here.

A change raises one alert at most, the first of these that holds:

    INSTALLED       added, or another version than before, and out of support
    REACHED         out of support now, and its status did not say so before (by the date: was not out of support)
    CLEARED         removed, or changed, and out of support before
    UPCOMING        its status says Upcoming, and did not before
    DATE_THRESHOLD  its date moved to within a threshold

Alerts about one product on one device have the same incident key, whatever its version or export. One that a change of
version raised has the version before, too: it is what a consumer takes out of the incident.

What MOVED from one export to the other is neither installed nor cleared; where it comes, it may have REACHED its end.

Once a day all dates are looked at (`calendar`): one that came within a threshold since the last look raises
DATE_THRESHOLD, for the tightest threshold it crossed, and one that came raises REACHED, whatever the thresholds. A
first look, after the first snapshot or where alerts are turned on, raises nothing. Where a date was REACHED, a status
that says the same later raises nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

from connector.diff.tables import Outcome, Relation, Workspace
from connector.exports.fields import Export, columns_of
from connector.exports.identity import event_id_expression, event_namespace, incident_key_expression
from connector.exports.software import SOFTWARE
from connector.model import AlertType, ChangeType, Inventory, Reason, StagedSnapshot
from connector.staging import first_seen, support
from connector.staging.alerts import calendar, summaries
from connector.staging.alerts.calendar import Days
from connector.state import meta
from connector.state.sql import Database, literal
from connector.telemetry import logger

log = logger(__name__)

SOON_DAYS: Final = 7
"""This close to the end of support, DATE_THRESHOLD is of medium severity; before, of low."""

STATUSES_NOTED_MAX: Final = 20
"""Unknown statuses that are reported of one snapshot; a feed that invents more says nothing by them."""

# These alerts are about software: no other export says when the support of something ends.
_STATUS: Final = SOFTWARE.column("endOfSupportStatus")
_DATE: Final = SOFTWARE.column("endOfSupportDate")
_BEFORE_STATUS: Final = "before.endOfSupportStatus"
_BEFORE_DATE: Final = "before.endOfSupportDate"
_VERSION: Final = SOFTWARE.column("softwareVersion")
_BEFORE_VERSION: Final = "before.softwareVersion"


@dataclass(frozen=True, slots=True)
class AlertRules:
    """`[alerts]`: days before the end of support, ascending or not, and severities by alert type in lower case.

    More alerts of one product and type in a snapshot than `summarize_above` also get a summary; 0: none does.
    """

    enabled: bool
    on_baseline: bool
    date_thresholds_days: tuple[int, ...]
    summarize_above: int
    severity: Mapping[str, str]


def stage(
    workspace: Workspace, outcome: Outcome, row: StagedSnapshot, rules: AlertRules, tenant_id: str
) -> StagedSnapshot:
    """Write the alerts of a snapshot whose changes are written and whose inventory is not yet. Returns its row."""
    database = workspace.database
    if not rules.enabled:
        calendar.forget_days(database, row.inventory)
        return row
    days = calendar.days_of(database, row, rules.date_thresholds_days)
    raised = _judge_changes(workspace, row, days, on_baseline=rules.on_baseline)
    if rules.on_baseline and not row.counts.baselined and (row.baseline or outcome.completing):
        _judge_baseline(workspace, outcome, raised, days)
    if days.today > days.looked:
        calendar.judge(workspace, outcome, raised, days)
    calendar.note_day(database, row.inventory, days.today)
    if not workspace.count(raised):
        return row
    identified = _identify(workspace, raised, row, tenant_id, days.today)
    spread = _count_devices(workspace, outcome, identified)
    summarized = summaries.find(workspace, identified, row, tenant_id, rules.summarize_above)
    written = _write(workspace, identified, spread, summarized, row, rules)
    if workspace.count(summarized):
        written += summaries.write(workspace, row, tenant_id, after=row.alert_after + written)
    return replace(row, counts=replace(row.counts, alerts=written), alert_after=row.alert_after + written)


def is_due(database: Database, inventory: Inventory, rules: AlertRules, at: datetime) -> bool:
    """Whether the dates of an inventory are due to be checked without a new snapshot: once a day."""
    if not rules.enabled:
        calendar.forget_days(database, inventory)
        return False
    return calendar.is_due(database, inventory, at)


def note_unknown_statuses(workspace: Workspace, row: StagedSnapshot, arrivals: Relation) -> None:
    """Report each status that is not known, once; such a status raises no alert."""
    database = workspace.database
    records = f"inventory WHERE inventory = {literal(row.inventory)}" if row.baseline else arrivals
    unknown = database.rows(
        f"""
        WITH statuses AS (
            SELECT DISTINCT {_STATUS}
            FROM {records}
        )
        SELECT {_STATUS}
        FROM statuses
        WHERE NOT {support.is_known(_STATUS)}
        ORDER BY {_STATUS}
        LIMIT {STATUSES_NOTED_MAX}
        """
    )
    for (status,) in unknown:
        name = f"unknown status {status}"
        if meta.recall(database, name) is None:
            meta.remember(database, name, row.snapshot_id)
            log.warning("an endOfSupportStatus is not known, and raises no alert", status=status)


def _judge_changes(workspace: Workspace, row: StagedSnapshot, days: Days, *, on_baseline: bool) -> Relation:
    """The changes of a snapshot that raise an alert, with what is raised of them."""
    is_move = f"reason = {literal(Reason.MOVED)}"
    is_version = f"change_type = {literal(ChangeType.ADDED)} OR reason <> {literal(Reason.ATTRIBUTES_CHANGED)}"
    return workspace.make(
        "raised",
        f"""
        WITH {_spoken(workspace, days).strip()},
        {_FACTS.strip()},
        judged AS (
            SELECT *,
                   CASE
                       WHEN change_type = {literal(ChangeType.REMOVED)}
                           THEN CASE
                               WHEN ended_before IS NOT NULL AND NOT ({is_move}) THEN {literal(AlertType.CLEARED)}
                           END
                       WHEN change_type = {literal(ChangeType.BASELINE)}
                           THEN CASE WHEN $on_baseline AND ended IS NOT NULL THEN {literal(AlertType.INSTALLED)} END
                       WHEN ended IS NOT NULL
                           THEN CASE
                               WHEN ({is_version}) AND NOT ({is_move}) THEN {literal(AlertType.INSTALLED)}
                               WHEN ended_before IS NULL OR (ended = 'status' AND ended_before = 'date')
                                   THEN {literal(AlertType.REACHED)}
                           END
                       WHEN ended_before IS NOT NULL THEN {literal(AlertType.CLEARED)}
                       WHEN stands = 'upcoming' AND stood IS DISTINCT FROM 'upcoming' THEN {literal(AlertType.UPCOMING)}
                       WHEN crossed_days IS NOT NULL THEN {literal(AlertType.DATE_THRESHOLD)}
                   END AS alert_type
            FROM facts
        ),
        {_RAISED.strip()}
        SELECT sequence, event_id, change_type, reason, alert_type, threshold_days, decided_by,
               CASE WHEN {_BEFORE_VERSION} <> {_VERSION} THEN {_BEFORE_VERSION} END AS previous_version,
               crossed_date,
               {workspace.export.columns}
        FROM changes
        JOIN raised USING (sequence)
        WHERE epoch = $epoch AND snapshot_no = $number
        """,
        {"epoch": row.epoch, "number": row.snapshot_no, "on_baseline": on_baseline},
        grows=True,
    )


_RAISED: Final = f"""
        kept AS (
            -- No filter: it would be pushed down with each step written out in the next, as thousands of expressions.
            SELECT * EXCLUDE alert_type, unnest(CASE WHEN alert_type IS NOT NULL THEN [alert_type] END) AS alert_type
            FROM judged
        ),
        raised AS (
            SELECT sequence, alert_type,
                   CASE WHEN alert_type = {literal(AlertType.DATE_THRESHOLD)} THEN crossed_days END AS threshold_days,
                   CASE alert_type
                       WHEN {literal(AlertType.DATE_THRESHOLD)} THEN 'date'
                       WHEN {literal(AlertType.UPCOMING)} THEN 'status'
                       ELSE coalesce(ended, ended_before)
                   END AS decided_by,
                   CASE
                       WHEN alert_type = {literal(AlertType.DATE_THRESHOLD)} THEN ends
                       WHEN alert_type = {literal(AlertType.REACHED)} AND ended = 'date' THEN ends
                       WHEN alert_type = {literal(AlertType.REACHED)} AND ended_before = 'date' THEN ends_then
                   END AS crossed_date
            FROM kept
        )
"""
"""Two CTEs: the changes that raise an alert, with what decided, and the date that it is raised for or repeats."""

_FACTS: Final = f"""
        standing AS (
            SELECT *,
                   CASE
                       WHEN said IS NULL AND reason = {literal(Reason.ATTRIBUTES_CHANGED)}
                           AND {support.stays("stood", "ends")}
                           THEN stood
                       ELSE said
                   END AS stands
            FROM spoken
        ),
        facts AS (
            SELECT *,
                   CASE WHEN stands IN {support.ENDED} THEN stands END AS ended,
                   CASE WHEN stood IN {support.ENDED} THEN stood END AS ended_before
            FROM standing
        )
"""
"""Two CTEs: what the records of the changes come to (what they say, or else said before), and what says they ended."""


def _spoken(workspace: Workspace, days: Days) -> str:
    """CTEs up to `spoken`: the changes with what their records say of their support, and said last; crossings.

    What several rules look at is read once, as columns: repeated in every rule, it would take longer to plan than to
    carry out.
    """
    moved_date = f"{_BEFORE_DATE} IS DISTINCT FROM {_DATE} OR reason <> {literal(Reason.ATTRIBUTES_CHANGED)}"
    return f"""
        read AS (
            SELECT c.sequence, change_type, reason,
                   {support.folded(_STATUS)} AS status,
                   {support.readable(_DATE)} AS ends,
                   {support.folded(_BEFORE_STATUS)} AS status_then,
                   {support.readable(_BEFORE_DATE)} AS ends_then,
                   change_type = {literal(ChangeType.CHANGED)} AND ({moved_date}) AS is_date_moved,
                   r.said AS said_last
            FROM changes c
            LEFT JOIN {support.last_said(workspace)} r ON {support.same_record(workspace, "c", "r")}
            WHERE epoch = $epoch AND snapshot_no = $number
        ),
        heard AS (
            SELECT *,
                   {support.says("status", "ends", days.today)} AS said,
                   {support.says("status_then", "ends_then", days.today)} AS said_then
            FROM read
        ),
        spoken AS (
            SELECT *,
                   CASE WHEN is_date_moved THEN {days.crossed("ends", "ends_then")} END AS crossed_days,
                   coalesce(
                       CASE WHEN change_type = {literal(ChangeType.REMOVED)} THEN said ELSE said_then END, said_last
                   ) AS stood
            FROM heard
        )
    """


def _judge_baseline(workspace: Workspace, outcome: Outcome, raised: Relation, days: Days) -> None:
    """Add to `raised` what a first snapshot, or one that completes it, has out of support; no change says so."""
    arrivals, completing = outcome.difference.arrivals, outcome.completing
    records = f"(FROM {arrivals} SEMI JOIN {completing} USING (device_no, software_no))" if completing else None
    workspace.database.rows(
        f"""
        WITH read AS (
            SELECT {workspace.export.columns},
                   {support.folded(_STATUS)} AS status,
                   {support.readable(_DATE)} AS ends
            FROM {records or workspace.stored}
        ),
        heard AS (
            SELECT *, {support.says("status", "ends", days.today)} AS said
            FROM read
        )
        INSERT INTO {raised} (change_type, reason, alert_type, decided_by, {workspace.export.columns})
        SELECT {literal(ChangeType.BASELINE)}, {literal(Reason.FIRST_SNAPSHOT)}, {literal(AlertType.INSTALLED)}, said,
               {workspace.export.columns}
        FROM heard
        WHERE said IN {support.ENDED}
        """
    )


def _identify(workspace: Workspace, raised: Relation, row: StagedSnapshot, tenant_id: str, today: date) -> Relation:
    """The raised alerts with their ids and days to the end, without those that were raised for their date before."""
    keys = [field.column for field in workspace.export.keys]
    subject = ("alert_type", "$inventory", *keys)
    by_snapshot = event_id_expression("$tenant", "$snapshot", *subject)
    product = [field.column for field in workspace.export.product]
    identified = workspace.make(
        "identified",
        f"""
        WITH dated AS (
            SELECT *, {calendar.crossing_expression(keys)} AS crossing
            FROM {raised}
        )
        SELECT *,
               CASE WHEN threshold_days IS NULL AND change_type IS NOT NULL THEN {by_snapshot} ELSE crossing END
                   AS alert_id,
               {incident_key_expression(keys[0], product)} AS incident_key,
               {support.readable(_DATE)}::DATE - {literal(str(today))}::DATE AS days
        FROM dated
        """,
        {
            "tenant": tenant_id,
            "snapshot": row.snapshot_id,
            "inventory": row.inventory.value,
            "namespace": event_namespace(),
        },
    )
    calendar.drop_repeats(workspace, identified, row, today)
    return identified


def _write(
    workspace: Workspace,
    identified: Relation,
    spread: Relation,
    summarized: Relation,
    row: StagedSnapshot,
    rules: AlertRules,
) -> int:
    """Number the alerts, those of changes first, and freeze them. Returns how many there are."""
    export = workspace.export
    subject, product = export.subject_columns, columns_of(export.product)
    first_seen_at = first_seen.first_seen_milliseconds("r.software_first_seen_timestamp")
    return workspace.database.number(
        f"""
        WITH {_first_seen(export, identified)}
        INSERT INTO alerts (
            alert_no, epoch, snapshot_no, sequence, alert_id, alert_type, severity, days_to_end_of_support,
            threshold_days, event_id, change_type, reason, decided_by, incident_key, summary_id, previous_version,
            is_end_of_support, product_first_seen_at, version_first_seen_at, new_to_organisation, devices_with_version,
            detection_lag_seconds, {export.columns}
        )
        SELECT $last + row_number() OVER (ORDER BY sequence NULLS LAST, device_id, {subject}, alert_type) AS number,
               $epoch,
               $number,
               sequence,
               alert_id,
               alert_type,
               {_severity(rules)},
               days,
               threshold_days,
               event_id, change_type, reason, decided_by,
               incident_key, summary_id, previous_version,
               {support.has_ended(_STATUS)},
               p.seen_at,
               v.first_seen_at,
               coalesce(p.is_new, false),
               coalesce(devices, 0),
               floor(($staged_at - {first_seen_at}) / 1000)::BIGINT,
               {columns_of(export.fields, of="r")}
        FROM {identified} r
        LEFT JOIN products p USING ({product})
        LEFT JOIN versions v USING ({subject})
        LEFT JOIN {spread} USING ({subject})
        LEFT JOIN {summarized} USING (alert_type, {product})
        ORDER BY number
        """,
        {"last": row.alert_after, "epoch": row.epoch, "number": row.snapshot_no, "staged_at": row.staged_at},
    )


def _first_seen(export: Export, identified: Relation) -> str:
    """Two CTEs: when the products and the versions of alerts were first seen, and whether a product is new."""
    return f"""
        products AS (
            SELECT {columns_of(export.product)},
                   min(first_seen_at) AS seen_at,
                   bool_and(snapshot_no IS NOT DISTINCT FROM $number) AS is_new
            FROM first_seen
            SEMI JOIN {identified} USING ({columns_of(export.product)})
            GROUP BY ALL
        ),
        versions AS (
            SELECT *
            FROM first_seen
            SEMI JOIN {identified} USING ({export.subject_columns})
        )
    """


def _count_devices(workspace: Workspace, outcome: Outcome, identified: Relation) -> Relation:
    """On how many devices each version in `identified` is, once the changes are made."""
    subject = workspace.export.subject_columns
    return workspace.make(
        "spread",
        f"""
        WITH versions AS (
            SELECT *
            FROM software
            SEMI JOIN {identified} USING ({subject})
        ),
        stored AS (
            SELECT rowid AS previous_row, software_no, device_no
            FROM inventory
            SEMI JOIN versions USING (software_no)
        ),
        installed AS (
            SELECT software_no, device_no
            FROM stored
            ANTI JOIN ({outcome.leaving}) USING (previous_row)
            UNION ALL
            SELECT software_no, device_no
            FROM {outcome.difference.arrivals}
        )
        SELECT {subject}, count(DISTINCT device_no) AS devices
        FROM installed
        JOIN versions USING (software_no)
        GROUP BY ALL
        """,
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
