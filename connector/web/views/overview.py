"""The overview: is it fresh, does it poll, is something held, what was the last alert; each in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from connector import __version__
from connector.clock import moment_of
from connector.history.directory import count_devices, newest_alerts
from connector.operations.status import read_status
from connector.source.http.tokens import CERTIFICATE_DAYS
from connector.web.query import Query
from connector.web.rendering import age, clip
from connector.web.views.alerts import alert_row
from connector.web.views.held import WHY
from connector.web.visits import Facts, Visit
from connector.wording import counted, words

GOOD, WARN, BAD, NONE = "good", "warn", "bad", "none"
ALERTS_SHOWN: Final = 8
SNAPSHOTS_SHOWN: Final = 40
SNAPSHOT_NAMES: Final = (
    "snapshot_id", "inventory", "baseline", "generated_at", "records", "devices", "added", "removed", "changed",
    "alerts", "held",
)  # fmt: skip


def overview(visit: Visit, _query: Query) -> Facts:
    """State, alerts and the last snapshots."""
    status = read_status(visit.assembly, visit.state, at=visit.now)
    alerts = newest_alerts(visit.state, ALERTS_SHOWN)
    return {
        "tenant_id": status["tenant_id"] or visit.assembly.config.source.tenant_id,
        "version": __version__,
        "lights": list(_lights(visit, status, alerts)),
        "inventory": status["inventory"],
        "devices": count_devices(visit.state),
        "epoch": status["epoch"],
        "last_sequence": status["last_sequence"],
        "published_sequence": status["published_sequence"],
        "pending": status["pending"],
        "held": status["held"],
        "alerts": [alert_row(alert) for alert in alerts],
        "snapshots": [
            snapshot.facts(SNAPSHOT_NAMES) for snapshot in visit.state.journal.recent_snapshots(SNAPSHOTS_SHOWN)
        ],
    }


def _lights(visit: Visit, status: dict[str, Any], alerts: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """A line for each thing that can be well or not, with the reason."""
    limit = age(visit.assembly.stale_after.total_seconds())
    for inventory in visit.assembly.inventories:
        seconds = status["age_seconds"].get(inventory.value)
        if seconds is None:
            yield _light(f"Export {inventory}", NONE, "no snapshot yet; `mde-inventory poll` fetches the first")
        elif inventory.value in status["stale"]:
            yield _light(f"Export {inventory}", BAD, f"stale: {age(seconds)} old, more than the limit of {limit}")
        else:
            yield _light(f"Export {inventory}", GOOD, f"fresh: {age(seconds)} old; it may be {limit} old")
    yield _polls(status, visit.now)
    for hold in status["held"]:
        what = f"{counted(hold['records'], 'record')} on {counted(hold['devices'], 'device')} ({hold['share']:.1%})"
        yield _light("Held", WARN, f"{what}: {WHY[hold['reason']]} ({hold['reason']})", "/held")
    if not status["held"]:
        yield _light("Held", GOOD, "nothing awaits a decision", "/held")
    pending = status["pending"]
    yield _light(
        "Backlog",
        WARN if pending else GOOD,
        f"{counted(pending, 'change')} staged that Kafka has not confirmed; the next poll publishes them"
        if pending
        else "Kafka has confirmed every change",
    )
    yield from _notes(status, visit.now)
    if alerts:
        last = alerts[0]
        ago = age((visit.now - moment_of(last["observedAt"])).total_seconds())
        name = clip(last["softwareName"] or "(no name)", 64)
        yield _light(
            "Last alert", NONE, f"{words(last['alertType'])}, {last['severity']}, {ago} ago: {name}", "/alerts"
        )
    else:
        yield _light("Last alert", NONE, "none so far", "/alerts")


def _polls(status: dict[str, Any], now: datetime) -> dict[str, str]:
    """How the last poll that found a new generation went."""
    if not status["snapshots"]:
        return _light("Polls", NONE, "none has staged a snapshot yet", "/polls")
    last = status["snapshots"][0]
    ago = age((now - datetime.fromisoformat(last["staged_at"])).total_seconds())
    rejected = f", {counted(last['rejected'], 'line')} could not be read" if last["rejected"] else ""
    text = f"{ago} ago {last['snapshot_id']}: {last['added']:,} added, {last['removed']:,} removed,"
    return _light("Polls", WARN if rejected else GOOD, f"{text} {last['changed']:,} changed{rejected}", "/polls")


def _notes(status: dict[str, Any], now: datetime) -> Iterator[dict[str, str]]:
    """What is said only where there is something to say."""
    for inventory, fields in status["unreadable"].items():
        text = f"values of {', '.join(sorted(fields))} could not be read, and are null"
        yield _light(f"Values {inventory}", WARN, text)
    if status["certificate_ends"]:
        days = (datetime.fromisoformat(status["certificate_ends"]) - now).days
        state = GOOD if days > CERTIFICATE_DAYS else WARN if days >= 0 else BAD
        yield _light("Certificate", state, f"ends in {counted(days, 'day')}" if days >= 0 else "has ended")


def _light(name: str, state: str, text: str, page: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "text": text, "page": page}
