"""A small demo, recorded: every value that it published, decoded, for tests of what SIEMs make of them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from connector.assembly import Assembly
from connector.cli import demo
from connector.model import Topic
from tests.support.messages import values_on

TOPICS: Final = (Topic.CHANGES, Topic.ALERTS, Topic.SNAPSHOTS, Topic.CAMPAIGNS)
"""The topics that SIEMs read."""

OPTIONAL: Final = (Topic.CAMPAIGNS,)
"""Those of them that are published on request only: what is shipped must work without them."""


class Recorder(demo.Consumer):
    """The demo's consumer, which keeps everything that is on the topics."""

    def __init__(self, assembly: Assembly) -> None:
        super().__init__(assembly)
        self._demo = assembly
        self.values: dict[Topic, list[dict[str, Any]]] = {}

    def read_alerts(self, number: int) -> list[dict[str, Any]]:
        """As the demo reads them; the last thing that it does for a generation."""
        fresh = super().read_alerts(number)
        self.values = {topic: values_on(self._demo, topic) for topic in TOPICS}
        return fresh


@cache
def recorded() -> Recorder:
    """A small demo, played once."""
    recorders: list[Recorder] = []

    def record(assembly: Assembly) -> Recorder:
        recorders.append(Recorder(assembly))
        return recorders[-1]

    assert demo.play(devices=8, generations=6, seed=7, consume=record) == 0
    return recorders[0]
