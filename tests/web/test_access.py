"""Who may see the pages, and what no other site or program can do with them."""

from __future__ import annotations

import pytest

from connector.config import ConsoleConfig
from connector.errors import ConfigError
from connector.web.access import HEADERS, Access
from tests.support.console import Client


def test_the_link_gives_a_cookie_that_is_enough(client: Client) -> None:
    """It leads to the overview without the token in the address; the cookie has the port in its name."""
    link = client.console.access.link
    response = client.ask(link.removeprefix(client.console.access.origin), Authorization=None)
    name, _, rest = response.headers["Set-Cookie"].partition("=")
    assert (response.status, response.headers["Location"]) == (303, "/overview")
    assert name == f"mde_inventory_console_{client.port}"
    assert {part.strip() for part in rest.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=Strict"}
    assert client.console.access.token not in rest
    assert client.ask("/overview", Authorization=None, Cookie=client.log_in()).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": None},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": None, "Cookie": "mde_inventory_console_1=x"},
        {"Authorization": "Bearer \u00e9"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/overview", "/overview.json", "/exposure.csv", "/nowhere", "/?token=wrong"])
def test_without_token_or_cookie_there_is_nothing_to_see(
    client: Client, path: str, headers: dict[str, str | None]
) -> None:
    """Not even which pages exist: 401, and how to get in."""
    response = client.ask(path, "GET", **headers)
    assert (response.status, "Set-Cookie" in response.headers) == (401, False)
    assert b"printed" in response.body
    assert b"jre" not in response.body


def test_a_token_in_the_address_of_a_page_lets_nobody_in(client: Client) -> None:
    """Only the first page takes it, and leads on without it: addresses are kept and shown."""
    assert client.ask(f"/overview?token={client.console.access.token}", Authorization=None).status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", None])
def test_a_foreign_host_gets_nothing(client: Client, host: str | None) -> None:
    """A name that was rebound to loopback is not ours, whatever token comes with it."""
    response = client.ask("/overview", Host=host and host.format(port=client.port))
    assert response.status in {400, 421}
    assert b"jre" not in response.body


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_the_names_of_loopback_are_ours(client: Client, host: str) -> None:
    """Whichever of them a browser uses."""
    assert client.ask("/overview.json", Host=host.format(port=client.port)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize("path", ["/overview", "/overview.json", "/exposure.csv", "/static/console.css"])
def test_what_another_site_asks_for_is_refused(client: Client, path: str, headers: dict[str, str]) -> None:
    """Another port of this machine is another site too; even with the token."""
    assert client.ask(path, **headers).status == 403


def test_what_a_page_of_ours_asks_for_is_not(client: Client) -> None:
    """The same origin, and what a person types."""
    for headers in (
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{client.port}"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert client.ask("/overview.json", **headers).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_done_but_looking(client: Client, method: str) -> None:
    """405, with what is allowed, for whoever asks."""
    for headers in ({}, {"Authorization": None}):
        response = client.ask("/held", method, **headers)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_a_body(client: Client) -> None:
    """As probes ask."""
    response = client.ask("/overview", "HEAD")
    assert (response.status, response.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/overview", {}),
        ("/overview.json", {}),
        ("/exposure.csv", {}),
        ("/static/console.css", {"Authorization": None}),
        ("/static/icon.svg", {}),
        ("/nowhere", {}),
        ("/changes?since=never", {}),
        ("/overview", {"Authorization": None}),
        ("/overview", {"Host": "evil.example"}),
        ("/overview", {"Origin": "null"}),
    ],
)
def test_every_response_has_the_headers_that_protect_it(
    client: Client, path: str, headers: dict[str, str | None]
) -> None:
    """No script, no frame, nothing from elsewhere, nothing kept; errors and refusals included."""
    response = client.ask(path, "GET", **headers)
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("listen", ["127.0.0.1:8787", "[::1]:0", "localhost:65535", "127.8.7.6:1"])
def test_it_listens_on_loopback(listen: str) -> None:
    """Any address of it."""
    assert ConsoleConfig().listening_on(listen).address[1] == int(listen.rpartition(":")[2])


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8787", "[::]:8787", "192.168.1.4:80", "console.example:1", "8787", ":8787", "127.0.0.1:x",
               "127.0.0.1:70000", "127.0.0.1:\u0661", ""]
)  # fmt: skip
def test_it_listens_nowhere_else(listen: str) -> None:
    """Exit code 2, before anything is served."""
    with pytest.raises(ConfigError) as raised:
        ConsoleConfig().listening_on(listen)
    assert raised.value.hint


def test_tokens_are_random_and_long() -> None:
    """Each console has its own, and the cookie of one opens no other."""
    one, other = (Access(ConsoleConfig(listen="127.0.0.1:1"), 1) for _ in range(2))
    assert one.token != other.token
    assert len(one.token) >= 40
    assert one.is_token(one.token)
    assert not one.is_token(other.token)
