"""Who decided about what was held: the table `decisions`, a row for each part of a decision.

A row is written in the transaction of its decision, so that there is none without the other. Rows are kept as long as
the journal. They are in the state file alone: a file that is rebuilt from Kafka has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, Final, NamedTuple

from connector.clock import milliseconds_of, moment_of
from connector.model import Inventory
from connector.state.sql import Database

TEXT_CHARACTERS_MAX: Final = 1_000
"""Of a name or a reason so much is kept."""


class Action(StrEnum):
    """What was decided."""

    APPROVE = "approve"
    DISCARD = "discard"


class Road(StrEnum):
    """How it came."""

    COMMAND_LINE = "command line"
    CONSOLE = "console"


class Signature(NamedTuple):
    """Who decides, why, and by which road."""

    who: str = ""
    why: str = ""
    road: Road = Road.COMMAND_LINE


class DecidedPart(NamedTuple):
    """A part of a decision: what was held of an inventory for one reason, of one field, since one snapshot.

    Attributes:
        is_of_removals: whether it is about removals, and not about held values or additions.
        snapshot_id: of the snapshot that publishes the removals; None where the decision publishes none.
    """

    inventory: Inventory
    reason: str
    field: str | None
    since_snapshot: int
    records: int
    devices: int
    is_of_removals: bool
    snapshot_id: str | None = None


def note(
    database: Database,
    action: Action,
    signature: Signature,
    choice: Mapping[str, Any],
    parts: Iterable[DecidedPart],
    *,
    now: datetime,
) -> None:
    """Write down a decision. One about nothing leaves no row.

    Args:
        database: in the transaction of the decision.
        action: what was decided.
        signature: by whom, and why.
        choice: the filters that were given, by the names of their options.
        parts: what it was about.
        now: when.
    """
    number = database.number("SELECT max(decision_no) FROM decisions") + 1
    for part in parts:
        database.rows(
            """
            INSERT INTO decisions
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                   (SELECT snapshot_id FROM snapshots WHERE snapshot_no = $11), $12, $13, $14
            """,
            [
                number,
                milliseconds_of(now),
                action.value,
                signature.who[:TEXT_CHARACTERS_MAX],
                signature.why[:TEXT_CHARACTERS_MAX],
                signature.road.value,
                json.dumps(choice),
                part.inventory.value,
                part.reason,
                part.field,
                part.since_snapshot,
                part.records,
                part.devices,
                part.snapshot_id,
            ],
        )


def newest(
    database: Database, *, reasons: Sequence[str] = (), inventory: str = "", limit: int | None = None
) -> list[dict[str, Any]]:
    """Decisions as `held list --decided --json` prints them, newest first; filters choose among their parts."""
    rows = database.rows(
        """
        WITH chosen AS (
            SELECT *
            FROM decisions
            WHERE (len($1::VARCHAR[]) = 0 OR reason IN (SELECT unnest($1::VARCHAR[])))
              AND ($2 = '' OR inventory = $2)
        ),
        last AS (
            SELECT DISTINCT decided_at, decision_no
            FROM chosen
            ORDER BY decided_at DESC, decision_no DESC
            LIMIT $3
        )
        SELECT decision_no, decided_at, action, who, why, road, choice,
               inventory, reason, field, since_snapshot_id, records, devices, snapshot_id
        FROM chosen
        SEMI JOIN last USING (decided_at, decision_no)
        ORDER BY decided_at DESC, decision_no DESC, inventory, reason, since_snapshot_id, field
        """,
        [[*reasons], inventory, limit],
    )
    names = ("inventory", "reason", "field", "since_snapshot_id", "records", "devices", "snapshot_id")
    decisions = []
    for (_, decided_at, action, who, why, road, choice), members in groupby(rows, key=lambda row: row[:7]):
        parts = [dict(zip(names, row[7:], strict=True)) for row in members]
        decisions.append(
            {
                "decided_at": moment_of(decided_at).isoformat(timespec="seconds"),
                "action": action,
                "who": who,
                "why": why,
                "road": road,
                "choice": json.loads(choice),
                "records": sum(part["records"] for part in parts),
                "parts": parts,
            }
        )
    return decisions


def has_older(database: Database, *, than: datetime) -> bool:
    """Whether there is a decision from before a time."""
    return database.number("SELECT count(*) FROM decisions WHERE decided_at < $1", [milliseconds_of(than)]) > 0


def retire(database: Database, *, older_than: datetime) -> None:
    """Delete the decisions from before a time."""
    database.rows("DELETE FROM decisions WHERE decided_at < $1", [milliseconds_of(older_than)])
