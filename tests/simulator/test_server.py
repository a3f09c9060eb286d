from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from connector.config.tables import SourceConfig
from connector.errors import ConfigError
from connector.model import Inventory, Method
from connector.simulator import (
    ADMIN_HEADER,
    Certificate,
    Endpoint,
    Fault,
    FaultKind,
    Fleet,
    RateLimits,
    Request,
    Simulator,
    run_simulator,
)
from connector.simulator.web.limits import RateLimiter
from tests.support.plain_client import LISTINGS, PAGES, PlainClient, in_order, normal

START = datetime(2026, 1, 1, tzinfo=UTC)


def fleet(devices: int = 6) -> Fleet:
    """A small fleet."""
    return Fleet(seed=3, devices=devices, start=START)


@pytest.fixture
def client() -> Iterator[PlainClient]:
    """A client of a small fleet."""
    with Simulator(fleet()) as simulator, PlainClient(simulator) as client:
        yield client


def test_its_settings_are_a_source_table_that_the_configuration_takes(client: PlainClient) -> None:
    """The configuration accepts them, and they lead to hosts that resolve on any machine."""
    config = SourceConfig(**client.simulator.settings(page_size=100))
    assert config.allowed_hosts == (client.simulator.storage_host,)
    assert config.api_url == client.simulator.api_url
    assert config.page_size == 100


def test_files_are_on_another_host_than_the_api(client: PlainClient) -> None:
    """Host name and port of every file URL differ from the API's."""
    api = urlsplit(client.simulator.api_url)
    for url in client.urls():
        assert urlsplit(url).hostname == client.simulator.storage_host != api.hostname
        assert urlsplit(url).port != api.port
        assert urlsplit(url).scheme == "https"


@pytest.mark.parametrize("certificate", [kind for kind in Certificate if kind is not Certificate.VALID])
def test_a_client_can_be_shown_a_certificate_that_it_must_refuse(certificate: Certificate) -> None:
    """Each kind of bad certificate breaks TLS on the host that has it, and only there."""
    with Simulator(fleet(), certificate=certificate) as simulator, PlainClient(simulator) as client:
        with pytest.raises(requests.exceptions.SSLError):
            client.ask_token()
        assert client.get(simulator.storage_url).status_code == 403
    with Simulator(fleet(), storage_certificate=certificate) as simulator, PlainClient(simulator) as client:
        with pytest.raises(requests.exceptions.SSLError):
            client.blob()
        assert client.ask_token().status_code == 200


def test_urls_are_good_byte_for_byte_only(client: PlainClient) -> None:
    """A changed, requoted or missing signature is 403 with Azure's XML; so is another file's."""
    url = client.urls()[0]
    other = client.urls()[1]
    path, _, query = url.partition("?")
    wrong = [
        path,
        f"{path}?{query}&x=1",
        f"{path}?{query.replace('%3A', ':')}",
        f"{path}?{query.replace('sig=', 'sig=A')}",
        f"{other.partition('?')[0]}?{query}",
    ]
    for changed in wrong:
        answer = client.get(changed)
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/xml")
        assert b"<Code>AuthenticationFailed</Code>" in answer.content
    assert client.get(url).status_code == 200


def test_urls_expire_by_the_simulators_clock() -> None:
    """Six hours after the listing a file is 403, and the XML says why."""
    now = [datetime.now(UTC)]
    with Simulator(fleet(), clock=lambda: now[0]) as simulator, PlainClient(simulator) as client:
        [url, *_] = client.get(f"{LISTINGS[Inventory.CPE]}?sasValidHours=6").json()["exportFiles"]
        now[0] += timedelta(hours=6, seconds=-1)
        assert client.get(url).status_code == 200
        now[0] += timedelta(seconds=1)
        answer = client.get(url)
        assert answer.status_code == 403
        assert "Signature not valid in the specified key time frame" in answer.text
        assert answer.content.startswith(b"\xef\xbb\xbf<?xml")


def test_storage_refuses_a_bearer_token(client: PlainClient) -> None:
    """As Azure Storage does where a signed URL comes with an Authorization header."""
    headers = {"Authorization": "Bearer x"}
    answer = client.session.get(client.urls()[0], headers=headers, timeout=20)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "InvalidAuthenticationInfo")


def test_files_tell_their_length_and_can_be_read_in_ranges(client: PlainClient) -> None:
    """Content-Length is right, no content encoding is claimed, and a range gives that range."""
    url = client.urls()[0]
    whole = client.get(url)
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    assert "Content-Encoding" not in whole.headers
    part = client.session.get(url, headers={"Range": "bytes=10-19"}, timeout=20)
    assert (part.status_code, part.content) == (206, whole.content[10:20])


def test_other_methods_and_paths_are_refused(client: PlainClient) -> None:
    """POST to the API is 405, an unknown path is 404, on storage too."""
    root = client.simulator.api_url
    assert client.session.post(root + LISTINGS[Inventory.CPE], timeout=20).status_code == 405
    assert client.get("/api/machines/unknown").status_code == 404
    assert client.session.delete(client.urls()[0], timeout=20).status_code == 405


