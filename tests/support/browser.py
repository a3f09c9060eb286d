"""A real browser in the tests: the distribution's Chromium, driven by Playwright, and what it notes of each page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.support.broker import Missing

if TYPE_CHECKING:
    # Installed for `make test-deploy` and `make pictures` only.
    from playwright.sync_api import Browser, Page, Request

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")

SERIOUS: Final = ("serious", "critical")
PATIENCE_MILLISECONDS: Final = 120_000
FOREIGN_NAME: Final = "rebound.example"
"""A name that the browser resolves to this machine, as a rebound one does."""


@contextmanager
def chromium(executable: Path) -> Iterator[Browser]:
    """A browser with no window and no profile.

    Raises:
        Missing: Playwright is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise Missing("the package playwright is not installed (`make test-deploy` does it)") from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=[f"--host-resolver-rules=MAP {FOREIGN_NAME} 127.0.0.1"]
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """A person with a browser of their own: its cookies, theme and size.

    Attributes:
        page: the tab.
        origin: of the console.
        problems: what the browser reported since `open`: errors, dialogs, and requests to elsewhere.
    """

    page: Page
    origin: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url[:200]}"))
        self.page.on("request", self._note)
        self.page.on("dialog", self._dismiss)

    def open(self, address: str) -> int:
        """Load a page, with nothing noted so far. Returns its status."""
        self.problems.clear()
        response = self.page.goto(f"{self.origin}{address}")
        assert response is not None
        return int(response.status)

    def run(self, script: str, argument: object = None) -> Any:
        """What a function in the page returns; the rules of the page about scripts are for its own."""
        return self.page.evaluate(script, argument)

    @property
    def text(self) -> str:
        """What stands on the page."""
        return str(self.page.locator("body").inner_text())

    def serious_findings(self, axe: str) -> list[tuple[str, str]]:
        """What axe-core finds that keeps people out: the rule and the element."""
        self.run(axe)
        found = self.run("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            (finding["id"], node["html"][:200])
            for finding in found["violations"]
            if finding["impact"] in SERIOUS
            for node in finding["nodes"]
        ]

    def focused(self) -> dict[str, Any]:
        """The element that has the focus: its tag, its text or name, and whether the focus can be seen."""
        value: dict[str, Any] = self.run(
            """() => {
                const element = document.activeElement, style = getComputedStyle(element);
                const box = element.getBoundingClientRect();
                return {
                    tag: element.tagName.toLowerCase(),
                    name: element.name || element.getAttribute('aria-label') || element.textContent.trim(),
                    visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
                        && box.width > 0 && box.right > 0 && box.bottom > 0,
                };
            }"""
        )
        return value

    def _note(self, request: Request) -> None:
        if not request.url.startswith(f"{self.origin}/"):
            self.problems.append(f"elsewhere: {request.url[:200]}")

    def _dismiss(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def visitor(
    browser: Browser, origin: str, link: str = "", *, theme: Theme = "light", width: int = 1280, scripts: bool = True
) -> Iterator[Visitor]:
    """Somebody who has come by the link, where there is one."""
    context = browser.new_context(
        color_scheme=theme, viewport={"width": width, "height": 900}, java_script_enabled=scripts
    )
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    try:
        somebody = Visitor(context.new_page(), origin)
        if link:
            somebody.page.goto(link)
        yield somebody
    finally:
        context.close()
