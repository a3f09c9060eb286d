"""The whole command at debug level through failures, with secrets that are easy to find: they are found nowhere.

And where credentials and connections go: the token to the API alone, and no connection to any host that is not allowed.
"""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.errors import ConnectorError
from connector.kafka.mock import MockCluster
from connector.model import Inventory, Topic
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from tests.support.certificates import certificate_of, pfx_of
from tests.support.commands import Command, start_command
from tests.support.fetching import START, open_bench
from tests.support.raw_server import RawServer

CLIENT_SECRET = "canary/Client+Secret=Qx7~aaaa"
WRONG_SECRET = "canary/Wrong+Secret=Vk3~bbbb"
SIGNATURE = "canarySignature/Pz9+cccc="
BEARER = "canary-bearer-token/Wm4+dddd=="
CERTIFICATE_PASSWORD = "canary:Certificate/Pass+eeee"
SASL_PASSWORD = "canary;Sasl/Pass+Lr8=ffff"
REGISTRY_PASSWORD = "canary&Registry/Pass+gggg"
PROXY_PASSWORD = "canaryProxyPasshhhh"
TOPICS = "what is on the topics"
CANARIES = {
    "client secret": CLIENT_SECRET,
    "wrong client secret": WRONG_SECRET,
    "signature of a file's URL": SIGNATURE,
    "bearer token": BEARER,
    "certificate password": CERTIFICATE_PASSWORD,
    "Kafka password": SASL_PASSWORD,
    "registry password": REGISTRY_PASSWORD,
    "proxy password": PROXY_PASSWORD,
}
NOW = datetime.now(UTC)
PREFIX = "secrets"
RUN_SECONDS_MAX = 120.0
PROCESSES = 4


def forms(secret: str) -> dict[str, bytes]:
    """A secret as it is, URL-quoted in each usual way, and in base64 wherever in a text it may begin."""
    written = {
        "raw": secret.encode(),
        "quoted": quote(secret, safe="").encode(),
        "quoted as a path": quote(secret).encode(),
        "quoted as a form": quote_plus(secret).encode(),
        "quoted in lower case": quote(secret, safe="").lower().encode(),
        "as JSON": json.dumps(secret)[1:-1].encode(),
    }
    for offset in range(3):
        for name, encode in (("base64", base64.b64encode), ("URL-safe base64", base64.urlsafe_b64encode)):
            # Characters that also depend on what stands beside the secret are left out.
            text = encode(b"\0" * offset + secret.encode()).rstrip(b"=")[:-1]
            written[f"{name} from {offset}"] = text[(0, 2, 3)[offset] :]
    return written


FORMS = {(name, how): text for name, secret in CANARIES.items() for how, text in forms(secret).items()}
PATTERNS = {
    ("any token", "raw"): b"eyJ0eXAiOiJKV1Qi",
    ("any token", "another order"): b"eyJhbGciOiJ",
    ("any client secret", "in a form"): b"client_secret=c",
    ("any signature", "in a URL"): b"&sig=",
    ("any signature", "first in a URL"): b"?sig=",
}


def leaks(text: bytes) -> list[tuple[str, str]]:
    """Which secrets stand in a text, and in which form."""
    return [name for name, secret in (FORMS | PATTERNS).items() if secret in text]


@dataclass
class Scenario:
    """One run of the command, and what it should come to.

    Attributes:
        exit_code: what it ends with; None: it is a service, which is asked for its metrics and ended.
        says: text that stderr must have, so that the failure is known to be the one that was meant.
    """

    name: str
    exit_code: int | None
    says: str = ""
    verb: tuple[str, ...] = ("poll",)
    faults: tuple[Fault, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    registry: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    lines: str = ""
    certificate: bool = False
    log_format: str = "console"


def listing_of(*urls: str) -> str:
    """The body of a listing of such files."""
    return json.dumps({"exportFiles": urls, "generatedTime": f"{NOW - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"})


def signed(host: str, more: str = "") -> str:
    """A file's URL with the signature to look for."""
    return f"https://{host}/export/part-0.json.gz?sv=2023-11-03&se=2026&sp=r{more}&sig={quote(SIGNATURE, safe='')}"


def token_of(token: str) -> str:
    """The body of a token endpoint's answer."""
    return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3599})


