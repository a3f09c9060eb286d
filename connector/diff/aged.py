"""Finds removals that age explains, among those that the guard lets through: nobody uninstalled anything.

Defender drops a device with all its rows once it was silent for 30 days, and assumes software removed that reported
nothing for as long. The export has no time at which anything was last seen, so the evidence is what Defender knows of
the devices themselves (`source.device_facts`): a device that was last seen 30 days before the generation, or earlier,
reported no uninstallation, whether it vanished with all its rows or lost some of them. That is AGED_OUT. Health and
onboarding decide nothing, since an offboarded device ages out as one that is switched off does; they are logged for
the devices that went without having been silent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connector.diff.tables import Relation, Workspace
from connector.model import Reason
from connector.state.sql import file_pattern, literal
from connector.telemetry import logger

log = logger(__name__)

SILENT_MILLISECONDS: Final = 30 * 24 * 3_600_000
"""Source: Microsoft's page on the retention logic of vulnerability management (2025)."""

GROUPS_LOGGED_MAX: Final = 10

_EXPLAINED: Final = f"({literal(Reason.UNINSTALLED)}, {literal(Reason.DEVICE_MISSING)})"
"""The reasons that say less than AGED_OUT. CATALOGUE stays: it is about a version, whatever its devices did."""


def mark_aged(workspace: Workspace, removals: Relation, facts: Path, *, generated_at: int) -> None:
    """Give removals on devices that were silent for 30 days the reason AGED_OUT.

    Args:
        workspace: inside the staging transaction.
        removals: what the guard believes.
        facts: what is known of the devices, one line each, as `source.devices` writes it.
        generated_at: time of the snapshot's generation, in milliseconds since 1970.
    """
    if not workspace.count(f"{removals} WHERE reason IN {_EXPLAINED}"):
        return
    known = workspace.make(
        "device_facts",
        f"""
        WITH listed AS (
            SELECT *
            FROM read_json([{literal(file_pattern(facts))}], format = 'newline_delimited', compression = 'none',
                hive_partitioning = false,
                columns = {{device_id: 'VARCHAR', last_seen: 'BIGINT', health: 'VARCHAR', onboarding: 'VARCHAR'}})
        ),
        concerned AS (
            SELECT device_no, lower(device_id) AS device_id
            FROM devices
            SEMI JOIN {removals} USING (device_no)
        )
        SELECT device_no,
               max(last_seen) AS last_seen,
               arg_max(health, coalesce(last_seen, 0)) AS health,
               arg_max(onboarding, coalesce(last_seen, 0)) AS onboarding
        FROM concerned
        JOIN listed USING (device_id)
        GROUP BY device_no
        """,
    )
    workspace.database.rows(
        f"""
        UPDATE {removals}
        SET reason = {literal(Reason.AGED_OUT)}
        WHERE reason IN {_EXPLAINED}
          AND device_no IN (SELECT device_no FROM {known} WHERE last_seen <= $1)
        """,
        [generated_at - SILENT_MILLISECONDS],
    )
    _log_missing(workspace, removals, known)


def _log_missing(workspace: Workspace, removals: Relation, known: Relation) -> None:
    """Log what Defender says of the devices that are gone without having been silent for 30 days."""
    rows = workspace.database.rows(
        f"""
        WITH missing AS (
            SELECT DISTINCT device_no
            FROM {removals}
            WHERE reason = {literal(Reason.DEVICE_MISSING)}
        )
        SELECT CASE
                   WHEN {known}.device_no IS NULL THEN 'not listed'
                   ELSE concat_ws(', ', coalesce(onboarding, 'onboarding unknown'), coalesce(health, 'health unknown'))
               END AS status,
               count(*) AS devices
        FROM missing
        LEFT JOIN {known} USING (device_no)
        GROUP BY status
        ORDER BY devices DESC, status
        LIMIT {GROUPS_LOGGED_MAX}
        """
    )
    if rows:
        log.info(
            "devices left the export, and were not silent for 30 days",
            inventory=workspace.inventory.value,
            devices=sum(devices for _, devices in rows),
            statuses="; ".join(f"{status}: {devices}" for status, devices in rows),
        )
