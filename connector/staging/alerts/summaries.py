"""Summaries: one alert for many of one product and type in one snapshot, beside the single ones that it counts.

A summary is a row of `alerts` as any other, behind the single ones and without a change. It is about no device. What
all that it counts have in common it has too; of severities, the highest. Its id is made of tenant, snapshot, type and
product, and stands in each of the single ones.
"""

from __future__ import annotations

from typing import Final

from connector.diff.tables import Relation, Workspace
from connector.exports.fields import COLUMN_TYPES, Export, Field, Kind, columns_of
from connector.exports.identity import event_id_expression, event_namespace, incident_key_expression
from connector.model import StagedSnapshot

COMMON: Final = (
    "days_to_end_of_support", "threshold_days", "change_type", "reason", "decided_by", "previous_version",
    "product_first_seen_at", "version_first_seen_at", "detection_lag_seconds",
)  # fmt: skip
"""Columns beside the record's that a summary has where all alerts that it counts have the same value."""


def find(workspace: Workspace, identified: Relation, row: StagedSnapshot, tenant_id: str, above: int) -> Relation:
    """Types and products of which there are more alerts than `above`, with the ids of their summaries; 0 finds none."""
    product = columns_of(workspace.export.product)
    products = [field.column for field in workspace.export.product]
    return workspace.make(
        "summarized",
        f"""
        WITH many AS (
            SELECT alert_type, {product}
            FROM {identified}
            WHERE $above > 0
            GROUP BY alert_type, {product}
            HAVING count(*) > $above
        )
        SELECT *,
               {event_id_expression("$tenant", "$snapshot", "'summary'", "alert_type", "$inventory", *products)}
                   AS summary_id
        FROM many
        """,
        {
            "above": above,
            "tenant": tenant_id,
            "snapshot": row.snapshot_id,
            "inventory": row.inventory.value,
            "namespace": event_namespace(),
        },
    )


def write(workspace: Workspace, row: StagedSnapshot, tenant_id: str, *, after: int) -> int:
    """Write the summaries of a snapshot whose single alerts are written, numbered beyond `after`. Returns how many."""
    export = workspace.export
    return workspace.database.number(
        f"""
        WITH grouped AS (
            SELECT summary_id,
                   alert_type,
                   count(*) AS summarizes,
                   CASE WHEN bool_or(severity = 'high') THEN 'high'
                        WHEN bool_or(severity = 'medium') THEN 'medium'
                        ELSE 'low' END AS severity,
                   bool_and(is_end_of_support) AS is_end_of_support,
                   bool_and(new_to_organisation) AS new_to_organisation,
                   coalesce({_common("devices_with_version", version=export.version_column)}, 0)
                       AS devices_with_version,
                   {", ".join(f"{_common(column)} AS {column}" for column in COMMON)},
                   {", ".join(f"{_described(export, field)} AS {field.column}" for field in export.fields)}
            FROM alerts
            WHERE epoch = $epoch AND snapshot_no = $number AND summary_id IS NOT NULL
            GROUP BY summary_id, alert_type
        )
        INSERT INTO alerts (
            alert_no, epoch, snapshot_no, alert_id, alert_type, summarizes, severity, incident_key, is_end_of_support,
            new_to_organisation, devices_with_version, {", ".join(COMMON)}, {export.columns}
        )
        SELECT $after + row_number() OVER (ORDER BY alert_type, {columns_of(export.product)}) AS number,
               $epoch,
               $number,
               summary_id,
               alert_type,
               summarizes,
               severity,
               {incident_key_expression("''", [field.column for field in export.product])},
               is_end_of_support,
               new_to_organisation,
               devices_with_version,
               {", ".join(COMMON)},
               {export.columns}
        FROM grouped
        ORDER BY number
        """,
        {
            "after": after,
            "epoch": row.epoch,
            "number": row.snapshot_no,
            "tenant": tenant_id,
            "namespace": event_namespace(),
        },
    )


def _common(column: str, *, version: str | None = None) -> str:
    """An aggregate: the value that all rows have in common, or NULL; with `version`, if that is common too."""
    conditions = [f"count({name}) = count(*) AND min({name}) = max({name})" for name in (column, version) if name]
    return f"CASE WHEN {' AND '.join(conditions)} THEN min({column}) END"


def _described(export: Export, field: Field) -> str:
    """An aggregate: a field of the record in a summary; no device, and nothing of what only a device has."""
    if field.name == export.device:
        return "''"
    return f"[]::{COLUMN_TYPES[field.kind]}" if field.kind is Kind.TEXT_SET else _common(field.column)