ALWAYS: dict[str, Any] = {"times": None}
SASL = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "connector", "debug": "all"}
AWAY = {"bootstrap.servers": "127.0.0.1:1"}
SCENARIOS = [
    Scenario("everything works", 0),
    Scenario("everything works, JSON logs", 0, log_format="json"),
    Scenario("pages", 0, source={"method": "json", "page_size": 400}),
    Scenario("check", 1, verb=("check",)),
    Scenario("dry run", 0, verb=("poll", "--dry-run")),
    Scenario("wrong secret", 5, "AADSTS", source={"client_secret": WRONG_SECRET}),
    Scenario("wrong secret, JSON logs", 5, "AADSTS", source={"client_secret": WRONG_SECRET}, log_format="json"),
    Scenario("wrong secret, check", 5, verb=("check",), source={"client_secret": WRONG_SECRET}),
    Scenario("access denied", 5, "403", faults=(Fault(Endpoint.EXPORT, FaultKind.STATUS, status=403, **ALWAYS),)),
    Scenario(
        "a token that the API refuses",
        5,
        faults=(Fault(Endpoint.TOKEN, FaultKind.BODY, text=token_of(BEARER), **ALWAYS),),
        log_format="json",
    ),
    Scenario(
        "a token that no header can carry",
        1,
        "that no header",
        faults=(Fault(Endpoint.TOKEN, FaultKind.BODY, text=token_of(f"{BEARER}\r\nX: y"), **ALWAYS),),
    ),
    Scenario(
        "signatures that expire",
        1,
        "listings",
        faults=(Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL, **ALWAYS),),
        log_format="json",
    ),
    Scenario(
        "files that are not there",
        1,
        faults=(Fault(Endpoint.EXPORT, FaultKind.BODY, text=listing_of(signed("127.0.0.1:1")), **ALWAYS),),
        source={"method": "files"},
    ),
    Scenario(
        "files of a name that does not resolve",
        1,
        faults=(Fault(Endpoint.EXPORT, FaultKind.BODY, text=listing_of(signed("files.invalid")), **ALWAYS),),
        source={"method": "files", "allowed_hosts": ["files.invalid"]},
        log_format="json",
    ),
    Scenario(
        "files of another host",
        1,
        "host",
        faults=(Fault(Endpoint.EXPORT, FaultKind.BODY, text=listing_of(signed("elsewhere.example")), **ALWAYS),),
    ),
    Scenario(
        "files with user and password",
        1,
        faults=(
            Fault(
                Endpoint.EXPORT, FaultKind.BODY, text=listing_of(signed(f"user:{PROXY_PASSWORD}@127.0.0.1")), **ALWAYS
            ),
        ),
    ),
    Scenario(
        "a link to pages elsewhere",
        1,
        faults=(
            Fault(
                Endpoint.PAGES,
                FaultKind.BODY,
                text=json.dumps({"value": [], "@odata.nextLink": signed("elsewhere.example", "&$skiptoken=abc")}),
                **ALWAYS,
            ),
        ),
        source={"method": "json"},
    ),
    Scenario(
        "connections reset",
        1,
        faults=(
            Fault(Endpoint.EXPORT, FaultKind.CONNECTION_RESET, times=1),
            Fault(Endpoint.BLOB, FaultKind.CONNECTION_RESET, **ALWAYS),
        ),
        source={"method": "files"},
    ),
    Scenario(
        "the login service resets connections", 1, faults=(Fault(Endpoint.TOKEN, FaultKind.CONNECTION_RESET, **ALWAYS),)
    ),
    Scenario(
        "a redirect",
        1,
        "redirect",
        faults=(Fault(Endpoint.BLOB, FaultKind.REDIRECT, url=signed("elsewhere.example"), **ALWAYS),),
        log_format="json",
    ),
    Scenario("an HTML page", 1, faults=(Fault(Endpoint.EXPORT, FaultKind.HTML_PAGE, **ALWAYS),), log_format="json"),
    Scenario(
        "lines that cannot be read",
        1,
        faults=(Fault(Endpoint.BLOB, FaultKind.EXTRA_LINES, lines=("17",), **ALWAYS),),
    ),
    Scenario("Kafka away", 1, client=AWAY | SASL, log_format="json"),
    Scenario("Kafka away, check", 1, verb=("check",), client=AWAY | SASL),
    Scenario("a key that Kafka's client does not know", 2, client={"sasl.passwort": "x"}),
    Scenario("registry away", 1, registry={"url": "http://127.0.0.1:1"}, log_format="json"),
    Scenario("registry denies", 1, registry={"url": "REGISTRY"}),
    Scenario("registry denies, check", 1, verb=("check",), registry={"url": "REGISTRY"}),
    Scenario(
        "a proxy that is away",
        1,
        environ={"HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:1", "NO_PROXY": ""},
        log_format="json",
    ),
    Scenario("a proxy that denies", 1, environ={"HTTPS_PROXY": "PROXY", "NO_PROXY": ""}),
    Scenario("a certificate with its password", 0, certificate=True, source={"auth": "certificate"}),
    Scenario(
        "a certificate with a wrong password",
        2,
        certificate=True,
        source={"auth": "certificate", "certificate_password": CERTIFICATE_PASSWORD + "x"},
    ),
    Scenario("a misspelt key", 2, "page_sice", source={"page_sice": 5, "client_secret ": CLIENT_SECRET}),
    Scenario("secrets of the wrong type", 2, source={"client_secret": [CLIENT_SECRET]}),
    Scenario("secrets in the wrong place", 2, source={"tenant_id": CLIENT_SECRET}, registry={"url": REGISTRY_PASSWORD}),
    Scenario("no TOML", 2, "TOML", lines=f'[source]\nclient_secret = "{CLIENT_SECRET}\n'),
    Scenario(
        "a registry's URL with a password",
        2,
        registry={"url": f"http://user:{quote_plus(REGISTRY_PASSWORD)}@127.0.0.1:1"},
    ),
    Scenario("service", None, verb=("run",)),
    Scenario(
        "service, JSON logs, denied",
        None,
        verb=("run",),
        source={"client_secret": WRONG_SECRET},
        log_format="json",
    ),
]


