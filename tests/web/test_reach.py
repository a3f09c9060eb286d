"""Beyond loopback: TLS, a trusted proxy and its users, several tenants, and the file with the link."""

from __future__ import annotations

import http.client
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography import x509

from connector.config import ConsoleConfig
from connector.errors import ConfigError
from connector.state import decisions
from connector.state.publisher_lock import RUN
from connector.state.state import StateFile
from connector.web import Console
from connector.web.access import Access
from connector.web.link import link_file
from connector.web.visits import Visits
from tests.support.bench import Bench, staging_rules
from tests.support.console import Client, assembly_of, line
from tests.web.test_decisions import STRICT, form

SITE = "mde.example"
PROXIED = ConsoleConfig(
    listen="127.0.0.1:0", trusted_proxies=("127.0.0.1",), allowed_hosts=(SITE,), allow_decisions=True
)
BEHIND: dict[str, str | None] = {"Host": SITE, "Authorization": None}
ALICE: dict[str, str | None] = {"X-Forwarded-User": "alice"}


def ask(client: Client, path: str, **headers: str | None) -> int:
    """The status of what comes by the proxy."""
    return client.ask(path, "GET", **BEHIND | headers).status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file in which 18 removals are held."""
    lines = [line(f"d{number:02}", "7") for number in range(20)]
    with Bench(tmp_path) as bench:
        for some in (lines, lines, lines[:2]):
            bench.take(bench.snapshot(some), rules=None if len(some) > 2 else staging_rules(STRICT))
            bench.confirm_baseline()
        return bench.path


@pytest.fixture
def serve() -> Iterator[Callable[..., Client]]:
    """Serves state files with settings."""
    with ExitStack() as stack:

        def serve(settings: ConsoleConfig, **paths: Path) -> Client:
            tenants = {name: stack.enter_context(assembly_of(path)) for name, path in paths.items()}
            console = Console(tenants, settings, visits=partial(Visits, pause_seconds=0.0))
            return Client(stack.enter_context(console))

        yield serve


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"listen": "0.0.0.0:8787", "allowed_hosts": [SITE]},
            "elsewhere: set tls_certificate_path",
        ),
        ({"listen": "10.0.0.1:8787"}, "elsewhere: set tls_certificate_path"),
        ({"listen": "0.0.0.0:8787", "trusted_proxies": ["10.0.0.0/8"]}, "allowed_hosts: is needed"),
        ({"listen": "127.0.0.1:8787", "tls_key_path": "key.pem"}, "tls_certificate_path: is needed"),
        ({"trusted_proxies": ["the proxy"]}, "must be an IP address, or a network"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "must be an IP address, or a network"),
        ({"user_header": "X User"}, "must be the name of a header"),
        ({"allowed_hosts": ["https://mde.example"]}, "must be a host name"),
        ({"listen": "8787"}, "must be host:port"),
    ],
)
def test_what_would_let_anybody_in_is_refused(settings: dict[str, Any], problem: str) -> None:
    """A configuration error that says what to do, before anything is served."""
    with pytest.raises(ValueError, match=problem):
        ConsoleConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "0.0.0.0:8787", "trusted_proxies": ["10.0.0.0/8"], "allowed_hosts": ["mde.example", "[::1]:8443"]},
        {"listen": "10.0.0.1:8787", "tls_certificate_path": "c.pem", "tls_key_path": "k.pem"},
        {"listen": ""},
        {"listen": "localhost:8787"},
    ],
)
def test_what_knows_who_comes_is_not(settings: dict[str, Any]) -> None:
    """TLS, or a proxy; on loopback neither is needed."""
    assert ConsoleConfig(**settings).listen == settings["listen"]


def test_a_user_of_the_proxy_needs_no_link(serve: Callable[..., Client], path: Path) -> None:
    """Known by the header, which counts from the proxy alone and once; without it the link is needed."""
    client = serve(PROXIED, tenant=path)
    assert ask(client, "/overview", X_Forwarded_User="alice@mde.example") == 200
    assert ask(client, "/overview") == 401
    assert ask(client, "/overview", X_Forwarded_User=" ") == 401
    assert ask(client, "/overview", X_Auth_Request_User="alice") == 401
    back = ALICE | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(client, "/overview", **back) == 200
    assert ask(client, "/overview", **back | {"Sec-Fetch-Mode": "no-cors"}) == 403


def test_a_decision_behind_the_proxy_has_the_users_name(serve: Callable[..., Client], path: Path) -> None:
    """The form is made for that user: with another's name it decides nothing."""
    client = serve(PROXIED, tenant=path)
    with assembly_of(path) as assembly, assembly.publisher_lock(RUN):
        filled = form(client, BEHIND | ALICE)
        posted = BEHIND | ALICE | {"Cookie": None, "Origin": f"https://{SITE}"}
        assert client.post("/held", filled, **posted | {"X-Forwarded-User": "mallory"}).status == 403
        assert client.post("/held", filled, **posted).status == 200
    with StateFile.open(path, memory_limit_mib=256, read_only=True) as state:
        (decided,) = decisions.newest(state.database)
    assert (decided["who"], decided["road"], decided["records"]) == ("alice", "console", 18)


def asked(settings: ConsoleConfig, peer: str, **headers: str) -> tuple[Access, web.BaseRequest]:
    """A request to a console as if it came from an address."""

    class Transport:
        def get_extra_info(self, name: str, default: object = None) -> object:
            return (peer, 50_000) if name == "peername" else default

    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("GET", "/overview", headers={"Host": SITE, **names}, transport=Transport())
    return Access(settings, 8787), request


