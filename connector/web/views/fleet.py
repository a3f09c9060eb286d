"""Devices and products: lists of them, and a page for each."""

from __future__ import annotations

from typing import Any, Final

from connector.errors import ConfigError
from connector.history.directory import DEVICES, HOLDERS, PRODUCTS, find_devices, find_products, newest_alerts, who_has
from connector.history.filters import Selection, parse_time
from connector.history.fleet import newcomers, prevalence
from connector.history.past import Past
from connector.history.query import History
from connector.state.lists.paging import NUMBER, TEXT, Place, cut
from connector.web.query import Query, turn
from connector.web.views.alerts import alert_row
from connector.web.views.changes import change_row, newest_changes
from connector.web.visits import Facts, Visit

SOFTWARE_MAX: Final = 2_000
ALERTS_MAX: Final = 50
DAYS: Final = 30
NEWCOMERS: Final = (NUMBER, TEXT, TEXT, TEXT)
"""The kinds of a new version's place: devices, vendor, name and version."""


def devices(visit: Visit, query: Query) -> Facts:
    """Devices that match a text, those with most software out of support first."""
    after = query.after(DEVICES.kinds)
    listed = find_devices(visit.state, query.text("q"), visit.now.date(), query.rows_max, after)
    return {"devices": listed.rows} | turn(listed.end)


def products(visit: Visit, query: Query) -> Facts:
    """Products that match a text, those on most devices first."""
    after = query.after(PRODUCTS.kinds)
    listed = find_products(visit.state, query.text("q"), visit.now.date(), query.rows_max, after)
    return {"products": listed.rows} | turn(listed.end)


def device(visit: Visit, query: Query) -> Facts:
    """A device: its software on a day, what happened to it, its alerts."""
    device_id = query.exact("id")
    if not device_id:
        raise ConfigError("id: names no device", hint="Search for it on the page of devices.")
    selection = Selection(devices=(device_id,))
    past, at = Past(visit.state), query.time("at", visit.now)
    snapshots = past.at(at) if past.coverages else []
    software = [
        record
        for snapshot in snapshots
        for block in past.records(snapshot, selection)
        for record in block
        if record["deviceId"] == device_id
    ]
    history = History(visit.state)
    changes, end = newest_changes(history, history.narrow(selection), query)
    # A name is a pattern that matches the names of others too.
    timeline = [change_row(change) for change in changes if change["deviceId"] == device_id]
    facts = ("deviceName", "osPlatform", "rbacGroupName")
    shown = next(iter([*software[:1], *timeline[:1]]), dict[str, Any]())
    return {
        "deviceId": device_id,
        **{name: shown.get(name) for name in facts},
        "at": at if query.text("at") else None,
        "as_of": [snapshot.snapshot_id for snapshot in snapshots],
        "known_since": min((coverage.oldest.observed_at for coverage in past.coverages), default=None),
        "records": len(software),
        "out_of_support": sum(record["isEndOfSupport"] for record in software),
        "software": sorted(software[:SOFTWARE_MAX], key=lambda record: not record["isEndOfSupport"]),
        "timeline": timeline,
        **turn(end),
        "alerts": [alert_row(alert) for alert in newest_alerts(visit.state, ALERTS_MAX, device_id)],
    }


def product(visit: Visit, query: Query) -> Facts:
    """A product: its versions on devices over time, and who has it."""
    vendor, name = query.exact("vendor"), query.exact("name")
    if not (vendor or name):
        raise ConfigError("name: names no product", hint="Search for it on the page of products.")
    counted = [
        row
        for row in prevalence(visit.state, Selection(software=((vendor or "*", name or "*"),)))
        if (row["softwareVendor"] or "", row["softwareName"] or "") == (vendor, name)
    ]
    days = sorted({row["day"] for row in counted})
    after = query.after(HOLDERS.kinds)
    number, holders = who_has(visit.state, vendor, name, visit.now.date(), query.rows_max, after)
    versions: dict[str, dict[str, Any]] = {}
    for row in counted:
        version = row["softwareVersion"] or "(no version)"
        kept = versions.setdefault(version, {"version": version, "firstDay": row["day"], "devices": 0, "most": 0})
        kept["lastDay"] = row["day"]
        kept["most"] = max(kept["most"], row["devices"])
        kept["devices"] = row["devices"] if row["day"] == days[-1] else 0
    return {
        "softwareVendor": vendor,
        "softwareName": name,
        "devices": number,
        "versions": sorted(versions.values(), key=lambda row: (-row["devices"], -row["most"], row["version"])),
        "days": days,
        "prevalence": [
            {"day": row["day"], "version": row["softwareVersion"] or "(no version)", "devices": row["devices"]}
            for row in counted
        ],
        "holders": holders.rows,
    } | turn(holders.end)


def new(visit: Visit, query: Query) -> Facts:
    """What the organisation first had lately, the rarest first."""
    since = query.text("since") or f"{DAYS}d"
    rows = newcomers(visit.state, parse_time(since, visit.now, option="since"))
    listed = cut(rows, _place_of_newcomer, query.rows_max, query.after(NEWCOMERS))
    return {
        "since": since,
        "newcomers": listed.rows,
        "number": len(rows),
        "products": sum(row["isNewProduct"] for row in rows),
    } | turn(listed.end)


def _place_of_newcomer(row: dict[str, Any]) -> Place:
    return row["devices"], row["softwareVendor"], row["softwareName"], row["softwareVersion"]