@dataclass
class Outcome:
    """What became of a scenario."""

    exit_code: int
    written: dict[str, bytes]
    stderr: str


class _Denies(BaseHTTPRequestHandler):
    """Shows in its answer what it was sent, as rude servers do."""

    def _deny(self) -> None:
        body = json.dumps({"error_code": 40101, "message": f"denied: {self.headers.get('Authorization')}"}).encode()
        self.send_response(401, "Unauthorized")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_CONNECT = _deny  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Nothing."""


@contextmanager
def denying_server() -> Iterator[int]:
    """A server that denies everything; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Denies) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Nested tables as TOML; JSON's texts, numbers, booleans and lists are TOML's too."""
    lines = [
        line
        for name, table in tables.items()
        for line in (f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()))
    ]
    return "\n".join(lines) + "\n"


def write_certificate(path: Path) -> None:
    """A PFX file with a key and a certificate, locked with the password to look for."""
    key = rsa.generate_private_key(65537, 2048)
    path.write_bytes(pfx_of(key, certificate_of(key, days=1), password=CERTIFICATE_PASSWORD))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def play(scenario: Scenario, folder: Path, kafka: str, denying: int) -> Outcome:
    """Run the command in a new folder; everything that it wrote is in the outcome."""
    folder.mkdir()
    work = folder / "work"
    fleet = Fleet(seed=5, devices=5, start=NOW - timedelta(hours=6))
    with Simulator(fleet, client_secret=CLIENT_SECRET, records_of_part_max=200) as simulator:
        simulator.faults.add(*scenario.faults)
        source: dict[str, Any] = simulator.settings()
        if scenario.certificate:
            write_certificate(folder / "certificate.pfx")
            source |= {"certificate_path": str(folder / "certificate.pfx")}
        port = free_port()
        tables: dict[str, dict[str, Any]] = {
            "source": source | {"certificate_password": CERTIFICATE_PASSWORD} | scenario.source,
            "state": {"path": str(work / "state.duckdb")},
            "kafka": {"topic_prefix": PREFIX, "transactional_id": f"secrets-{folder.name}"},
            "kafka.client": {"bootstrap.servers": kafka, "sasl.password": SASL_PASSWORD} | scenario.client,
            "schema_registry": {
                "url": "mock://secrets",
                "auto_register": True,
                "basic.auth.user.info": f"connector:{REGISTRY_PASSWORD}",
            }
            | scenario.registry,
            "http": {"listen": f"127.0.0.1:{port}"},
        }
        text = (scenario.lines or toml(tables)).replace('"REGISTRY"', f'"http://127.0.0.1:{denying}"')
        (folder / "connector.toml").write_text(text, encoding="utf-8")
        proxy = f"http://user:{PROXY_PASSWORD}@127.0.0.1:{denying}"
        environ = {name: proxy if value == "PROXY" else value for name, value in scenario.environ.items()}
        process = start(scenario, folder, environ)
        asked = ask_service(process, port) if scenario.exit_code is None else {}
        exit_code = process.wait(RUN_SECONDS_MAX)
    stdout, stderr = process.stdout.read_bytes(), process.stderr.read_bytes()
    files = {str(path.relative_to(folder)): path.read_bytes() for path in work.rglob("*") if path.is_file()}
    written = asked | files | {"stdout": stdout, "stderr": stderr}
    return Outcome(exit_code, written, stderr.decode())


def start(scenario: Scenario, folder: Path, environ: dict[str, str]) -> Command:
    """The command as a user would start it, at debug level."""
    options = ("--config", str(folder / "connector.toml"), "--log-level", "debug", "--log-format", scenario.log_format)
    return start_command(*options, *scenario.verb, stdout=folder / "stdout", stderr=folder / "stderr", environ=environ)


def ask_service(process: Command, port: int) -> dict[str, bytes]:
    """What a running service answers once it has polled; then it is stopped."""
    answers: dict[str, bytes] = {}
    deadline = time.monotonic() + RUN_SECONDS_MAX / 2
    while not has_polled(answers.get("/readyz")) or not answers.get("/metrics"):
        assert time.monotonic() < deadline, "the service did not poll in time"
        assert process.poll() is None, "the service ended"
        time.sleep(0.2)
        for path in ("/metrics", "/readyz", "/healthz"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    answers[path] = answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    answers[path] = error.read()
            except OSError:
                answers[path] = b""
    process.send_signal(signal.SIGTERM)
    return answers


def has_polled(body: bytes | None) -> bool:
    """Whether /readyz shows a poll that is over, well or not."""
    if not body:
        return False
    (tenant,) = json.loads(body)["tenants"].values()
    return not tenant["polling"] and (
        tenant["last_error"] is not None or tenant["last_success_age_seconds"] is not None
    )


@pytest.fixture(scope="module")
def small() -> Iterator[Simulator]:
    """A small tenant, for all tests that need no other."""
    with Simulator(Fleet(seed=5, devices=5, start=START), records_of_part_max=100) as simulator:
        yield simulator


@pytest.fixture
def simulator(small: Simulator) -> Simulator:
    """The small tenant, without faults."""
    small.faults.clear()
    return small


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every scenario, played once."""
    folder = tmp_path_factory.mktemp("secrets")
    with ExitStack() as made:
        topics = [topic.name_under(PREFIX) for topic in Topic]
        kafka = made.enter_context(MockCluster(topics)).bootstrap_servers
        denying = made.enter_context(denying_server())
        pool = made.enter_context(ThreadPoolExecutor(PROCESSES))
        tasks = {
            scenario.name: pool.submit(play, scenario, folder / str(number), kafka, denying)
            for number, scenario in enumerate(SCENARIOS)
        }
        played = {name: task.result() for name, task in tasks.items()}
        return played | {TOPICS: Outcome(0, {topic: on_topic(kafka, topic) for topic in topics}, "")}


