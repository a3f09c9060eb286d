"""What a poll came to, in words: the lines that `poll` prints for people. Words and numbers never contradict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.errors import RegistryUnavailable, SinkUnavailable
from connector.wording import counted

if TYPE_CHECKING:
    from connector.poll.result import PollResult


def headline(result: PollResult) -> str:
    """The outcome in a word or two; `poll --json` has the outcome itself."""
    match result.outcome:
        case "dry_run":
            return "dry run"
        case "staged" if not result.is_staged:
            return _waiting(result)
        case "published" if result.baseline and not result.counts.baselined:
            return "baseline taken"
        case "published" if not (result.counts.changes or result.counts.alerts):
            return "no changes"
        case outcome:
            return outcome


def kafka_line(result: PollResult) -> str:
    """What the poll published, and what it had published from earlier polls."""
    if result.outcome == "dry_run":
        return "nothing written, nothing published"
    is_whole = result.outcome in {"published", "held"}
    own = [
        (result.published - result.drained, "change"),
        # Alerts ride with their changes; how many of them an outage let through is not counted.
        (result.counts.alerts if is_whole else 0, "alert"),
    ]
    parts = [counted(number, noun) for number, noun in own if number]
    if result.drained:
        parts.append(f"{counted(result.drained, 'change')} of earlier polls")
    if parts:
        return " and ".join(parts) + " published"
    return "nothing published" if result.outage else "nothing to publish"


def waiting_line(result: PollResult) -> str:
    """What is staged and not published after the poll; "" where nothing is."""
    if result.pending:
        whose = " of earlier polls" if result.outcome == "dry_run" else ""
        return f"{counted(result.pending, 'change')}{whose} staged, {_waiting(result)}"
    return f"the report of the snapshot is staged, {_waiting(result)}" if result.outcome == "staged" else ""


def _waiting(result: PollResult) -> str:
    """What whatever is staged waits for."""
    match result.outage:
        case RegistryUnavailable():
            return "waiting for the schema registry"
        case SinkUnavailable() | None:
            return "waiting for Kafka"
        case _:
            return "not published"


def held_line(result: PollResult) -> str:
    """What the guard holds since whichever snapshot; "" where it holds nothing."""
    if not result.holding or result.outcome == "dry_run":
        return ""
    return (
        f"{counted(result.holding, 'record')} held, awaiting review: `mde-inventory held list` shows them,"
        " `mde-inventory held approve` or `held discard` decides"
    )
