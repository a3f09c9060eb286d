"""The pages by address: what each says, and where it stands in the menu."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NamedTuple

from connector.web import rendering
from connector.web.query import Query
from connector.web.views.alerts import alerts
from connector.web.views.campaigns import campaigns
from connector.web.views.changes import changes, explain
from connector.web.views.exposure import exposure
from connector.web.views.feed import configuration, delivery
from connector.web.views.fleet import device, devices, new, product, products
from connector.web.views.held import held, held_tried
from connector.web.views.overview import overview
from connector.web.views.past import compare, inventory, polls
from connector.web.visits import Answer, Facts, Visit, Visits, VisitTooLong


class Page(NamedTuple):
    """A page.

    Attributes:
        title: its heading.
        view: what it says.
        menu: its name in the menu; "" where it is not there.
        within: the page of the menu that it belongs to, where it is not there itself.
        trial: what it says where there is time to try in a copy of the state what follows from a decision.
        parameters: what its address may ask for; `openapi` has them in words.
        answers: what its JSON has: a word for a value, or the names that each object of a list has.
        listed: which list of the answer is walked page by page: it answers `next`, and takes that as `after`.
    """

    title: str
    view: Callable[[Visit, Query], Facts]
    menu: str = ""
    within: str = ""
    trial: Callable[[Visit, Query], Facts] | None = None
    parameters: tuple[str, ...] = ()
    answers: Mapping[str, str | tuple[str, ...]] = MappingProxyType({})
    listed: str = ""


HELD: Final = "/held"
"""The page of what is held, and the address that decisions are posted to."""

SUBJECT: Final = ("softwareVendor", "softwareName", "softwareVersion")
DEVICE: Final = ("deviceId", "deviceName", "rbacGroupName")
COUNTS: Final = ("snapshot_id", "inventory", "generated_at", "added", "removed", "changed")
ALERTS: Final = ("alertId", "alertType", "severity", "decidedBy", *DEVICE, *SUBJECT, "endOfSupportDate", "observedAt")
CHANGES: Final = ("eventId", "changeType", "reason", *DEVICE, *SUBJECT, "previousVersion", "observedAt")
OF_CHANGES: Final = (
    "since",
    "until",
    "device",
    "software",
    "type",
    "reason",
    "end_of_support",
    "snapshot",
    "inventory",
)
OF_RECORDS: Final = ("device", "software", "group")

TURN: Final = {"more": "flag", "next": "text or null"}
"""What the answer of a list has that is walked page by page."""


def _complete(page: Page) -> Page:
    """A page with what all lists take and answer that are walked page by page."""
    if not page.listed:
        return page
    return page._replace(parameters=(*page.parameters, "after"), answers={**page.answers, **TURN})


_PAGES: Final = {
    "/overview": Page(
        "Overview",
        overview,
        "Overview",
        parameters=(),
        answers={
            "tenant_id": "text",
            "version": "text",
            "lights": ("name", "state", "text", "page"),
            "inventory": "number",
            "devices": "number",
            "epoch": "number",
            "last_sequence": "number",
            "published_sequence": "number",
            "pending": "number",
            "held": ("reason", "inventory", "records"),
            "alerts": ALERTS,
            "snapshots": (*COUNTS, "baseline", "records", "devices", "alerts", "held"),
        },
    ),
    "/devices": Page(
        "Devices",
        devices,
        "Devices",
        listed="devices",
        parameters=("q", "limit"),
        answers={
            "devices": ("deviceId", "deviceName", "osPlatform", "rbacGroupName", "records", "outOfSupport"),
        },
    ),
    "/device": Page(
        "Device",
        device,
        within="/devices",
        listed="timeline",
        parameters=("id", "at", "limit"),
        answers={
            "deviceId": "text",
            "deviceName": "text or null",
            "osPlatform": "text or null",
            "rbacGroupName": "text or null",
            "at": "time or null",
            "as_of": "texts",
            "known_since": "time or null",
            "records": "number",
            "out_of_support": "number",
            "software": (*DEVICE, *SUBJECT, "isEndOfSupport"),
            "timeline": CHANGES,
            "alerts": ALERTS,
        },
    ),
    "/products": Page(
        "Products",
        products,
        "Products",
        listed="products",
        parameters=("q", "limit"),
        answers={
            "products": ("softwareVendor", "softwareName", "versions", "devices", "outOfSupport"),
        },
    ),
    "/product": Page(
        "Product",
        product,
        within="/products",
        listed="holders",
        parameters=("vendor", "name", "limit"),
        answers={
            "softwareVendor": "text",
            "softwareName": "text",
            "devices": "number",
            "versions": ("version", "firstDay", "lastDay", "devices", "most"),
            "days": "texts",
            "prevalence": ("day", "version", "devices"),
            "holders": (*DEVICE, "softwareVersion", "isEndOfSupport"),
        },
    ),
    "/inventory": Page(
        "Inventory",
        inventory,
        "Inventory",
        listed="records",
        parameters=("at", *OF_RECORDS, "end_of_support", "inventory", "limit"),
        answers={
            "at": "time or null",
            "as_of": "texts",
            "known_since": "time or null",
            "records": (
                "inventory",
                *DEVICE,
                *SUBJECT,
                "numberOfWeaknesses",
                "endOfSupportStatus",
                "endOfSupportDate",
                "isEndOfSupport",
            ),
            "inventories": "texts",
        },
    ),
    "/changes": Page(
        "Changes",
        changes,
        "Changes",
        listed="changes",
        parameters=(*OF_CHANGES, "limit"),
        answers={
            "changes": CHANGES,
            "limit": "number",
            "begins": "time or null",
            "cut": "flag",
            "types": "texts",
            "reasons": "texts",
            "inventories": "texts",
        },
    ),
    "/explain": Page(
        "A change explained",
        explain,
        within="/changes",
        parameters=("id",),
        answers={"explained": "object or null"},
    ),
    "/campaigns": Page(
        "Campaigns",
        campaigns,
        "Campaigns",
        listed="campaigns",
        parameters=(
            "software",
            "group",
            "device",
            "type",
            "reason",
            "since",
            "until",
            "snapshot",
            "min_devices",
            "limit",
        ),
        answers={
            "snapshots": "texts",
            "campaigns": ("snapshot_id", "changeType", "reason", *SUBJECT, "previousVersion", "devices", "changes"),
            "in_none": "number",
            "devices_min": "number",
            "types": "texts",
            "reasons": "texts",
        },
    ),
    "/alerts": Page(
        "Alerts",
        alerts,
        "Alerts",
        listed="alerts",
        parameters=(
            *OF_RECORDS,
            "since",
            "until",
            "alert_type",
            "severity",
            "decided_by",
            "standing",
            "limit",
        ),
        answers={
            "alerts": (*ALERTS, "standing"),
            "standings": "numbers by name",
            "openDevices": "number",
            "counts": ("standing", "alertType", "severity", "alerts"),
            "types": "texts",
            "severities": "texts",
            "rules": "texts",
            "standing_names": "texts",
        },
    ),
    "/exposure": Page(
        "End-of-support exposure",
        exposure,
        "Exposure",
        listed="intervals",
        parameters=(*OF_RECORDS, "inventory", "older_than", "all", "limit"),
        answers={
            "folded": "flag",
            "weight": "number",
            "open": "number",
            "openDevices": "number",
            "longestSeconds": "number or null",
            "intervals": (*DEVICE, *SUBJECT, "since", "until", "ended", "seconds"),
            "byProduct": ("softwareVendor", "softwareName", "open", "fixed", "medianSecondsToFix"),
            "byGroup": ("rbacGroupName", "open", "fixed", "medianSecondsToFix"),
            "byWeek": ("week", "began", "fixed"),
            "begins": "times by name",
            "all": "flag",
            "today": "text",
            "endingDays": "number",
            "ending": ("day", "records", "devices", "products"),
            "endingVersions": ("day", *SUBJECT, "records", "devices"),
        },
    ),
    "/new": Page(
        "New in the organisation",
        new,
        "New",
        listed="newcomers",
        parameters=("since", "limit"),
        answers={
            "since": "text",
            "newcomers": (*SUBJECT, "firstSeenAt", "isNewProduct", "devices", "sample"),
            "number": "number",
            "products": "number",
        },
    ),
    "/compare": Page(
        "Compare two days",
        compare,
        "Compare",
        listed="differences",
        parameters=("from", "to", *OF_RECORDS, "inventory", "limit"),
        answers={
            "known_since": "time or null",
            "pairs": ("from", "to"),
            "left_out": "texts",
            "differences": "list or null",
        },
    ),
    HELD: Page(
        "Held",
        held,
        "Held",
        trial=held_tried,
        parameters=(),
        answers={"held": ("reason", "inventory", "records", "devices", "why", "options"), "decided": "list"},
    ),
    "/polls": Page(
        "Polls",
        polls,
        "Polls",
        listed="snapshots",
        parameters=("limit",),
        answers={
            "snapshots": (*COUNTS, "baseline", "records", "devices", "rejected", "hold_reason", "seconds", "sealed"),
            "groups": ("inventory", "rbacGroupName", "devices", "records"),
            "rejected": ("snapshot_id", "reason", "lines"),
        },
    ),
    "/delivery": Page(
        "Delivery",
        delivery,
        "Delivery",
        listed="snapshots",
        parameters=("limit",),
        answers={
            "topics": ("topic", "carries", "published", "turned_on_by"),
            "value_format": "text",
            "delivery": "text",
            "transactional_id": "text",
            "epoch": "number",
            "last_sequence": "number",
            "published_sequence": "number",
            "published_at": "time or null",
            "pending": "number",
            "waiting": COUNTS,
            "inventory_topic": "object or null",
            "snapshots": (*COUNTS, "sealed", "confirmed_at", "seconds"),
        },
    ),
    "/configuration": Page(
        "Configuration",
        configuration,
        "Configuration",
        parameters=(),
        answers={"settings": ("key", "value", "source"), "checks": ("name", "fine", "text", "hint")},
    ),
}
PAGES: Final = {path: _complete(page) for path, page in _PAGES.items()}
HOME: Final = "/overview"


def read_page(visits: Visits, path: str, page: Page, query: Query) -> Answer:
    """What the page of a path says; where there is no time to try what follows, without that.

    Raises as `Visits.answer`.
    """
    address, trial = rendering.address(path, **dict(sorted(query.values.items()))), page.trial
    if trial is not None:
        with suppress(VisitTooLong):
            return visits.answer(address, lambda visit: trial(visit, query), scratch=True)
    return visits.answer(address, lambda visit: page.view(visit, query))
