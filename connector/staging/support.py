"""What a record says of its support, as SQL; and what it said last, where it says nothing now.

A status is compared without regard to case and to blanks around it or repeated in it. What a record says is the first
of these that holds:

    status      its status is one of those out of support
    date        its date has come, whatever the status
    upcoming    its status is Upcoming
    supported   its status is the word None

A record whose status is null or unknown, and whose date has not come, says nothing: that is evidence of neither. What
such a record said before is remembered until it says something again, changes its version, or is removed; but a date
that had come and is moved to a later day says that support goes on.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from connector.diff.tables import Outcome, Relation, Workspace
from connector.exports.software import END_OF_SUPPORT_STATUSES, SUPPORTED_STATUSES, UPCOMING_STATUSES
from connector.state.sql import literal, without_odd_blanks

KNOWN_STATUSES: Final = (*SUPPORTED_STATUSES, *END_OF_SUPPORT_STATUSES, *UPCOMING_STATUSES)
PLAUSIBLE_FROM: Final = "1980-01-02"
"""Before it lie the zeros of .NET, SQL Server, Windows, Unix and DOS: the years 1, 1601, 1753, 1900, 1970 and 1980."""
PLAUSIBLE_UNTIL: Final = "9999"
"""The last year there is stands for no end, in whichever time zone it was written."""
ENDED: Final = "('status', 'date')"
"""What a record says that is out of support, as a SQL list."""


def has_ended(status: str) -> str:
    """An expression: whether a status says that a record is out of support; never NULL."""
    return f"coalesce({_is_of(status, END_OF_SUPPORT_STATUSES)}, false)"


def is_known(status: str) -> str:
    """An expression: whether a status is one that is known; NULL where it is NULL."""
    return _is_of(status, KNOWN_STATUSES)


def says(folded_status: str, readable_date: str, day: date) -> str:
    """An expression: what a record says on a day, as the module describes it; NULL where it says nothing.

    It names both more than once, so they should be columns that hold `folded` and `readable`.
    """
    return (
        f"CASE WHEN {folded_status} IN {_folded_list(END_OF_SUPPORT_STATUSES)} THEN 'status'"
        f" WHEN {readable_date} <= {literal(str(day))} THEN 'date'"
        f" WHEN {folded_status} IN {_folded_list(UPCOMING_STATUSES)} THEN 'upcoming'"
        f" WHEN {folded_status} IN {_folded_list(SUPPORTED_STATUSES)} THEN 'supported' END"
    )


def stays(said_before: str, readable_date: str) -> str:
    """An expression: whether what a record said before still holds, where it says nothing now and has this date."""
    return f"NOT ({said_before} = 'date' AND {readable_date} IS NOT NULL)"


def folded(status: str) -> str:
    """An expression: a status in lower case, without blanks around it or repeated in it."""
    known = ", ".join(literal(status) for status in KNOWN_STATUSES)
    # The usual spellings take the cheap branch.
    return f"CASE WHEN {status} IN ({known}) THEN lower({status}) ELSE lower({without_odd_blanks(status)}) END"


def is_plausible(time: str) -> str:
    """An expression: whether a date or time in normal form is no placeholder, as systems write where they have none."""
    return f"({time} >= {literal(PLAUSIBLE_FROM)} AND {time} < {literal(PLAUSIBLE_UNTIL)})"


def readable(ends: str) -> str:
    """An expression: a date as text, NULL where it is none or a placeholder. It is stored as it came all the same."""
    return (
        f"CASE WHEN {ends} SIMILAR TO '\\d{{4}}-\\d\\d-\\d\\d' AND {is_plausible(ends)}"
        f" AND try_cast({ends} AS DATE) IS NOT NULL THEN {ends} END"
    )


def last_said(workspace: Workspace) -> Relation:
    """What is remembered of an inventory: rows of the key columns and `said`."""
    return workspace.make(
        "remembered",
        f"""
        SELECT {workspace.export.key_columns}, said
        FROM last_said
        JOIN devices USING (device_no)
        JOIN software USING (software_no)
        WHERE inventory = {literal(workspace.inventory)}
        """,
    )


def remember(workspace: Workspace, outcome: Outcome, day: date) -> None:
    """Remember what changed records said before, where they say nothing now; forget what speaks again or goes.

    To be called before the inventory is written.
    """
    database, inventory, difference = workspace.database, literal(workspace.inventory), outcome.difference
    silent = _find_silent(workspace, outcome, day)
    if workspace.count("last_said"):
        database.rows(
            f"""
            WITH gone AS (
                SELECT device_no, software_no
                FROM {difference.earlier}
                SEMI JOIN ({outcome.leaving}) USING (previous_row)
            )
            DELETE FROM last_said
            WHERE inventory = {inventory} AND (device_no, software_no) IN (SELECT (device_no, software_no) FROM gone)
            """
        )
    database.rows(f"INSERT INTO last_said SELECT {inventory}, device_no, software_no, said FROM {silent}")


def same_record(workspace: Workspace, changes: str, remembered: str) -> str:
    """A condition: a row of `changes` is about the record, as it was before, that a row of `last_said` is about."""
    export = workspace.export
    same = [f"{remembered}.{field.column} = {changes}.{field.column}" for field in (export.keys[0], *export.product)]
    if (version := export.version_column) is not None:
        same.append(f"{remembered}.{version} = coalesce({changes}.before.{export.version}, {changes}.{version})")
    return " AND ".join(same)


def _find_silent(workspace: Workspace, outcome: Outcome, day: date) -> Relation:
    """The changed records that say nothing now and did before: numbers of device and software, and `said`."""
    inventory, difference = literal(workspace.inventory), outcome.difference
    status, ends = (workspace.export.column(name) for name in ("endOfSupportStatus", "endOfSupportDate"))
    return workspace.make(
        "silent",
        f"""
        WITH now AS (
            SELECT previous_row, device_no, software_no, {folded(status)} AS status, {readable(ends)} AS ends
            FROM {difference.arrivals}
            WHERE previous_row IS NOT NULL
        ),
        now_silent AS (
            SELECT *
            FROM now
            WHERE {says("status", "ends", day)} IS NULL
        ),
        earlier AS (
            SELECT previous_row, {folded(status)} AS status, {readable(ends)} AS ends
            FROM {difference.earlier}
        ),
        before AS (
            SELECT previous_row, {says("status", "ends", day)} AS said
            FROM earlier
        ),
        remembered AS (
            SELECT device_no, software_no, said
            FROM last_said
            WHERE inventory = {inventory}
        ),
        silent AS (
            SELECT n.device_no, n.software_no, n.ends, coalesce(b.said, r.said) AS said
            FROM now_silent n
            JOIN before b USING (previous_row)
            LEFT JOIN remembered r ON r.device_no = n.device_no AND r.software_no = n.software_no
        )
        SELECT device_no, software_no, said
        FROM silent
        WHERE said <> 'supported' AND {stays("said", "ends")}
        """,
    )


def _is_of(status: str, statuses: tuple[str, ...]) -> str:
    return f"(({folded(status)}) IN {_folded_list(statuses)})"


def _folded_list(statuses: tuple[str, ...]) -> str:
    return f"({', '.join(literal(status.lower()) for status in statuses)})"