def test_the_published_rate_limits_are_kept() -> None:
    """The sixth listing within a minute is 429 and says how long to wait; the other endpoints are not concerned."""
    with Simulator(fleet(), rate_limits=RateLimits()) as simulator, PlainClient(simulator) as client:
        answers = [client.get(LISTINGS[Inventory.CPE]) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[5].json()["error"]["code"] == "TooManyRequests"
        assert 55 <= int(answers[5].headers["Retry-After"]) <= 61
        assert client.get(LISTINGS[Inventory.NON_CPE]).status_code == 200
        pages = [client.get(f"{PAGES[Inventory.CPE]}?$top=1").status_code for _ in range(31)]
        assert pages == [200] * 30 + [429]


def test_rate_limits_count_over_both_windows() -> None:
    """Twenty listings an hour, never more than five a minute; refused calls do not count; each client for itself."""
    now = [0.0]
    limiter = RateLimiter(RateLimits(), clock=lambda: now[0])
    allowed = []
    for _ in range(3 * 3600):
        if limiter.wait_seconds("a", "listing", Endpoint.EXPORT) == 0:
            allowed.append(now[0])
        now[0] += 1
    for length, calls in ((60, 5), (3600, 20)):
        assert max(sum(begin <= time < begin + length for time in allowed) for begin in allowed) == calls
    assert limiter.wait_seconds("b", "listing", Endpoint.EXPORT) == 0


def test_the_wait_that_is_told_is_enough_and_no_more() -> None:
    """After the time that a refusal names the call is allowed, a moment before it is not."""
    now = [1000.0]
    limiter = RateLimiter(RateLimits(pages_per_minute=2, pages_per_hour=3), clock=lambda: now[0])
    waits = [limiter.wait_seconds("a", "pages", Endpoint.PAGES) for _ in range(3)]
    assert waits == [0, 0, 60]
    now[0] += 59
    assert limiter.wait_seconds("a", "pages", Endpoint.PAGES) == 1
    now[0] += 1
    assert limiter.wait_seconds("a", "pages", Endpoint.PAGES) == 0
    assert limiter.wait_seconds("a", "pages", Endpoint.PAGES) == 3600 - 60


def test_requests_are_recorded_without_what_is_secret(client: PlainClient) -> None:
    """Method, host, path, names in the query, whether a token came; no value of any of them."""
    [url, *_] = client.urls()
    client.get(url)
    api, storage = (urlsplit(root).netloc for root in (client.simulator.api_url, client.simulator.storage_url))
    token_path = f"/{client.simulator.tenant_id}/oauth2/v2.0/token"
    listing = LISTINGS[Inventory.CPE]
    assert client.simulator.requests == (
        Request("POST", api, token_path, Endpoint.TOKEN, (), has_authorization=False, faults=(), status=200),
        Request("GET", api, listing, Endpoint.EXPORT, (), has_authorization=True, faults=(), status=200),
        Request(
            *("GET", storage, urlsplit(url).path, Endpoint.BLOB, ("sv", "st", "se", "sr", "sp", "sig")),
            has_authorization=False,
            faults=(),
            status=200,
        ),
    )
    assert client.token() not in repr(client.simulator.requests)
    assert str(client.simulator.client_secret) not in repr(client.simulator)


def test_several_clients_are_served_at_once() -> None:
    """Downloads in parallel of a generation that is being written give what one after the other gives."""
    with Simulator(fleet(60), records_of_part_max=500) as simulator, PlainClient(simulator) as first:
        with ThreadPoolExecutor(8) as workers:
            listings = list(workers.map(lambda _: first.urls(), range(4)))
            assert len({tuple(urlsplit(url).path for url in urls) for urls in listings}) == 1
            bodies = list(workers.map(lambda url: first.get(url).content, listings[0]))
        assert bodies == [first.get(url).content for url in listings[1]]


def test_advance_writes_what_was_in_use_before_the_switch(client: PlainClient) -> None:
    """What clients asked for in the last generation is on disk in the next when it is first served."""
    client.file_records()
    client.simulator.advance()
    assert client.simulator._exports.current.written_exports() == ((Inventory.CPE, Method.FILES),)
    assert in_order([normal(record) for record in client.file_records()]) == in_order(client.simulator.records())
    assert client.simulator.prepare(Inventory.CPE, Method.JSON) == len(client.simulator.records())


def test_it_stops_cleanly_even_while_it_is_asked() -> None:
    """Leaving the context ends its thread, closes its sockets and deletes its files, hanging requests and all."""
    simulator = Simulator(fleet())
    outcome: list[BaseException] = []
    with simulator:
        folder = simulator.ca_bundle.parent
        simulator.faults.add(Fault(Endpoint.TOKEN, FaultKind.HANG))
        hanging = PlainClient(simulator, time_out_seconds=120)

        def ask() -> None:
            try:
                hanging.ask_token()
            except requests.ConnectionError as error:
                outcome.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: bool(simulator.requests))
        began = time.monotonic()
    took = time.monotonic() - began
    asking.join(10)
    hanging.session.close()
    gc.collect()
    assert outcome
    assert not folder.exists()
    assert took < 60
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("simulator")] == []


