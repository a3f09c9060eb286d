"""Keys: every device and every subject has a number, so that keys are compared exactly, as two integers."""

from __future__ import annotations

from connector.exports.fields import Export
from connector.state.sql import Database


def number_keys(database: Database, export: Export, records: str) -> None:
    """Give numbers to the devices and subjects of `records` (a SELECT with the key's columns) that have none."""
    subject = export.subject_columns
    database.rows(
        f"""
        CREATE OR REPLACE TEMP TABLE newcomers AS
        SELECT {export.key_columns}, grouping(device_id) AS is_software
        FROM ({records})
        GROUP BY GROUPING SETS ((device_id), ({subject}))
        """
    )
    database.rows(
        """
        INSERT INTO devices
        SELECT (SELECT coalesce(max(device_no), 0) FROM devices) + row_number() OVER (ORDER BY device_id), device_id
        FROM newcomers
        ANTI JOIN devices USING (device_id)
        WHERE is_software = 0
        """
    )
    database.rows(
        f"""
        INSERT INTO software
        SELECT (SELECT coalesce(max(software_no), 0) FROM software) + row_number() OVER (ORDER BY {subject}), {subject}
        FROM newcomers
        ANTI JOIN software USING ({subject})
        WHERE is_software = 1
        """
    )
    database.rows("DROP TABLE newcomers")


def same_subject(export: Export, left: str, right: str) -> str:
    """Whether two aliases are about the same subject."""
    return " AND ".join(f"{left}.{field.column} = {right}.{field.column}" for field in export.subject)
