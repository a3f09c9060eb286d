"""The console in a real browser: whole with and without scripts, in both themes, for everybody, and against others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from connector.config import ConsoleConfig
from connector.web import Console
from connector.web.pages import PAGES
from connector.web.visits import Visits
from tests.support.browser import FOREIGN_NAME, THEMES, Theme, Visitor, chromium, visitor
from tests.support.console import ADDRESSES, HOSTILE, assembly_of, write_empty, write_lived_in, write_many

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DEVICES = 100_000
NARROW = 320
SECONDS_MAX = 60.0
"""How long a visit may take here, where other tests have the processors."""
FILES: dict[str, Callable[[Path], Path]] = {
    "empty": write_empty,
    "few": write_lived_in,
    "many": partial(write_many, devices=DEVICES),
}
"""No data; a few devices, some with hostile names; many devices."""
OF_MANY = {"/device?id=a": "/device?id=d000001"}


@pytest.fixture(scope="module")
def browser(module_tool: Callable[[str], Path], had: Callable[..., Any]) -> Iterator[Browser]:
    """The browser of this module."""
    with ExitStack() as stack:
        yield had(stack.enter_context, chromium(module_tool("chromium")))


@pytest.fixture(scope="module")
def axe(module_tool: Callable[[str], Path]) -> str:
    """The script that judges pages."""
    return module_tool("axe").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def consoles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Console]]:
    """Consoles over state files, each made when it is first asked for."""
    known: dict[str, Console] = {}
    with ExitStack() as stack:

        def console(name: str) -> Console:
            if name not in known:
                path = FILES[name](tmp_path_factory.mktemp(name))
                visits = partial(Visits, pause_seconds=0.0, seconds_max=SECONDS_MAX)
                settings = ConsoleConfig(listen="127.0.0.1:0")
                served = Console(stack.enter_context(assembly_of(path)), settings, visits=visits)
                known[name] = stack.enter_context(served)
            return known[name]

        yield console


Comes = Callable[..., Visitor]


@pytest.fixture(scope="module")
def visit(browser: Browser, consoles: Callable[[str], Console]) -> Iterator[Comes]:
    """`visit("few", theme="dark")`: somebody who came by the link to the console over that file, and comes again."""
    known: dict[str, Visitor] = {}
    with ExitStack() as stack:

        def come(name: str = "few", **how: Any) -> Visitor:
            key = f"{name} {sorted(how.items())}"
            if key not in known:
                access = consoles(name).access
                known[key] = stack.enter_context(visitor(browser, access.origin, access.link, **how))
            return known[key]

        yield come


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name", FILES)
def test_a_page_is_whole_with_and_without_scripts(name: str, address: str, visit: Comes) -> None:
    """In either theme: no error, nothing from elsewhere, nothing that its policy forbids, the same text."""
    texts = set()
    for theme, scripts in zip(THEMES, (True, False), strict=True):
        somebody = visit(name, theme=theme, scripts=scripts)
        status = somebody.open(OF_MANY.get(address, address) if name == "many" else address)
        assert (status, somebody.problems) == (200, [])
        texts.add(somebody.text)
    assert len(texts) == 1


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("address", [*ADDRESSES, "/changes?since=never"])
def test_a_page_keeps_nobody_out(address: str, theme: Theme, visit: Comes, axe: str) -> None:
    """axe-core finds nothing serious, with rows and without."""
    for name in ("few", "empty"):
        somebody = visit(name, theme=theme)  # axe waits for timers, which pages without scripts do not have
        somebody.open(address)
        assert somebody.serious_findings(axe) == []


@pytest.mark.parametrize("address", [*ADDRESSES, "/changes?since=never", f"/device?id=id {HOSTILE['long']}"])
def test_a_page_fits_a_narrow_screen(address: str, visit: Comes) -> None:
    """At 320 px, which is 1280 px at four times the size, the page itself does not scroll sideways."""
    for name in ("few", "empty"):
        somebody = visit(name, width=NARROW)
        somebody.open(address)
        assert somebody.run("() => document.documentElement.scrollWidth") <= NARROW


def test_a_keyboard_is_enough(visit: Comes) -> None:
    """The first stop skips the menu; every stop can be seen; a filter is filled in and sent with Enter."""
    somebody = visit(theme="light", scripts=True)
    somebody.open("/changes")
    keyboard = somebody.page.keyboard
    keyboard.press("Tab")
    assert somebody.focused() == {"tag": "a", "name": "Skip to the page", "visible": True}
    keyboard.press("Enter")
    assert somebody.page.url.endswith("#main")
    keyboard.press("Tab")
    assert (somebody.focused()["tag"], somebody.focused()["name"]) == ("input", "device")
    somebody.open("/changes")
    stops: list[dict[str, Any]] = []
    while not stops or stops[-1]["tag"] != "button":
        keyboard.press("Tab")
        stops.append(somebody.focused())
        assert stops[-1]["visible"], stops[-1]
        assert len(stops) < 60
    menu = [page.menu for page in PAGES.values() if page.menu]
    assert [stop["name"] for stop in stops][: len(menu) + 2] == ["Skip to the page", "mde·inventory", *menu]
    somebody.open("/changes")
    somebody.page.get_by_role("textbox", name="Device").focus()
    keyboard.type("a.x")
    keyboard.press("Enter")
    somebody.page.wait_for_url("**/changes?device=a.x*")
    assert somebody.page.get_by_role("textbox", name="Device").input_value() == "a.x"


def test_a_person_finds_a_device_and_its_past(visit: Comes) -> None:
    """From the overview by its name to its page, and to the day before; without scripts."""
    somebody = visit(theme="dark", scripts=False)
    somebody.open("/overview")
    somebody.page.get_by_label("Find a device").fill("a.x")
    somebody.page.get_by_label("Find a device").press("Enter")
    somebody.page.get_by_role("link", name="a.x").click()
    assert "jre" in somebody.page.locator("table").first.inner_text()
    somebody.page.get_by_label("As of").fill("2026-11-23T15:00")
    somebody.page.get_by_role("button", name="Show").click()
    assert "7" in somebody.page.locator("table").first.inner_text()
    assert "out of support" in somebody.page.locator("table").first.inner_text()
    assert somebody.problems == []


@pytest.mark.parametrize("theme", THEMES)
def test_it_prints(theme: Theme, visit: Comes) -> None:
    """On paper there is neither menu nor form, and the ground is white, whatever the theme."""
    somebody = visit(theme=theme, width=794)
    somebody.open("/overview")
    somebody.page.emulate_media(media="print")
    assert somebody.run("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not somebody.page.locator("nav").is_visible()
    assert not somebody.page.locator("form").first.is_visible()


# ---- names that are somebody else's text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_a_browser(name: str, visit: Comes, axe: str) -> None:
    """No script of it runs, nothing is asked for, no direction changes, no page scrolls sideways."""
    somebody = visit(width=NARROW)
    text = HOSTILE[name]
    for path in ("/device?id=", "/devices?q=", "/product?name="):
        somebody.page.goto(f"{somebody.origin}/devices")
        somebody.problems.clear()
        named = {"/device?id=": f"id {text}", "/devices?q=": text, "/product?name=": text}[path]
        address = somebody.run("text => encodeURIComponent(text)", named)
        vendor = f"&vendor={address}" if path.startswith("/product") else ""
        assert somebody.open(f"{path}{address}{vendor}") == 200
        assert somebody.problems == []
        assert somebody.run("() => document.querySelectorAll('script, img, iframe').length") == 0
        assert somebody.run("() => document.documentElement.scrollWidth") <= NARROW
        assert not {"\u202e", "\u2066"} & set(somebody.text)
        assert somebody.serious_findings(axe) == []


# ---- whoever should not be there


def test_without_the_link_a_browser_sees_nothing(
    browser: Browser, consoles: Callable[[str], Console], axe: str
) -> None:
    """A page that says how to get in, which keeps nobody out; the same for a wrong token."""
    access = consoles("few").access
    for address in ("/overview", "/?token=wrong"):
        with visitor(browser, access.origin) as stranger:
            assert stranger.open(address) == 401
            assert "printed" in stranger.text
            assert "jre" not in stranger.text
            assert stranger.page.context.cookies() == []
            assert stranger.serious_findings(axe) == []


def test_a_rebound_name_reaches_nothing(browser: Browser, consoles: Callable[[str], Console]) -> None:
    """A name of another site that resolves to this machine: neither pages nor a cookie, with the token too."""
    access = consoles("few").access
    origin = access.origin.replace("127.0.0.1", FOREIGN_NAME)
    with visitor(browser, origin) as stranger:
        for address in ("/overview", f"/?token={access.token}"):
            assert stranger.open(address) == 421
            assert "jre" not in stranger.text
        assert stranger.page.context.cookies() == []


@pytest.fixture
def other_site() -> Iterator[str]:
    """Another site of this machine, whose pages ask the console for things in the name of whoever looks at them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>other</title><form method=post></form><p>other"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_another_site_can_do_nothing(other_site: str, visit: Comes) -> None:
    """Somebody who is let in looks at another site: it can neither post, nor read, nor frame a page."""
    somebody = visit(theme="dark", width=1024)
    console = somebody.origin
    for address in ("/held", "/overview"):
        somebody.page.goto(other_site)
        with somebody.page.expect_navigation() as navigation:
            somebody.run(
                "target => { document.forms[0].action = target; document.forms[0].submit(); }", console + address
            )
        assert navigation.value.status in {403, 405}
    somebody.page.goto(other_site)
    read = somebody.run(
        "target => fetch(target, {credentials: 'include'}).then(answer => answer.text(), () => 'nothing')",
        f"{console}/overview.json",
    )
    assert read == "nothing"
    somebody.run(
        """target => new Promise(done => {
            const frame = document.createElement('iframe');
            frame.onload = frame.onerror = done;
            frame.src = target;
            document.body.append(frame);
        })""",
        f"{console}/overview",
    )
    assert "jre" not in "".join(frame.content() for frame in somebody.page.frames)
    with somebody.page.expect_navigation() as navigation:
        somebody.run("target => { location = target; }", f"{console}/overview")
    assert navigation.value.status == 403
