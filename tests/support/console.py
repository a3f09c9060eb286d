"""A client that asks a console as a browser or a script would, and records whose names are somebody else's text."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from connector import config
from connector.assembly import Assembly
from connector.web import Console
from connector.web.pages import PAGES
from tests.cli.test_cli import toml
from tests.support.bench import EASY, START, TENANT, Bench, record
from tests.support.configured import tables

NOW = START + timedelta(hours=20)
LONG = "x" * 4_096
HOSTILE = {
    "markup": "<script>alert(1)</script>",
    "override": "abc\u202egpj.exe\u2066",
    "quote": "\"'><img src=x onerror=alert(1)>",
    "long": LONG,
    "formula": "=cmd|'/c calc'!A1",
}
QUERIES = {
    "/device": "?id=a",
    "/product": "?vendor=v&name=jre",
    "/compare": "?from=2026-11-23T15:00",
    "/exposure": "?all=1",
    "/campaigns": "?min_devices=1",
}
ADDRESSES = [f"{path}{QUERIES.get(path, '')}" for path in PAGES]
"""Every page, with what it must be asked for to have rows."""


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """Asks a console. `headers` replace those that it would send; None leaves one out."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.port = int(console.access.origin.rpartition(":")[2])

    def ask(self, path: str, method: str = "GET", **headers: str | None) -> Response:
        """One request, with the token as scripts send it."""
        return self._ask(path, method, b"", headers)

    def _ask(self, path: str, method: str, body: bytes, headers: Mapping[str, str | None]) -> Response:
        sent: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.console.access.token}",
        }
        sent |= {"Content-Length": str(len(body))} if body else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def post(self, path: str, values: dict[str, str], **headers: str | None) -> Response:
        """Post a form as a browser does, with the cookie of the link."""
        browser: dict[str, str | None] = {
            "Authorization": None,
            "Cookie": self.log_in(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": self.console.access.origin,
            "Sec-Fetch-Site": "same-origin",
        }
        sent = browser | {name.replace("_", "-"): value for name, value in headers.items()}
        return self._ask(path, "POST", urlencode(values).encode(), sent)

    def log_in(self) -> str:
        """The cookie that the printed link gives."""
        response = self.ask(self.console.access.link.removeprefix(self.console.access.origin), Authorization=None)
        cookie = SimpleCookie(response.headers["Set-Cookie"])
        ((name, morsel),) = cookie.items()
        return f"{name}={morsel.value}"


def assembly_of(path: Path, now: datetime = NOW) -> Assembly:
    """The parts of a tenant with that state file."""
    checked = config.from_values(
        tables(source={"tenant_id": TENANT}, state={"path": str(path)}), {}, name="connector.toml"
    )
    return Assembly(checked, clock=lambda: now)


def write_configuration(folder: Path, *, state_path: Path) -> None:
    """Write `connector.toml` of a tenant with that state file, whose Kafka does not answer."""
    written = {
        "source": {"tenant_id": TENANT, "client_id": "c", "client_secret": "canary-1"},
        "state": {"path": str(state_path)},
        "kafka.client": {"bootstrap.servers": "127.0.0.1:1"},
        "schema_registry": {"url": "mock://console"},
    }
    (folder / "connector.toml").write_text(toml(written), encoding="utf-8")


def line(device: str, version: str, status: str | None = None, **more: Any) -> dict[str, Any]:
    """A record of one product on a device of a group."""
    fields = {"deviceName": f"{device}.x", "rbacGroupId": 7, "rbacGroupName": "Clinic", "endOfSupportStatus": status}
    return record(device, "jre", version, **fields | more)


def hostile_lines(names: Iterable[str] = tuple(HOSTILE.values())) -> list[dict[str, Any]]:
    """Records of which every name is somebody else's text."""
    return [
        record(
            f"id {text}", text, text, softwareVendor=text, deviceName=text, rbacGroupId=9, rbacGroupName=text,
            osPlatform=text, endOfSupportStatus="EOS Version",
        )
        for text in names
    ]  # fmt: skip


def write_lived_in(folder: Path) -> Path:
    """A state file of three generations: an upgrade, an arrival, one that stays exposed, and hostile names."""
    with Bench(folder, rules=EASY) as bench:
        first = [line("a", "7", "EOS Version"), line("b", "7", "EOS Version")]
        then = [line("a", "8"), line("b", "7", "EOS Version"), *hostile_lines()]
        for lines in (first, then, [*then, record("a", "new")]):
            bench.take(bench.snapshot(lines))
            bench.confirm_baseline()
        return bench.path


def write_empty(folder: Path) -> Path:
    """A state file without a snapshot."""
    with Bench(folder) as bench:
        return bench.path


def write_many(folder: Path, devices: int) -> Path:
    """A state file of two generations of a fleet, of which a tenth was upgraded and a tenth has a second product."""
    rest = [record(f"d{number:06}", f"tool-{number % 500}") for number in range(0, devices, 10)]
    with Bench(folder, rules=EASY) as bench:
        for upgraded in (0, devices // 10):
            lines = [
                line(f"d{number:06}", *(("8",) if number < upgraded else ("7", "EOS Version")))
                for number in range(devices)
            ]
            bench.take(bench.snapshot([*lines, *rest]))
            bench.confirm_baseline()
        return bench.path
