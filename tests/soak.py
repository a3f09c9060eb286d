"""Kill polls for a long time, with Kafka going away in between, and hold what a consumer saw against the oracle.

`python -m tests.soak [KILLS] [SEED]` goes on until so many processes were killed (500), and prints a table. Tenant
after tenant has a fleet of its own; one in four publishes at least once instead of exactly once. The exit code is 0
where nothing was lost, nothing repeated (but by the latter), and enough really happened.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.broker import LocalBroker, session_broker, session_registry
from tests.exactly_once import BASELINE_BATCH, Run
from tests.killing import POINTS

if TYPE_CHECKING:
    from tests.broker import Broker
    from tests.exactly_once import Verdict

KILLS: Final = 500
KILLS_OF_TENANT: Final = 30
KILLS_OF_GENERATION_MAX: Final = 6
OUTAGE_EVERY_GENERATIONS: Final = 4
SNAPSHOTS_OF_OUTAGE_MAX: Final = 3
DEADLINE_SECONDS: Final = 1.5
AT_LEAST_ONCE_EVERY: Final = 4


@dataclass
class Figures:
    """What happened with one kind of delivery.

    Attributes:
        kills: by point.
        missed: kills whose point was not reached, or that came too late.
        polls: that finished.
        outages: of Kafka.
        staged: snapshots staged in them.
        repeats: messages beyond the first of an event; right with `at_least_once` only.
        wrong: whatever else was not as it must be.
    """

    kills: Counter[str] = field(default_factory=Counter)
    tenants: int = 0
    missed: int = 0
    polls: int = 0
    outages: int = 0
    staged: int = 0
    events: int = 0
    lost: int = 0
    duplicated: int = 0
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, run: Run, *, repeats: bool) -> Verdict:
        """A tenant is done. Returns what came of it."""
        found = run.verdict(repeats=repeats)
        self.tenants += 1
        self.kills += run.kills
        self.missed += run.missed
        self.polls += run.polls
        self.events += found.events
        self.lost += found.lost
        self.duplicated += found.duplicated
        self.repeats += run.verdict().duplicated if repeats else 0
        self.wrong += found.wrong
        return found

    @property
    def exact(self) -> bool:
        """Whether all is well."""
        return not (self.lost or self.duplicated or self.wrong)


class Soak:
    """A long run against one broker and one registry."""

    def __init__(self, broker: Broker, registry_url: str, folder: Path, seed: int) -> None:
        self.figures = {"exactly_once": Figures(), "at_least_once": Figures()}
        self._broker = broker
        self._registry_url = registry_url
        self._folder = folder
        self._draw = random.Random(seed)
        self._tenants = 0

    @property
    def kills(self) -> int:
        """Over all."""
        return sum(figures.kills.total() for figures in self.figures.values())

    def tenant(self, kills: int) -> str:
        """One tenant from its baseline to the verdict. Returns a line for people."""
        self._tenants += 1
        delivery = "at_least_once" if self._tenants % AT_LEAST_ONCE_EVERY == 2 else "exactly_once"
        figures = self.figures[delivery]
        begun = Run.begun(
            self._folder / str(self._tenants),
            bootstrap_servers=self._broker.bootstrap_servers,
            registry_url=self._registry_url,
            prefix=f"soak.{uuid.uuid4().hex[:12]}",
            seed=self._draw.randrange(1_000_000),
            kafka={"delivery": delivery},
        )
        with begun as run:
            self._kill_first(run)
            if self._tenants == 1 or delivery == "at_least_once":
                run.kill_at_every_point()
            generations = 0
            while run.kills.total() < kills:
                generations += 1
                run.kill_at_random(self._draw, self._draw.randint(1, KILLS_OF_GENERATION_MAX))
                if generations % OUTAGE_EVERY_GENERATIONS == 0 and isinstance(self._broker, LocalBroker):
                    self._outage(run, self._broker, figures)
            found = figures.add(run, repeats=delivery == "at_least_once")
            said = f"{found.events} events, {found.lost} lost, {found.duplicated} duplicated, exact: {found.exact}"
            return f"tenant {self._tenants} ({delivery}): {run.kills.total()} kills, {said}"

    def _kill_first(self, run: Run) -> None:
        """The baseline, killed as well."""
        tables = {"kafka": {"batch_changes_max": BASELINE_BATCH // 10}}
        run.kill_at_random(self._draw, self._draw.randint(0, 3), tables=tables)

    def _outage(self, run: Run, broker: LocalBroker, figures: Figures) -> None:
        """Kafka goes away in mid-publish, some snapshots are staged without it, and it comes back."""
        run.advance()
        child = run.started(wait=("batch begins", 1), deadline_seconds=DEADLINE_SECONDS)
        child.until_reached()
        broker.kill() if self._draw.random() < 0.5 else broker.stop()
        child.go_on()
        assert child.ended().code == 1
        staged = self._draw.randint(1, SNAPSHOTS_OF_OUTAGE_MAX)
        for _ in range(staged):
            run.advance()
            assert run.poll(deadline_seconds=DEADLINE_SECONDS).lines[-1]["outcome"] == "staged"
        broker.start()
        run.finish()
        figures.outages += 1
        figures.staged += staged

    def table(self) -> str:
        """The figures, for people."""
        lines = [f"{'kills by point':<30}" + "".join(f"{name:>16}" for name in self.figures)]
        lines += [
            f"  {point:<28}" + "".join(f"{found.kills[point]:>16}" for found in self.figures.values())
            for point in POINTS
        ]
        rows = ("tenants", "missed", "polls", "outages", "staged", "events", "lost", "duplicated", "repeats", "exact")
        lines.append(f"{'kills':<30}" + "".join(f"{found.kills.total():>16}" for found in self.figures.values()))
        lines += [
            f"{row:<30}" + "".join(f"{getattr(found, row)!s:>16}" for found in self.figures.values()) for row in rows
        ]
        return "\n".join([*lines, *(text for found in self.figures.values() for text in found.wrong)])


def main(kills: int = KILLS, seed: int | None = None) -> int:
    """Run it. Returns the exit code."""
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    begun = time.monotonic()
    print(f"seed {seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="mde-soak-") as name,
        closing(session_registry(Path(name, "registry"))) as registry,
        closing(session_broker(Path(name, "kafka"))) as broker,
    ):
        soak = Soak(broker, registry.url, Path(name), seed)
        try:
            while soak.kills < kills:
                print(soak.tenant(min(KILLS_OF_TENANT, kills - soak.kills)), flush=True)
        except KeyboardInterrupt:
            print("interrupted; the tenants that came to their end:")
    print(soak.table())
    print(f"{time.monotonic() - begun:.0f} s")
    enough = set(POINTS) <= {point for found in soak.figures.values() for point in found.kills}
    if not enough:
        print("not every point was reached: nothing is proven")
    return 0 if enough and all(found.exact for found in soak.figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