def on_topic(bootstrap_servers: str, topic: str) -> bytes:
    """Everything on a topic: keys, values and headers."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "secrets", "enable.partition.eof": True})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    parts, ended = [], 0
    deadline = time.monotonic() + RUN_SECONDS_MAX
    while ended < len(partitions):
        assert time.monotonic() < deadline, "the end of the topic was not reached in time"
        for message in consumer.consume(1_000, timeout=0.2):
            ended += message.error() is not None
            headers = [value for header in message.headers() or () for value in header]
            parts += [part.encode() if isinstance(part, str) else part or b"" for part in (*headers, message.key())]
            parts.append(b"" if message.error() else message.value() or b"")
    consumer.close()
    return b"\n".join(parts)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_secret_is_written_anywhere(outcomes: dict[str, Outcome], scenario: Scenario) -> None:
    """Neither on stdout or stderr, nor in a file, nor in what the service answers; not in any form."""
    outcome = outcomes[scenario.name]
    assert {name: leaked for name, text in outcome.written.items() if (leaked := leaks(text))} == {}
    assert (outcome.exit_code, scenario.says in outcome.stderr) == (scenario.exit_code or 0, True), outcome.stderr
    assert "Traceback" not in outcome.stderr or scenario.log_format == "json" or "error" in outcome.stderr


def test_no_secret_is_published(outcomes: dict[str, Outcome]) -> None:
    """Reports of failed polls say why, and go to whoever may read the topic: no secret is in any message."""
    written = outcomes[TOPICS].written
    assert {name: leaked for name, text in written.items() if (leaked := leaks(text))} == {}
    assert b"SnapshotIncomplete" in written[Topic.SNAPSHOTS.name_under(PREFIX)]


def test_enough_was_searched(outcomes: dict[str, Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    """Logs of the libraries too, state files, files set aside, the file of the limits, and a service's answers."""
    written = {name for outcome in outcomes.values() for name in outcome.written}
    texts = [text for outcome in outcomes.values() for text in outcome.written.values()]
    with capsys.disabled():
        print(f"\n{len({name for name, _ in FORMS})} secrets in {len(FORMS)} forms, {len(SCENARIOS)} scenarios:"
              f" {len(texts)} outputs of {sum(map(len, texts)):,} bytes searched")  # fmt: skip
    wanted = {"work/state.duckdb", "work/state.duckdb.limits.json", "/metrics", "/readyz", "/healthz"}
    assert wanted <= written
    assert any(name.startswith("work/rejected/") for name in written)
    assert any(name.startswith("work/state.duckdb.staging/") for name in written)
    stderr = b"".join(outcome.written.get("stderr", b"") for outcome in outcomes.values())
    assert [name for name in (b"urllib3", b"msal", b"[removed]", b"connector.kafka.sink") if name not in stderr] == []


