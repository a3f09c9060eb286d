"""The parsers of foreign input as functions of bytes, with what must hold for any bytes; and seeds for them.

Each target takes any bytes, and raises only if something is wrong with the connector. `tests.support.fuzzing` feeds
them for as long as desired, `test_fuzzing.py` for a little in every run.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import gzip
import io
import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import duckdb
import requests
from pydantic import SecretStr
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from connector import config
from connector.clock import DELAY_SECONDS_MAX, Backoff, milliseconds_of, moment_of, retry_after
from connector.config.tables import SourceConfig
from connector.diff.scan import scan
from connector.diff.versions import version_reason
from connector.errors import ConfigError, ConnectorError, SnapshotIncomplete, SourceMalformed
from connector.exports.software import SOFTWARE
from connector.model import Inventory, Part, Reason
from connector.simulator import Fleet, Simulator
from connector.source.devices import facts_of
from connector.source.files import GENERATION_MIN, Files, read_generated_time
from connector.source.http.hosts import Hosts, Link
from connector.source.http.tokens import Tokens, claims_of, explain_denial
from connector.source.lines import LineCounter, Page
from connector.source.pages import generation_of
from connector.source.parts import BYTE_ORDER_MARK, MAGIC, PartWriter
from connector.source.repair import repair
from tests.support.plain_client import PAGES, PlainClient

NOW: Final = datetime(2026, 11, 23, 8, tzinfo=UTC)
CANARY: Final = "canary-4711-in-the-configuration"
SCOPE: Final = "https://api.securitycenter.microsoft.com/.default"
HOSTS: Final = Hosts(
    api_url="https://api.security.microsoft.com",
    storage_suffix="blob.core.windows.net",
    allowed=("eu.api.security.microsoft.com", "*.files.example", "10.1.2.3", "fd00::1"),
)
AUTHORITY: Final = {
    "issuer": "https://login.example/tenant/v2.0",
    "authorization_endpoint": "https://login.example/tenant/authorize",
    "token_endpoint": "https://login.example/tenant/token",
}
"""What msal needs of an authority's description."""

TOKEN: Final = {"access_token": "e30.e30.x", "expires_in": 3600, "token_type": "Bearer"}
REFUSED: Final = {
    "error": "invalid_client",
    "error_description": "AADSTS7000215: Invalid client secret.\r\nTrace ID: x",
}
SOURCE: Final = SourceConfig(
    tenant_id="contoso.example",
    client_id="00000000-0000-0000-0000-000000000001",
    client_secret=SecretStr(CANARY),
    authority="https://login.example",
)
FOLDER: Final = Path(tempfile.mkdtemp(prefix="fuzzed-"))
"""The folder for targets that need files; removed when the process ends."""

atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

READER: Final = duckdb.connect(config={"threads": 1})


def page(content: bytes) -> None:
    """A JSON page is split into as many lines as it has records, or refused."""
    try:
        split = Page.read(content)
    except SourceMalformed:
        return
    text = b"".join(split.blocks())
    lines = text.split(b"\n")[:-1]
    assert len(lines) == split.records
    assert all(line.strip() for line in lines)
    with contextlib.suppress(ValueError, RecursionError):
        assert len(json.loads(content)["value"]) == split.records


def skiptoken(content: bytes) -> None:
    """A nextLink gives a time in UTC, or None; as it is, and with the bytes as its token."""
    token = base64.b64encode(content).decode()
    for url in (content.decode("utf-8", "surrogateescape"), f"https://x/api?$skiptoken={token}"):
        generation = generation_of(url)
        assert generation is None or generation.tzinfo is UTC


def listing(content: bytes) -> None:
    """A listing of files gives texts and a time, or is refused."""
    session: Any = SimpleNamespace(timer=SimpleNamespace(now=lambda: NOW), export=SOFTWARE)
    try:
        listed = Files(session)._read(Inventory.CPE, bytearray(content))
    except SourceMalformed:
        return
    assert all(isinstance(url, str) for url in listed.urls)
    assert listed.generated_at is not None
    assert listed.generated_at.tzinfo is UTC


def device(content: bytes) -> None:
    """A device of the list gives one line of the facts that staging reads, or none."""
    line = facts_of(content)
    if not line:
        return
    assert line.isascii()
    assert line.count(b"\n") == 1
    facts = json.loads(line)
    assert list(facts) == ["device_id", "last_seen", "health", "onboarding"]
    assert facts["device_id"] == facts["device_id"].lower() != ""
    assert facts["last_seen"] is None or facts["last_seen"] >= milliseconds_of(GENERATION_MIN)


