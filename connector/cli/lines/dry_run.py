"""What a dry run shows of the changes and alerts that a poll would publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from connector.cli import output
from connector.cli.lines.folded import Folded
from connector.wording import counted

LIMIT_ON_A_TERMINAL: Final = 40
"""Changes, and as many alerts; of folded changes a quarter."""


class DryRunLines:
    """Prints changes and alerts as they come, up to a limit of each, and then how many more there are.

    With a limit, changes that are weakness counts alone are folded. Without one, everything is printed as it comes.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._begin()

    def _begin(self) -> None:
        self._folded = Folded()
        self._seen: Counter[str] = Counter()

    def show(self, event: Mapping[str, Any]) -> None:
        """Print one change or one alert, or count it."""
        noun = "more alert" if "alertId" in event else "more change"
        if self._limit is not None and noun == "more change" and self._folded.take(event):
            return
        self._seen[noun] += 1
        if self._limit is None or self._seen[noun] <= self._limit:
            output.print_event(event)

    def end(self) -> None:
        """Print what was folded, and say what was left out; the next export begins with nothing."""
        if self._limit is not None:
            output.print_texts(self._folded.lines(max(self._limit // 4, 1)))
            left = [counted(number - self._limit, noun) for noun, number in self._seen.items() if number > self._limit]
            if left:
                output.print_line(f"  and {' and '.join(left)}: --limit shows more", style="dim")
        self._begin()
