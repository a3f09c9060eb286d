"""Screenshots of the console's main pages in both themes, over a simulated fleet after some weeks of polls."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from connector import config
from connector.assembly import Assembly
from connector.cli.demo import PREFIX, START
from connector.config import ConsoleConfig
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from connector.simulator.faults import Endpoint, Fault, FaultKind
from connector.web import Console
from connector.web.visits import Visits
from tests.support.browser import THEMES, Visitor, chromium, visitor
from tests.support.console import Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DEVICES: Final = 90
GENERATIONS: Final = 18
INTERVAL: Final = timedelta(days=3)
SIZE: Final = (1280, 900)
QUALITY: Final = 82
"""Of WebP: text stays sharp, and a picture takes some tens of kilobytes."""


@contextmanager
def fleet_console() -> Iterator[Console]:
    """A console over a fleet after some weeks of polls, of which the last one lost a device group."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="mde-inventory-pictures-")))
        cluster = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic]))
        fleet = Fleet(seed=7, devices=DEVICES, start=START, churn=2.0, interval=INTERVAL)
        simulator = stack.enter_context(Simulator(fleet))
        tables = {
            "source": simulator.settings(),
            "state": {"path": str(folder / "state.duckdb"), "memory_limit_mib": 512},
            "alerts": {"on_baseline": True},
            "guard": {"missing_device_snapshots": 2},
            "kafka": {"topic_prefix": PREFIX, "client": {"bootstrap.servers": cluster.bootstrap_servers}},
            "schema_registry": {"url": "mock://pictures", "auto_register": True},
        }
        checked = config.from_values(tables, {}, name="the configuration of the pictures")
        for generation in range(GENERATIONS):
            if generation:
                simulator.advance()
            if generation >= GENERATIONS - 2:
                for endpoint in (Endpoint.EXPORT, Endpoint.PAGES):
                    simulator.faults.add(Fault(endpoint, FaultKind.GROUP_MISSING, times=None))
            with _assembly(checked, simulator.generated_at) as assembly:
                list(assembly.pipeline.poll())
        assembly = stack.enter_context(_assembly(checked, simulator.generated_at + timedelta(hours=2)))
        visits = partial(Visits, pause_seconds=0.0, seconds_max=60.0)
        yield stack.enter_context(Console(assembly, ConsoleConfig(listen="127.0.0.1:0"), visits=visits))


def pages(console: Console) -> dict[str, str]:
    """The addresses of the pages that pictures show, by name: a device and a product to which something happened."""
    client = Client(console)
    interval = client.ask("/exposure.json").json["intervals"]
    upgrades = client.ask("/changes.json?reason=upgraded&limit=1000").json["changes"]
    devices = [change["deviceId"] for change in upgrades]
    products = [(change["softwareVendor"], change["softwareName"]) for change in upgrades]
    device = max(sorted({*devices}), key=devices.count) if devices else interval[0]["deviceId"]
    vendor, name = max(sorted({*products}), key=products.count)
    return {
        "overview": "/overview",
        "device": f"/device?id={device}",
        "product": f"/product?vendor={vendor}&name={name}",
        "exposure": "/exposure",
        "held": "/held",
    }


def take(browser: Browser, console: Console, folder: Path, addresses: dict[str, str], width: int = SIZE[0]) -> None:
    """A WebP of each page in both themes, named after page and theme."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        with visitor(browser, console.access.origin, console.access.link, theme=theme, width=width) as somebody:
            for name, address in addresses.items():
                somebody.open(address)
                (folder / f"console-{name}-{theme}.webp").write_bytes(_picture(somebody, width))


def draw(chromium_path: Path, folder: Path) -> None:
    """All pictures of the console.

    Raises:
        Missing: Playwright is not installed.
    """
    with fleet_console() as console, chromium(chromium_path) as browser:
        take(browser, console, folder, pages(console))


def _picture(somebody: Visitor, width: int) -> bytes:
    session = somebody.page.context.new_cdp_session(somebody.page)
    clip: dict[str, Any] = {"x": 0, "y": 0, "width": width, "height": SIZE[1], "scale": 1}
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY, "clip": clip})
    return base64.b64decode(taken["data"])


def _assembly(checked: config.Config, now: datetime) -> Assembly:
    return Assembly(checked, clock=lambda: now)