@pytest.mark.parametrize(("name", "how"), sorted(FORMS))
def test_a_secret_that_is_written_would_be_found(name: str, how: str) -> None:
    """Positive control of the search: each secret, in the middle of something, in each form."""
    secret = CANARIES[name]
    if "base64" in how:
        text = base64.b64encode(b"x" * (int(how[-1]) + 3) + secret.encode() + b":y")
        text = text.translate(bytes.maketrans(b"+/", b"-_")) if how.startswith("URL-safe") else text
    else:
        text = b"before " + FORMS[name, how] + b" after"
    assert (name, how) in leaks(text)


def test_plain_debug_logging_of_the_http_library_shows_a_signature(simulator: Simulator, tmp_path: Path) -> None:
    """Positive control of the danger: without this connector's care, urllib3 logs what opens a customer's export."""
    program = (
        "import logging, requests, sys; logging.basicConfig(level=logging.DEBUG);"
        f" requests.get({signed(simulator.storage_url.removeprefix('https://'))!r}, verify=sys.argv[1], timeout=20)"
    )
    plain = subprocess.run(
        [sys.executable, "-c", program, str(simulator.ca_bundle)], capture_output=True, cwd=tmp_path, check=True
    )
    assert {("any signature", "in a URL"), ("signature of a file's URL", "quoted")} <= set(leaks(plain.stderr))


# ---- where the token and connections go


