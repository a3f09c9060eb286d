"""A `run` with a console: its polls, and readers who load every page again and again, do not disturb each other."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode

from connector.clock import utc_now
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from connector.web.pages import PAGES
from tests.cli.test_cli import toml
from tests.support.daemon import Daemon, Line

DEVICES = 30
GENERATIONS = 3
READERS = 2
INTERVAL_SECONDS = 2
"""As often as the published limits of the export API allow for longer than a minute."""
PREFIX = "beside"


class Answer(NamedTuple):
    """What came of asking for a page."""

    address: str
    status: int
    retry_after: str | None
    body: str

    @property
    def is_busy(self) -> bool:
        """Whether it is what a page says that was not read before, while a poll has the file."""
        if (self.status, bool(self.retry_after)) != (503, True):
            return False
        if ".json" in self.address:
            return bool(json.loads(self.body)["busy"])
        return "This is a normal state" in self.body


class Reader:
    """Somebody who has the link."""

    def __init__(self, link: str) -> None:
        self._origin, _, token = link.partition("/?token=")
        self._headers = {"Authorization": f"Bearer {token}"}

    def ask(self, address: str) -> Answer:
        """What there is at an address now."""
        request = urllib.request.Request(f"{self._origin}{address}", headers=self._headers)  # noqa: S310 - the printed one
        try:
            response = urllib.request.urlopen(request, timeout=60)  # noqa: S310 - the same
        except HTTPError as refused:
            response = refused
        with response:
            return Answer(address, response.status, response.headers["Retry-After"], response.read().decode())

    def read(self, address: str) -> Answer:
        """What there is, once no poll has the file."""
        while (answer := self.ask(address)).is_busy:
            continue
        return answer

    def facts(self, address: str) -> Any:
        """The JSON of a page, read now and not before."""
        while (facts := json.loads(self.read(address).body))["busy"]:
            continue
        return facts

    def crawl(self, addresses: Sequence[str], ended: threading.Event) -> list[Answer]:
        """Load every page, again and again, until `ended` is set; a round that has begun is finished."""
        answers = []
        while not ended.is_set():
            answers += [self.ask(address) for address in addresses]
        return answers

    def addresses(self) -> list[str]:
        """Every page and its JSON, with what it must be asked for to have rows."""
        (device, *_), (product, *_) = self.facts("/devices.json")["devices"], self.facts("/products.json")["products"]
        queries = {
            "/device": {"id": device["deviceId"]},
            "/product": {"vendor": product["softwareVendor"], "name": product["softwareName"]},
            "/compare": {"from": self.facts("/polls.json")["snapshots"][-1]["generated_at"]},
            "/explain": {"id": self.facts("/changes.json")["changes"][0]["eventId"]},
            "/exposure": {"all": "1"},
            "/campaigns": {"min_devices": "1"},
        }
        given = {path: f"?{urlencode(queries[path])}" if path in queries else "" for path in PAGES}
        return [f"{path}{form}{query}" for path, query in given.items() for form in ("", ".json")]


def configuration(simulator: Simulator, bootstrap_servers: str, folder: Path) -> Path:
    """The file of a `run` that polls every few seconds, and serves the console."""
    file = folder / "connector.toml"
    tables = {
        "source": simulator.settings(method="json"),
        "poll": {"interval_seconds": INTERVAL_SECONDS},
        "state": {"path": str(folder / "state.duckdb"), "memory_limit_mib": 256},
        "kafka": {"topic_prefix": PREFIX},
        "kafka.client": {"bootstrap.servers": bootstrap_servers},
        "schema_registry": {"url": "mock://beside", "auto_register": True},
        "http": {"listen": "127.0.0.1:0"},
        "console": {"listen": "127.0.0.1:0"},
    }
    file.write_text(toml(tables), encoding="utf-8")
    return file


def is_published(line: Line) -> bool:
    """Whether a poll has published changes."""
    return bool(line["outcome"] == "published" and line["published"] > 0)


def test_polls_and_a_crawler_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Every page answers, at worst that it is busy, while generation after generation is published.

    No poll fails or warns, and in the end the pages have every snapshot.
    """
    with ExitStack() as stack:
        cluster = stack.enter_context(MockCluster([topic.name_under(PREFIX) for topic in Topic]))
        start = utc_now() - timedelta(hours=GENERATIONS + 3)
        fleet = Fleet(seed=7, devices=DEVICES, start=start, interval=timedelta(hours=1), churn=2.0)
        simulator = stack.enter_context(Simulator(fleet))
        file = configuration(simulator, cluster.bootstrap_servers, tmp_path)
        daemon = stack.enter_context(Daemon.started(file))
        reader = Reader(Path(daemon.until("serving the console")["link_file"]).read_text(encoding="ascii").strip())
        daemon.until("poll finished")
        simulator.advance()
        daemon.until("poll finished", is_published)
        addresses, ended = reader.addresses(), threading.Event()
        pool = stack.enter_context(ThreadPoolExecutor(READERS))
        stack.callback(ended.set)
        places = [len(addresses) * number // READERS for number in range(READERS)]
        crawls = [pool.submit(reader.crawl, addresses[place:] + addresses[:place], ended) for place in places]
        for _ in range(GENERATIONS):
            simulator.advance()
            daemon.until("poll finished", is_published)
        ended.set()
        answers = [answer for crawl in crawls for answer in crawl.result()]
        unread = {*addresses} - {answer.address for answer in answers if answer.status == 200}
        answers += [reader.read(address) for address in unread]
        shown = {row["snapshot_id"] for row in reader.facts("/polls.json")["snapshots"]}
        daemon.signal(signal.SIGTERM)
        exit_code = daemon.ended()
    polls = [line for line in daemon.logged if line["event"] == "poll finished"]
    published = {line["snapshot_id"] for line in polls if is_published(line)}
    assert [answer for answer in answers if answer.status != 200 and not answer.is_busy] == []
    assert {answer.address for answer in answers if answer.status == 200} == {*addresses}
    assert [line for line in daemon.logged if line.get("level") in {"warning", "error"}] == []
    assert (len(published) > GENERATIONS, published - shown, exit_code) == (True, set(), 0)