def test_a_port_that_is_taken_is_a_configuration_error(client: PlainClient) -> None:
    """The message says so, and nothing is left behind."""
    port = urlsplit(client.simulator.api_url).port
    with pytest.raises(ConfigError, match="cannot listen"), Simulator(fleet(), port=port or 0):
        pass


def test_the_admin_endpoint_wants_its_token(client: PlainClient) -> None:
    """Without the token it shows nothing and changes nothing."""
    url = f"{client.simulator.admin_url}faults"
    for headers in ({}, {ADMIN_HEADER: "guess"}):
        assert client.session.post(url, json=[], headers=headers, timeout=20).status_code == 401


def test_the_admin_endpoint_sets_faults_and_advances(client: PlainClient) -> None:
    """Faults are set, listed and cleared over HTTP, generations advanced, requests shown."""
    simulator = client.simulator

    def admin(method: str, what: str, **others: Any) -> requests.Response:
        headers = {ADMIN_HEADER: simulator.admin_token}
        return client.session.request(method, f"{simulator.admin_url}{what}", headers=headers, timeout=20, **others)

    fault = {"endpoint": "export", "kind": "status", "status": 503, "times": 2, "inventory": "CPE"}
    shown = admin("POST", "faults", json=[fault]).json()
    assert shown == [fault]
    assert client.get(LISTINGS[Inventory.CPE]).status_code == 503
    assert admin("DELETE", "faults").json() == []
    assert client.get(LISTINGS[Inventory.CPE]).status_code == 200
    assert admin("POST", "advance?generations=2").json() == {"generatedTime": "2026-01-01T12:00:00+00:00"}
    assert simulator.generation == 2
    assert [request["status"] for request in admin("GET", "requests").json()] == [200, 503, 200]
    for wrong in ('{"kind": 1}', "[{}]", '[{"endpoint": "export", "kind": "no such"}]', "no json"):
        assert admin("POST", "faults", data=wrong).status_code == 400
    assert admin("POST", "advance?generations=0").status_code == 400
    assert admin("GET", "else").status_code == 404


def test_it_runs_with_a_file_of_faults_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """The verb `simulate`: announced once, a generation every interval, the faults of the file."""
    path = tmp_path / "faults.json"
    path.write_text(json.dumps([{"endpoint": "token", "kind": "status", "status": 503}]))
    announced: list[Simulator] = []
    stop = threading.Event()
    listening = threading.Event()

    def announce(simulator: Simulator) -> None:
        announced.append(simulator)
        listening.set()

    def run() -> None:
        run_simulator(devices=5, seed=1, port=0, interval_seconds=1, faults_file=path, announce=announce, stop=stop)

    running = threading.Thread(target=run)
    running.start()
    try:
        assert listening.wait(20)
        [simulator] = announced
        with PlainClient(simulator) as client:
            assert client.ask_token().status_code == 503
            first = client.listing()["generatedTime"]
            wait_for(lambda: simulator.generation > 0)
            assert client.listing()["generatedTime"] > first
    finally:
        stop.set()
        running.join(20)
    assert not running.is_alive()
    assert len(announced) == 1


def test_a_wrong_file_of_faults_is_a_configuration_error(tmp_path: Path) -> None:
    """The error names the file and what a fault looks like."""
    path = tmp_path / "faults.json"
    simulator = Simulator(fleet())
    with pytest.raises(ConfigError, match=r"faults\.json"):
        simulator.faults.load(path)
    path.write_text('[{"endpoint": "blob", "kind": "crc_error", "tims": 1}]')
    with pytest.raises(ConfigError, match="tims"):
        simulator.faults.load(path)
    assert simulator.faults.pending == ()


@pytest.mark.parametrize("library", ["aiohttp", "trustme"])
def test_without_its_extra_the_import_says_what_to_install(library: str) -> None:
    """A missing library is a ConfigError with the pip command as its hint."""
    program = (
        f"import sys\nsys.modules[{library!r}] = None\n"
        "from connector.errors import ConfigError\n"
        "try:\n    import connector.simulator\nexcept ConfigError as error:\n    print(error, '|', error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"the simulator needs the package {library}" in done.stdout
    assert "pip install 'mde-inventory-connector[simulator]'" in done.stdout


def wait_for(condition: Any, seconds: float = 20) -> None:
    """Until a condition holds that another thread brings about."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_no_generation_is_dated_ahead_of_the_clock() -> None:
    """Asked for twice as often as its generations come, it goes on as fast as it may, and no faster."""
    now = START

    with Simulator(
        Fleet(seed=3, devices=2, start=START, interval=timedelta(minutes=1)), clock=lambda: now
    ) as simulator:
        advanced = []
        for _ in range(6):
            now += timedelta(seconds=30)
            advanced.append(simulator.advance_when_due())
            assert simulator.generated_at <= now
        now += timedelta(hours=1)
        advanced += [simulator.advance_when_due() for _ in range(2)]
    assert advanced == [False, True, False, True, False, True, True, True]
