"""Past changes, the newest first, and one of them explained."""

from __future__ import annotations

from typing import Any, Final

from connector.clock import moment_of
from connector.history.explain import Setting
from connector.history.explain import explain as explain_event
from connector.history.query import History, JournalCursor, Scope
from connector.model import ChangeType, Inventory, Reason
from connector.state.lists.paging import NUMBER, Place
from connector.web.query import Query, turn
from connector.web.visits import Facts, Visit

JOURNAL: Final = (NUMBER, NUMBER)
"""The kinds of a change's place: epoch and sequence."""


def changes(visit: Visit, query: Query) -> Facts:
    """The newest changes that the filters admit."""
    history = History(visit.state)
    scope = history.narrow(query.filters().at(visit.now))
    rows, end = newest_changes(history, scope, query)
    return {
        "changes": [change_row(change) for change in rows],
        **turn(end),
        "limit": query.rows_max,
        "begins": scope.beginning.observed_at if scope.beginning else None,
        "cut": scope.cut,
        "types": [kind.value for kind in ChangeType],
        "reasons": [reason.value for reason in Reason],
        "inventories": [inventory.value for inventory in Inventory],
    }


def newest_changes(history: History, scope: Scope, query: Query) -> tuple[list[dict[str, Any]], Place | None]:
    """A page of changes, the newest first; and where it ends, unless it is the last."""
    after = query.after(JOURNAL)
    before = JournalCursor(int(after[0] or 0), int(after[1] or 0)) if after else None
    rows, _ = history.read_newest(scope, query.rows_max + 1, before)
    shown = rows[::-1][: query.rows_max]
    return shown, (shown[-1]["epoch"], shown[-1]["sequence"]) if len(rows) > query.rows_max else None


def explain(visit: Visit, query: Query) -> Facts:
    """One change or alert: both records, the rule, its snapshot, and whether Kafka has it."""
    if not query.text("id"):
        return {"explained": None}
    state = visit.assembly.config.state
    setting = Setting(state.rejected_path, state.journal_retention_days)
    return {"explained": explain_event(visit.state, query.text("id"), setting)}


def change_row(change: dict[str, Any]) -> dict[str, Any]:
    """What a list shows of a change."""
    names = (
        "eventId", "changeType", "reason", "changedFields", "isEndOfSupport", "deviceId", "deviceName",
        "rbacGroupName", "softwareVendor", "softwareName", "softwareVersion", "numberOfWeaknesses", "inventory",
        "snapshotId",
    )  # fmt: skip
    before = change["before"]
    return (
        {name: change[name] for name in names}
        | {"observedAt": moment_of(change["observedAt"])}
        | {"previousVersion": before["softwareVersion"] if before else None}
    )