@pytest.mark.parametrize(
    ("peer", "refused", "user"),
    [
        ("10.1.2.3", False, "alice"),
        ("::ffff:10.1.2.3", False, "alice"),
        ("127.0.0.1", False, ""),
        ("192.168.0.1", True, ""),
        ("fe80::1%eth0", True, ""),
        ("", True, ""),
    ],
)
def test_the_header_counts_from_the_proxy_alone(peer: str, refused: bool, user: str) -> None:
    """And in clear text nobody else from afar gets anything."""
    settings = ConsoleConfig(listen="0.0.0.0:8787", trusted_proxies=("10.0.0.0/8",), allowed_hosts=(SITE,))
    access, request = asked(settings, peer, X_Forwarded_User="alice")
    assert (access.refusal(request) is not None, access.user(request)) == (refused, user)
    assert access.admits(request) is bool(user)


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Before anything is served, with what to give."""
    (tmp_path / "c.pem").write_text("no certificate", encoding="ascii")
    for certificate in ("c.pem", "missing.pem"):
        settings = ConsoleConfig(
            listen="127.0.0.1:0", tls_certificate_path=tmp_path / certificate, tls_key_path=tmp_path / "c.pem"
        )
        with pytest.raises(ConfigError, match="cannot be used") as raised:
            Console({}, settings)
        assert "PEM" in raised.value.hint


def test_with_a_certificate_it_talks_tls(tmp_path: Path, path: Path) -> None:
    """And the cookie is for encrypted connections only."""
    authority = trustme.CA()
    issued, chain, key = authority.issue_cert("127.0.0.1"), tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(chain)
    issued.private_key_pem.write_to_path(key)
    settings = ConsoleConfig(listen="127.0.0.1:0", tls_certificate_path=chain, tls_key_path=key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with assembly_of(path) as assembly, Console(assembly, settings) as console:
        origin, _, port = console.access.origin.rpartition(":")
        connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=30)
        connection.request("GET", console.access.link.removeprefix(console.access.origin))
        response = connection.getresponse()
        connection.close()
    assert (origin, response.status, "Secure" in response.headers["Set-Cookie"]) == ("https://127.0.0.1", 303, True)


def test_a_renewed_certificate_counts_without_a_restart(path: Path, tmp_path: Path) -> None:
    """From the next connection on; while only one of the two files is new, the certificate before stays."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    authority = trustme.CA()

    def issue() -> trustme.LeafCert:
        return authority.issue_cert("127.0.0.1")

    def serial() -> int:
        """Of the certificate that the console shows."""
        context = ssl.create_default_context()
        authority.configure_trust(context)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
        connection.request("GET", "/static/icon.svg")
        assert connection.getresponse().status == 200
        shown = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return x509.load_der_x509_certificate(bytes(shown or b"")).serial_number

    def number(issued: trustme.LeafCert) -> int:
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    first, second = issue(), issue()
    first.cert_chain_pems[0].write_to_path(chain)
    first.private_key_pem.write_to_path(key)
    settings = ConsoleConfig(listen="127.0.0.1:0", tls_certificate_path=chain, tls_key_path=key)
    with assembly_of(path) as assembly, Console(assembly, settings) as console:
        port = int(console.access.origin.rpartition(":")[2])
        assert serial() == number(first)
        second.cert_chain_pems[0].write_to_path(chain)
        assert serial() == number(first)
        second.private_key_pem.write_to_path(key)
        assert serial() == number(second)
        key.unlink()
        assert serial() == number(second)


def test_one_console_has_several_tenants(serve: Callable[..., Client], path: Path, tmp_path: Path) -> None:
    """The page that names one is about it, and so are the pages after it; the menu and the JSON twin name it."""
    (tmp_path / "second").mkdir()
    with Bench(tmp_path / "second") as bench:
        second = bench.path
    client = serve(ConsoleConfig(listen="127.0.0.1:0", allow_decisions=True), first=path, second=second)
    page = client.ask("/held")
    assert "MASS_REMOVAL" in page.text.upper().replace(" ", "_")
    assert "<option selected>first</option>" in page.text
    other = client.ask("/held?tenant=second")
    assert "Nothing is held" in other.text
    assert "/held.json?tenant=second" in other.text
    cookie = other.headers["Set-Cookie"].partition(";")[0]
    assert "Nothing is held" in client.ask("/held", Cookie=cookie).text
    assert client.ask("/held.json?tenant=first", Cookie=cookie).json["held"]
    assert client.ask("/held?tenant=third").status == 404
    filled = form(client)
    assert client.post("/held", filled | {"tenant": "second"}).status == 403
    assert client.post("/held", filled | {"tenant": "third"}).status == 404


def test_the_link_of_a_run_is_in_a_file_for_its_user_alone(tmp_path: Path) -> None:
    """While it runs, whatever was there before."""
    path = tmp_path / "state.duckdb.console"
    path.write_text("old", encoding="ascii")
    path.chmod(0o644)
    with link_file(path, "http://127.0.0.1:8787/?token=x"):
        assert (path.read_text(encoding="ascii"), stat.S_IMODE(path.stat().st_mode)) == (
            "http://127.0.0.1:8787/?token=x\n",
            0o600,
        )
    assert not path.exists()