def part(content: bytes) -> None:
    """A file is stored with the text that unpacking it at once gives, or refused; the first byte chooses its form."""
    if not content:
        return
    how, body = content[0], content[1:]
    if how & 1:
        body = gzip.compress(body, mtime=0)
    if how & 2:
        body += gzip.compress(content[1:9], mtime=0)
    step = max(1, how >> 3)
    try:
        with PartWriter(
            FOLDER, "part-x", "remote", SOFTWARE.wire_names, encoded=bool(how & 4), chunk_bytes_min=1
        ) as writer:
            for begin in range(0, len(body), step):
                writer.feed(body[begin : begin + step])
            written = writer.finish()
    except SnapshotIncomplete:
        assert not list(FOLDER.glob("*.draft"))
        return
    outer = gzip.decompress(body) if how & 4 else body
    text = (gzip.decompress(outer) if outer.startswith(MAGIC) else outer).removeprefix(BYTE_ORDER_MARK)
    stored = written.path.read_bytes()
    assert (gzip.decompress(stored) if written.path.suffix == ".gz" else stored) == text
    assert written.lines == sum(bool(line.strip()) for line in text.split(b"\n")) > 0


def census(content: bytes) -> None:
    """However a text is cut, its lines are counted the same."""
    counted = []
    for step in (len(content) + 1, 1, 7):
        counter = LineCounter(SOFTWARE.wire_names)
        for begin in range(0, len(content), step):
            counter.feed(content[begin : begin + step])
        complete = counter.finish()
        counted.append((counter.lines, counter.size_bytes, counter.odd, complete, dict(counter.spellings)))
    assert counted[1:] == counted[:1] * 2


def lines(content: bytes) -> None:
    """Each line is kept or rejected, the reader takes what was kept, and a second repair finds nothing more."""
    path, rejected = FOLDER / "lines.json", FOLDER / "rejected.ndjson"
    rejected.unlink(missing_ok=True)
    path.write_bytes(content)
    once = repair(Part(path, "remote", 1, len(content), {}), SOFTWARE, rejected)
    assert once.rejected + once.part.lines == sum(bool(line.strip()) for line in content.split(b"\n"))
    twice = repair(once.part, SOFTWARE, rejected)
    assert (twice.rejected, twice.part.lines) == (0, once.part.lines)
    assert twice.part.path.read_bytes() == once.part.path.read_bytes()
    read = READER.execute(
        f"SELECT count(*), count(nullif(device_id, '')) FROM ({scan(SOFTWARE, [once.part])})"
    ).fetchone()
    assert read == (once.part.lines, once.part.lines)


def claims(content: bytes) -> None:
    """A token gives claims of the right types and an explanation; as it is, and with the bytes as its middle."""
    middle = base64.urlsafe_b64encode(content).decode().rstrip("=")
    for token in (content.decode("utf-8", "surrogateescape"), f"e30.{middle}.x"):
        claimed = claims_of(token)
        assert all(
            isinstance(word, str) for word in (*claimed.roles, *claimed.scopes, claimed.audience, claimed.tenant_id)
        )
        assert explain_denial(token, SCOPE)


class _Answering(HTTPAdapter):
    """Answers every request of a session: the description of the authority, or else the bytes."""

    def __init__(self, status: int, body: bytes, *, describes: bool) -> None:
        super().__init__()
        self._status, self._body, self._describes = status, body, describes

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """The answer to a request."""
        described = json.dumps(AUTHORITY).encode()
        is_odd = (request.method == "GET") is self._describes
        response = Response()
        response.status_code = self._status if is_odd else 200
        response.raw = io.BytesIO(self._body if is_odd else described)
        response.url, response.request = request.url or "", request
        return response


def login(content: bytes) -> None:
    """An answer of the login service, or its description of itself, gives a token for a header or an error of ours."""
    if not content:
        return
    status = (200, 200, 400, 401, 403, 404, 429, 500)[content[0] & 7]
    session = requests.Session()
    session.mount("https://", _Answering(status, content[1:], describes=bool(content[0] & 8)))
    transport: Any = SimpleNamespace(login_session=session, local_session=session, stop=threading.Event())
    tokens = Tokens(SOURCE, transport, backoff=Backoff(attempts_max=1))
    try:
        token = tokens.token()
    except ConnectorError as error:
        text, hint = str(error), error.hint
    else:
        text, hint = "", token
        assert token.isascii()
        assert token.isprintable()
        assert " " not in token
    assert hint
    assert CANARY not in text


def versions(content: bytes) -> None:
    """Two versions, cut at a line break: one way round is the reverse of the other, and a version is not its own."""
    before, _, after = content.decode("utf-8", "replace").partition("\n")
    reverse = {Reason.UPGRADED: Reason.DOWNGRADED, Reason.DOWNGRADED: Reason.UPGRADED}
    forth, back = version_reason(before, after), version_reason(after, before)
    assert back is reverse.get(forth, Reason.VERSION_CHANGED)
    assert version_reason(before, before) is Reason.VERSION_CHANGED


