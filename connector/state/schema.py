"""The schema of the state file, and the steps from every released version of it to the newest.

Owns the DDL. A step runs in one transaction and is followed by a CHECKPOINT; it is never edited after its release,
which is why columns are spelled out here and not made from `exports`: a new field is a new step.
No table has a key, an index or a constraint: reports of DuckDB files that would not open nearly all involve those.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from connector.errors import StateCorrupt, StateError, StateVersionUnknown
from connector.state.engine import Engine
from connector.state.sql import Database

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name VARCHAR, value VARCHAR)",
        "CREATE TABLE position (epoch INTEGER, last_sequence BIGINT, last_snapshot BIGINT, published_sequence BIGINT,"
        " published_snapshot BIGINT, epoch_snapshot BIGINT, published_at BIGINT)",
        "INSERT INTO position VALUES (1, 0, 0, 0, 0, 0, NULL)",
        "CREATE TABLE devices (device_no INTEGER, device_id VARCHAR)",
        "CREATE TABLE software (software_no INTEGER, software_vendor VARCHAR, software_name VARCHAR,"
        " software_version VARCHAR)",
        # digest: NULL where the snapshot had the record more than once.
        "CREATE TABLE inventory (inventory VARCHAR, device_no INTEGER, software_no INTEGER, digest UBIGINT,"
        " device_name VARCHAR, os_platform VARCHAR, rbac_group_id BIGINT, rbac_group_name VARCHAR,"
        " number_of_weaknesses BIGINT, disk_paths VARCHAR[], registry_paths VARCHAR[],"
        " software_first_seen_timestamp VARCHAR, end_of_support_status VARCHAR, end_of_support_date VARCHAR)",
        # total: the sum of the digests of all records, as `audit` keeps it.
        "CREATE TABLE contents (inventory VARCHAR, engine VARCHAR, records BIGINT, total UBIGINT)",
        "CREATE TABLE missing_devices (inventory VARCHAR, device_no INTEGER, since_snapshot BIGINT, snapshots INTEGER)",
        "CREATE TABLE held (inventory VARCHAR, device_no INTEGER, software_no INTEGER, since_snapshot BIGINT,"
        " reason VARCHAR)",
        "CREATE TABLE changes (sequence BIGINT, epoch INTEGER, snapshot_no BIGINT, event_id VARCHAR,"
        " change_type VARCHAR, reason VARCHAR, changed_fields VARCHAR[], is_end_of_support BOOLEAN,"
        " device_id VARCHAR, device_name VARCHAR, os_platform VARCHAR, rbac_group_id BIGINT, rbac_group_name VARCHAR,"
        " software_vendor VARCHAR, software_name VARCHAR, software_version VARCHAR, number_of_weaknesses BIGINT,"
        " disk_paths VARCHAR[], registry_paths VARCHAR[], software_first_seen_timestamp VARCHAR,"
        " end_of_support_status VARCHAR, end_of_support_date VARCHAR,"
        ' before STRUCT("deviceId" VARCHAR, "deviceName" VARCHAR, "osPlatform" VARCHAR, "rbacGroupId" BIGINT,'
        ' "rbacGroupName" VARCHAR, "softwareVendor" VARCHAR, "softwareName" VARCHAR, "softwareVersion" VARCHAR,'
        ' "numberOfWeaknesses" BIGINT, "diskPaths" VARCHAR[], "registryPaths" VARCHAR[],'
        ' "softwareFirstSeenTimestamp" VARCHAR, "endOfSupportStatus" VARCHAR, "endOfSupportDate" VARCHAR))',
        "CREATE TABLE snapshots (snapshot_no BIGINT, epoch INTEGER, inventory VARCHAR, snapshot_id VARCHAR,"
        " previous_snapshot_id VARCHAR, method VARCHAR, generated_at BIGINT, generation_known BOOLEAN,"
        " content_digest VARCHAR, started_at BIGINT, staged_at BIGINT, baseline BOOLEAN, records BIGINT,"
        " devices BIGINT, stored BIGINT, added BIGINT, removed BIGINT, changed BIGINT, baselined BIGINT, alerts BIGINT,"
        " held BIGINT, hold_reason VARCHAR, duplicates BIGINT, rejected BIGINT, first_sequence BIGINT,"
        " last_sequence BIGINT, sequence_after BIGINT, connector_version VARCHAR)",
    ),
    (
        "ALTER TABLE position ADD COLUMN last_alert BIGINT DEFAULT 0",
        "ALTER TABLE position ADD COLUMN published_alert BIGINT DEFAULT 0",
        "ALTER TABLE snapshots ADD COLUMN alert_after BIGINT DEFAULT 0",
        # sequence: of the change that raised it; NULL where none did. The rest as `EndOfSupportAlert` has it.
        "CREATE TABLE alerts (alert_no BIGINT, epoch INTEGER, snapshot_no BIGINT, sequence BIGINT, alert_id VARCHAR,"
        " alert_type VARCHAR, severity VARCHAR, days_to_end_of_support INTEGER, threshold_days INTEGER,"
        " event_id VARCHAR, change_type VARCHAR, decided_by VARCHAR, is_end_of_support BOOLEAN,"
        " product_first_seen_at BIGINT, version_first_seen_at BIGINT, new_to_organisation BOOLEAN,"
        " devices_with_version BIGINT, detection_lag_seconds BIGINT,"
        " device_id VARCHAR, device_name VARCHAR, os_platform VARCHAR, rbac_group_id BIGINT, rbac_group_name VARCHAR,"
        " software_vendor VARCHAR, software_name VARCHAR, software_version VARCHAR, number_of_weaknesses BIGINT,"
        " disk_paths VARCHAR[], registry_paths VARCHAR[], software_first_seen_timestamp VARCHAR,"
        " end_of_support_status VARCHAR, end_of_support_date VARCHAR)",
        # Thresholds that a date has crossed and that it may never cross again; a row goes once the date is past.
        "CREATE TABLE crossings (alert_id VARCHAR, end_of_support_date VARCHAR)",
        # snapshot_no: of the snapshot that it came with; NULL for what a first snapshot had, or an older file.
        "CREATE TABLE first_seen (software_vendor VARCHAR, software_name VARCHAR, software_version VARCHAR,"
        " first_seen_at BIGINT, snapshot_no BIGINT)",
        "INSERT INTO first_seen SELECT software_vendor, software_name, software_version,"
        " least(min(generated_at), min(CASE WHEN software_first_seen_timestamp LIKE '____-__-__T%Z'"
        "  THEN epoch_ms(try_cast(software_first_seen_timestamp AS TIMESTAMPTZ)) END)), NULL"
        " FROM inventory JOIN software USING (software_no)"
        " LEFT JOIN (SELECT inventory, max(generated_at) AS generated_at FROM snapshots GROUP BY inventory)"
        "  USING (inventory) GROUP BY ALL",
    ),
    (
        # records: removals of a snapshot that the guard believed; a row goes once it is a day older than the newest.
        "CREATE TABLE believed_removals (inventory VARCHAR, snapshot_no BIGINT, generated_at BIGINT, records BIGINT)",
        # said: status, date or upcoming, what a record that says nothing of its support said last.
        "CREATE TABLE last_said (inventory VARCHAR, device_no INTEGER, software_no INTEGER, said VARCHAR)",
        # field: whose values are held; NULL: additions. approved: the next snapshot is believed.
        "CREATE TABLE distrusted (inventory VARCHAR, field VARCHAR, reason VARCHAR, since_snapshot BIGINT,"
        " records BIGINT, devices BIGINT, approved BOOLEAN)",
        # Placeholders such as 0001-01-01 had been taken for the first sight of a version.
        "UPDATE first_seen SET first_seen_at = coalesce((SELECT min(generated_at) FROM snapshots), first_seen_at)"
        " WHERE first_seen_at < epoch_ms(TIMESTAMP '1980-01-02')",
        # NULL in alerts that an earlier version staged.
        "ALTER TABLE alerts ADD COLUMN reason VARCHAR",
        "ALTER TABLE alerts ADD COLUMN previous_version VARCHAR",
        "ALTER TABLE alerts ADD COLUMN incident_key VARCHAR",
        "ALTER TABLE alerts ADD COLUMN summary_id VARCHAR",
        "ALTER TABLE alerts ADD COLUMN summarizes BIGINT",
        # The two halves of the digest of the line that a record was read from; NULL: none that counts.
        "ALTER TABLE inventory ADD COLUMN line_1 BIGINT",
        "ALTER TABLE inventory ADD COLUMN line_2 BIGINT",
        # choice: the filters that were given, as JSON. snapshot_id: of the removals that an approval published.
        "CREATE TABLE decisions (decision_no BIGINT, decided_at BIGINT, action VARCHAR, who VARCHAR, why VARCHAR,"
        " road VARCHAR, choice VARCHAR, inventory VARCHAR, reason VARCHAR, field VARCHAR, since_snapshot_id VARCHAR,"
        " records BIGINT, devices BIGINT, snapshot_id VARCHAR)",
        # Keys under which the last snapshot, as Spark keeps it, may not be what is stored.
        "CREATE TABLE diverging (inventory VARCHAR, device_no INTEGER, software_no INTEGER)",
    ),
)


def migrate(
    engine: Engine,
    path: Path,
    *,
    fresh: bool,
    read_only: bool = False,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> None:
    """Bring the file to the newest schema version, one transaction a step.

    Raises:
        StateCorrupt: a DuckDB file that this connector did not write.
        StateVersionUnknown: a newer connector wrote it.
        StateError: an older connector wrote it, and it is opened for reading only.
    """
    version = 0 if fresh else schema_version(engine, path)
    if version > len(migrations):
        raise StateVersionUnknown(
            f"{path} has schema version {version}; this connector knows versions up to {len(migrations)}",
            hint="Run the connector version that wrote it, or a newer one.",
        )
    if read_only and version < len(migrations):
        raise StateError(
            f"{path} has schema version {version}; this connector writes version {len(migrations)}",
            hint="The next `mde-inventory poll` brings it up to date.",
        )
    for number, statements in enumerate(migrations[version:], start=version + 1):
        with engine.transaction():
            for statement in statements:
                engine.rows(statement)
            engine.rows("DELETE FROM meta WHERE name = 'schema_version'")
            engine.rows("INSERT INTO meta VALUES ('schema_version', $1)", [str(number)])
        engine.checkpoint()


def schema_version(database: Database, path: Path) -> int:
    """The schema version of a file; 0 where it has no tables yet.

    Raises:
        StateCorrupt: a DuckDB file that this connector did not write.
    """
    tables = {row[0] for row in database.rows("SELECT table_name FROM duckdb_tables()")}
    if not tables:
        return 0  # the process that made the file was stopped before its first commit
    rows = database.rows("SELECT value FROM meta WHERE name = 'schema_version'") if "meta" in tables else []
    if not rows or not str(rows[0][0]).isdigit():
        raise StateCorrupt(f"{path} is a DuckDB file, but not a state file", hint="Name another file in state.path.")
    return int(str(rows[0][0]))
