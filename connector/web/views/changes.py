"""Past changes, the newest first, and one of them explained."""

from __future__ import annotations

from typing import Any

from connector.clock import moment_of
from connector.history.explain import Setting
from connector.history.explain import explain as explain_event
from connector.history.query import History
from connector.model import ChangeType, Inventory, Reason
from connector.web.query import Query
from connector.web.visits import Facts, Visit


def changes(visit: Visit, query: Query) -> Facts:
    """The newest changes that the filters admit."""
    history = History(visit.state)
    scope = history.narrow(query.filters().at(visit.now))
    rows, more = history.read_newest(scope, query.rows_max)
    return {
        "changes": [change_row(change) for change in reversed(rows)],
        "more": more,
        "limit": query.rows_max,
        "begins": scope.beginning.observed_at if scope.beginning else None,
        "cut": scope.cut,
        "types": [kind.value for kind in ChangeType],
        "reasons": [reason.value for reason in Reason],
        "inventories": [inventory.value for inventory in Inventory],
    }


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