def times(content: bytes) -> None:
    """A text as a generation's time, as `Retry-After`, and as the dates of a record: a time in bounds, or none."""
    text = content.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, TypeError):
        generation = read_generated_time(text)
        assert generation.tzinfo is UTC
        assert generation >= GENERATION_MIN
        assert moment_of(milliseconds_of(generation)) == generation
    seconds = retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= DELAY_SECONDS_MAX
    path = FOLDER / "times.json"
    record = {"deviceId": "a", "endOfSupportDate": text, "softwareFirstSeenTimestamp": text}
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    part = Part(path, "remote", 1, path.stat().st_size, {name.lower(): (name,) for name in record})
    rows = READER.execute(
        f"SELECT end_of_support_date, software_first_seen_timestamp FROM ({scan(SOFTWARE, [part])})"
    ).fetchall()
    assert len(rows) == 1


def configuration(content: bytes) -> None:
    """A configuration is taken, or refused with errors that do not show its secrets."""
    path = FOLDER / "connector.toml"
    path.write_bytes(content)
    variables = {"MDE_INVENTORY_SOURCE__CLIENT_SECRET": CANARY}
    try:
        shown = repr(config.load(path, variables))
    except ConfigError as error:
        shown = str(error)
    assert CANARY not in shown


def links(content: bytes) -> None:
    """A URL names the host that the standard library sees in it, and one that is allowed; or it is refused."""
    text = content.decode("utf-8", "surrogateescape")
    for read, places in ((HOSTS.next_link, ("",)), (HOSTS.file, ("", ".blob.core.windows.net"))):
        try:
            link = read(text)
        except SourceMalformed:
            continue
        seen = urlsplit(text)
        assert (seen.scheme, seen.hostname, seen.port or 443, seen.username) == ("https", link.host, link.port, None)
        assert link.url == text
        assert _is_allowed(link, places)


def _is_allowed(link: Link, suffixes: tuple[str, ...]) -> bool:
    listed = link.host in ("eu.api.security.microsoft.com", "10.1.2.3") or link.host.endswith(".files.example")
    own = (link.host, link.port) == ("api.security.microsoft.com", 443)
    storage = link.port == 443 and any(link.host.endswith(suffix) for suffix in suffixes if suffix)
    return listed or own or storage or ":" in link.host


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        page,
        skiptoken,
        listing,
        device,
        part,
        census,
        lines,
        claims,
        login,
        versions,
        times,
        configuration,
        links,
    )
}


def seeds() -> dict[str, list[bytes]]:
    """What the simulator answers, and our own example, for each target to begin with."""
    fleet = Fleet(seed=3, devices=2, start=NOW)
    with Simulator(fleet, records_of_part_max=20) as simulator, PlainClient(simulator) as client:
        files = client.listing()
        file = client.get(files["exportFiles"][0]).content
        walk = client.get(f"{PAGES[Inventory.CPE]}?pageSize=3")
        next_link = walk.json()["@odata.nextLink"]
        token = client.token()
    text = gzip.decompress(file)
    some = b"\n".join(text.split(b"\n")[:3]) + b"\n"
    middle = token.split(".")[1]
    example = (Path(__file__).parents[2] / "deploy" / "connector.example.toml").read_bytes()
    return {
        "page": [walk.content, b'{"value":[{"a":NaN}]}', b'{"@odata.nextLink":"x","value":[]}'],
        "skiptoken": [next_link.encode(), b'{"ExportDefinition":{"TimePath":"2021-01-25/0200/"},"ExportFileIndex":0}'],
        "listing": [json.dumps(files).encode(), b'{"exportFiles":[],"generatedTime":"2021-01-11T11:01:00Z"}'],
        "device": [
            b'{"id":"A","lastSeen":"2026-11-23T08:00:00.1Z","healthStatus":"Active"}',
            b'{"ID":"\xc3\xa9"}',
            b"7",
        ],
        "part": [b"\0" + gzip.compress(some, mtime=0), b"\x39" + some, b"\x1f" + some, b"\4" + some],
        "census": [some, some.replace(b"DeviceId", b"deviceid", 1), b"\n[1]\n{"],
        "lines": [some, walk.content, b'{"DeviceId":"a","RbacGroupId":"7","DiskPaths":[null,"x"]}\n17\n'],
        "claims": [base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)), token.encode()],
        "login": [
            bytes([how]) + json.dumps(answer).encode() for how in (0, 2, 8) for answer in (TOKEN, AUTHORITY, REFUSED)
        ],
        "versions": [b"1:8.0.3910.13\n1:8.0.3910.130", b"1.0~rc1\n1.0", b"9" * 4_301 + b":1\n" + b"9" * 4_302 + b":0"],
        "times": [
            b"2026-11-23T08:00:00Z",
            b"2026-11-23T08:00:00.1234567+01:00",
            b"0001-01-01T00:00:00",
            b"9999-12-31T23:59:59.9999999-14:00",
            b"Mon, 23 Nov 2026 08:00:00 GMT",
            b"120",
        ],
        "configuration": [example, b"[source]\ntenant_id = 1\n"],
        "links": [next_link.encode(), files["exportFiles"][0].encode(), b"https://x.blob.core.windows.net/a?sig=b"],
    }
