"""Keys that look alike: equal but for case, blanks (a no-break space, a trailing one) and Unicode form (NFC, NFD).

Keys are exact, so a record whose key is written in another way is REMOVED and ADDED. Such pairs are counted in any
case. With `diff.fold_lookalikes` the record continues the stored one, whose spelling stays. Where a snapshot has both
spellings at once, they are two records: only what is absent can be continued.

Only what is new and what is absent is looked at, and nothing at all where one of the two is empty.
"""

from __future__ import annotations

from typing import Final

from connector.diff.tables import Relation, Workspace
from connector.exports.fields import Export
from connector.state.sql import literal, without_odd_blanks

_NONE: Final = """
    SELECT NULL::INTEGER AS device_no,
           NULL::INTEGER AS software_no,
           NULL::BIGINT AS previous_row,
           NULL::INTEGER AS stored_device_no,
           NULL::INTEGER AS stored_software_no
    WHERE false
"""


def pair_lookalikes(workspace: Workspace, arrivals: Relation, absent: Relation) -> tuple[Relation, int]:
    """New records, each with the absent one whose key looks like its own: of several, the first by their keys.

    Returns (device_no, software_no, previous_row, stored_device_no, stored_software_no), and the number of pairs.
    """
    export, alike = workspace.export, _columns(workspace.export)
    new = f"{arrivals} WHERE previous_row IS NULL"
    if not (workspace.count(absent) and workspace.count(new)):
        return workspace.make("lookalikes", _NONE), 0
    pairs = workspace.make(
        "lookalikes",
        f"""
        WITH new AS (
            SELECT device_no, software_no, {_folded(export)}, {_place(export)} AS place
            FROM {new}
        ),
        gone AS (
            SELECT previous_row, device_no, software_no, {_folded(export)}, {_place(export)} AS place
            FROM {absent}
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
        )
        SELECT new.device_no,
               new.software_no,
               gone.previous_row,
               gone.device_no AS stored_device_no,
               gone.software_no AS stored_software_no
        FROM new
        JOIN gone USING ({alike}, place)
        """,
    )
    return pairs, workspace.count(pairs)


def continue_stored(workspace: Workspace, arrivals: Relation, absent: Relation, pairs: Relation) -> None:
    """Let new records continue the absent ones that look like them: their keys become the stored ones.

    Where a device's own id was written in another way, what is new on it is new on the stored device.
    """
    database = workspace.database
    _rename(workspace, arrivals, pairs)
    database.rows(f"DELETE FROM {absent} WHERE previous_row IN (SELECT previous_row FROM {pairs})")
    further = workspace.make(
        "lookalikes_further",
        f"""
        WITH renamed AS (
            SELECT device_no, arg_min(stored_device_no, device_id) AS stored_device_no
            FROM {pairs}
            JOIN (SELECT device_no AS stored_device_no, device_id FROM devices) USING (stored_device_no)
            WHERE device_no <> stored_device_no
            GROUP BY device_no
        ),
        taken AS (
            SELECT device_no AS stored_device_no, software_no
            FROM inventory
            WHERE inventory = {literal(workspace.inventory)}
            UNION ALL
            SELECT device_no, software_no
            FROM {arrivals}
        )
        SELECT a.device_no,
               a.software_no,
               NULL::BIGINT AS previous_row,
               stored_device_no,
               a.software_no AS stored_software_no
        FROM {arrivals} a
        JOIN renamed USING (device_no)
        ANTI JOIN taken USING (stored_device_no, software_no)
        WHERE a.previous_row IS NULL
        QUALIFY row_number() OVER (PARTITION BY stored_device_no, a.software_no ORDER BY a.device_id) = 1
        """,
    )
    _rename(workspace, arrivals, further)


def _rename(workspace: Workspace, arrivals: Relation, names: Relation) -> None:
    """Give the new records in `names` their stored row and its key."""
    export = workspace.export
    subject = ", ".join(f"{field.column} = s.{field.column}" for field in export.subject)
    workspace.database.rows(
        f"""
        UPDATE {arrivals}
        SET previous_row = n.previous_row,
            device_no = n.stored_device_no,
            software_no = n.stored_software_no,
            device_id = d.device_id,
            {subject}
        FROM {names} n
        JOIN devices d ON d.device_no = n.stored_device_no
        JOIN software s ON s.software_no = n.stored_software_no
        WHERE {arrivals}.previous_row IS NULL
          AND {arrivals}.device_no = n.device_no
          AND {arrivals}.software_no = n.software_no
        """
    )


def _columns(export: Export) -> str:
    return ", ".join(f"alike_{number}" for number, _ in enumerate(export.keys))


def _folded(export: Export) -> str:
    """The parts of a key without what nobody sees."""
    return ", ".join(
        f"lower(nfc_normalize({without_odd_blanks(field.column)})) AS alike_{number}"
        for number, field in enumerate(export.keys)
    )


def _place(export: Export) -> str:
    """The place of a record among those that look like it."""
    return f"row_number() OVER (PARTITION BY {_columns(export)} ORDER BY {export.key_columns})"
