"""Alerts, the newest first: what each is about, which rule decided, and whether it still stands."""

from __future__ import annotations

from typing import Any, Final

from connector.clock import moment_of
from connector.errors import ConfigError
from connector.history.alerts import NEWEST, STANDINGS, WantedAlerts, count, newest
from connector.model import AlertType
from connector.web.query import Query, turn
from connector.web.visits import Facts, Visit

SEVERITIES: Final = ("high", "medium", "low")
RULES: Final = ("status", "date")


def alerts(visit: Visit, query: Query) -> Facts:
    """The newest alerts that the filters admit, and how many stand in which way."""
    wanted = WantedAlerts(
        query.filters().at(visit.now),
        types=_choice(query, "alert_type", AlertType),
        severities=_choice(query, "severity", SEVERITIES),
        rules=_choice(query, "decided_by", RULES),
        standings=_choice(query, "standing", STANDINGS),
    )
    listed = newest(visit.state, wanted, query.rows_max, query.after(NEWEST.kinds))
    return {
        **count(visit.state, wanted),
        "alerts": [alert_row(alert) for alert in listed.rows],
        **turn(listed.end),
        "types": list(AlertType),
        "severities": list(SEVERITIES),
        "rules": list(RULES),
        "standing_names": list(STANDINGS),
    }


def alert_row(alert: dict[str, Any]) -> dict[str, Any]:
    """What a list shows of an alert."""
    names = (
        "alertId", "alertType", "severity", "decidedBy", "deviceId", "deviceName", "rbacGroupName", "softwareVendor",
        "softwareName", "softwareVersion", "previousVersion", "endOfSupportDate", "daysToEndOfSupport",
        "thresholdDays", "reason", "devicesWithVersion", "newToOrganisation", "summarizes",
    )  # fmt: skip
    facts = {name: alert[name] for name in names} | {"observedAt": moment_of(alert["observedAt"])}
    return facts | {"standing": alert["standing"]} if "standing" in alert else facts


def _choice(query: Query, name: str, allowed: Any) -> tuple[str, ...]:  # noqa: ANN401 - words, or an enumeration of them
    """The word of a filter, as it is stored; nothing where none is given.

    Raises:
        ConfigError: it is not allowed.
    """
    text = query.text(name)
    if not text:
        return ()
    known = next((str(word) for word in allowed if str(word).lower() == text.lower()), None)
    if known is None:
        raise ConfigError(f"{name} {text}: no such value", hint=f"Use one of {', '.join(map(str, allowed))}.")
    return (known,)
