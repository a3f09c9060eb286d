"""The pages by address: what each says, and where it stands in the menu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from connector.web.query import Query
from connector.web.views.alerts import alerts
from connector.web.views.changes import changes, explain
from connector.web.views.exposure import exposure
from connector.web.views.feed import configuration, delivery
from connector.web.views.fleet import device, devices, new, product, products
from connector.web.views.held import held, held_tried
from connector.web.views.overview import overview
from connector.web.views.past import compare, polls
from connector.web.visits import Facts, Visit


class Page(NamedTuple):
    """A page.

    Attributes:
        title: its heading.
        view: what it says.
        menu: its name in the menu; "" where it is not there.
        within: the page of the menu that it belongs to, where it is not there itself.
        trial: what it says where there is time to try in a copy of the state what follows from a decision.
    """

    title: str
    view: Callable[[Visit, Query], Facts]
    menu: str = ""
    within: str = ""
    trial: Callable[[Visit, Query], Facts] | None = None


HELD: Final = "/held"
"""The page of what is held, and the address that decisions are posted to."""

PAGES: Final = {
    "/overview": Page("Overview", overview, "Overview"),
    "/devices": Page("Devices", devices, "Devices"),
    "/device": Page("Device", device, within="/devices"),
    "/products": Page("Products", products, "Products"),
    "/product": Page("Product", product, within="/products"),
    "/changes": Page("Changes", changes, "Changes"),
    "/explain": Page("A change explained", explain, within="/changes"),
    "/alerts": Page("Alerts", alerts, "Alerts"),
    "/exposure": Page("End-of-support exposure", exposure, "Exposure"),
    "/new": Page("New in the organisation", new, "New"),
    "/compare": Page("Compare two days", compare, "Compare"),
    HELD: Page("Held", held, "Held", trial=held_tried),
    "/polls": Page("Polls", polls, "Polls"),
    "/delivery": Page("Delivery", delivery, "Delivery"),
    "/configuration": Page("Configuration", configuration, "Configuration"),
}
HOME: Final = "/overview"
