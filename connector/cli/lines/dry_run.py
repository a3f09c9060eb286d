"""What a dry run shows of the changes and alerts that a poll would publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.cli import output
from connector.cli.lines import campaigns
from connector.wording import counted

LIMIT_ON_A_TERMINAL: Final = 40
"""Campaigns, and as many alerts."""


class DryRunLines:
    """Prints changes and alerts as they come; or, with a limit, some alerts, and the changes folded into campaigns."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._alerts = 0
        self._changes = 0

    def show(self, event: Mapping[str, Any]) -> None:
        """Print one change or one alert, or count it."""
        is_alert = "alertId" in event
        self._alerts += is_alert
        self._changes += not is_alert
        if self._limit is None or (is_alert and self._alerts <= self._limit):
            output.print_event(event)

    def end(self, folded: Sequence[Mapping[str, Any]]) -> None:
        """Print the campaigns of the changes, and say what was left out; the next export begins with nothing."""
        if self._limit is not None:
            output.print_cut_texts(campaigns.lines(folded[: self._limit]))
            in_campaigns = sum(campaign["changes"] for campaign in folded[: self._limit])
            numbers = [(self._changes - in_campaigns, "more change"), (self._alerts - self._limit, "more alert")]
            left = [counted(number, noun) for number, noun in numbers if number > 0]
            if left:
                output.print_line(f"  and {' and '.join(left)}: --limit shows more", style="dim")
        self._alerts = self._changes = 0