@pytest.mark.parametrize("method", ["files", "json"])
@pytest.mark.parametrize(
    "faults",
    [
        (),
        (Fault(Endpoint.BLOB, FaultKind.CONNECTION_RESET, times=2), Fault(Endpoint.BLOB, FaultKind.EXPIRED_URL)),
        (Fault(Endpoint.EXPORT, FaultKind.STATUS, status=401), Fault(Endpoint.PAGES, FaultKind.STATUS, status=401)),
        (Fault(Endpoint.BLOB, FaultKind.STATUS, status=401, times=None),),
        (Fault(Endpoint.PAGES, FaultKind.STATUS, status=500, times=2),),
    ],
)
def test_the_token_goes_to_the_api_only(
    simulator: Simulator, tmp_path: Path, method: str, faults: tuple[Fault, ...]
) -> None:
    """Through failures, retries and new listings: no request to the storage's host or the authority has one."""
    simulator.faults.add(*faults)
    before = len(simulator.requests)
    with open_bench(simulator, tmp_path, method=method) as bench:
        try:
            bench.source.fetch(Inventory.CPE, newer_than=None)
        except ConnectorError:
            assert faults
    requests = simulator.requests[before:]
    shown = {(request.host.partition(":")[0], request.endpoint) for request in requests if request.has_authorization}
    assert shown == {("localhost", Endpoint.EXPORT if method == "files" else Endpoint.PAGES)}
    hosts = {"localhost", "127.0.0.1"} if method == "files" else {"localhost"}
    assert {request.host.partition(":")[0] for request in requests} == hosts


ELSEWHERE = [
    "http://localhost:{port}",
    "http://127.0.0.1:{port}",
    "https://127.0.0.1:{port}",
    "https://user:password@localhost:{port}",
    "https://localhost@127.0.0.1:{port}",
    "https://127.0.0.1.:{port}",
    "https://127.1:{port}",
    "https://2130706433:{port}",
    "https://0x7f000001:{port}",
    "https://[::1]:{port}",
    "https://[::ffff:127.0.0.1]:{port}",
    "https://0.0.0.0:{port}",
    "https://LOCALHOST.localdomain:{port}",
    "https://localhost:{port}",
]


@pytest.mark.parametrize(
    ("endpoint", "kind", "method"),
    [
        (Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, "files"),
        (Endpoint.PAGES, FaultKind.NEXT_LINK_ELSEWHERE, "json"),
        (Endpoint.EXPORT, FaultKind.REDIRECT, "files"),
        (Endpoint.PAGES, FaultKind.REDIRECT, "json"),
        (Endpoint.TOKEN, FaultKind.REDIRECT, "files"),
    ],
)
def test_no_connection_is_made_to_a_host_that_is_not_allowed(
    simulator: Simulator, tmp_path: Path, endpoint: Endpoint, kind: FaultKind, method: str
) -> None:
    """File URLs, nextLinks and redirects over http, with a user, to addresses in any notation and to other hosts."""
    with listener(tmp_path) as connected:
        for number, url in enumerate(ELSEWHERE):
            simulator.faults.clear()
            simulator.faults.add(Fault(endpoint, kind, url=url.format(port=connected.port), times=None))
            before = len(simulator.requests)
            with (
                open_bench(simulator, tmp_path / str(number), method=method, allowed_hosts=[]) as bench,
                pytest.raises(ConnectorError),
            ):
                bench.source.fetch(Inventory.CPE, newer_than=None)
            assert kind in {fault for request in simulator.requests[before:] for fault in request.faults}
            assert (url, connected.connections) == (url, 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_of_the_storage_is_not_followed_even_to_an_allowed_host(
    simulator: Simulator, tmp_path: Path, scheme: str
) -> None:
    """Only the API says where a file lies."""
    with listener(tmp_path) as connected, open_bench(simulator, tmp_path, method="files") as bench:
        url = f"{scheme}://127.0.0.1:{connected.port}"
        simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.REDIRECT, url=url, times=None))
        with pytest.raises(ConnectorError, match="redirect"):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert connected.connections == 0


def test_a_connection_to_an_allowed_host_is_counted(simulator: Simulator, tmp_path: Path) -> None:
    """Positive control: the same listener, with its host allowed, is connected to."""
    with (
        listener(tmp_path) as connected,
        open_bench(simulator, tmp_path, method="files", allowed_hosts=["127.0.0.1"]) as bench,
    ):
        url = f"https://127.0.0.1:{connected.port}"
        simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.FILES_ELSEWHERE, url=url, times=None))
        with pytest.raises(ConnectorError):
            bench.source.fetch(Inventory.CPE, newer_than=None)
        assert connected.connections > 0


def listener(folder: Path) -> RawServer:
    """Counts the connections that are made to it, and closes each."""
    return RawServer(lambda connection, _: connection.close(), folder, tls=False)
