"""What is held as rows and sentences: all that `status` and tables need, without what decisions about it take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connector.clock import moment_of
from connector.model import Hold
from connector.state.state import StateFile
from connector.wording import counted

TYPES: Final = ("added", "removed", "changed")


def list_held(state: StateFile) -> list[dict[str, Any]]:
    """What `status --json` says is held: a row for each inventory, reason, field and snapshot since which it is."""
    return [as_row(hold) for hold in state.journal.holds()]


def as_row(hold: Hold) -> dict[str, Any]:
    """One of these rows."""
    return {
        "inventory": hold.inventory.value,
        "reason": hold.reason,
        "field": hold.field,
        "records": hold.records,
        "devices": hold.devices,
        "share": round(hold.share, 4),
        "since_snapshot_id": hold.since_snapshot_id,
        "since": moment_of(hold.since).isoformat(timespec="seconds"),
    }


def describe_approval(part: Mapping[str, Any]) -> str:
    """What an approval publishes: `991 REMOVED and 320 alerts`."""
    text = _counts(part["if_approved"])
    if part["if_approved"]["alerts"] is not None:
        return text
    return f"{text}, as the next snapshot has it; alerts are not known yet"


def describe_return(part: Mapping[str, Any]) -> str:
    """What follows when the records, values or keys are as they were again."""
    return f"{_counts(part['if_it_returns'])} after an approval; otherwise nothing"


def _counts(numbers: Mapping[str, int | None]) -> str:
    """`991 REMOVED and 320 alerts`; None is a number that only the next snapshot tells."""
    kinds = {kind.upper(): numbers[kind] for kind in TYPES if numbers[kind] != 0}
    parts = [
        f"an unknown number of {kind}" if number is None else f"{number:,} {kind}" for kind, number in kinds.items()
    ]
    parts += [counted(numbers["alerts"], "alert")] if numbers["alerts"] is not None else []
    return " and ".join(parts)
