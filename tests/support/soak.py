"""Kill polls for a long time, with mishaps in between, and hold what a consumer saw against the oracle.

`python -m tests.support.soak [KILLS] [SEED] [AWAY_SECONDS] [avro | json]` goes on until KILLS processes (500) of
`exactly_once` tenants were killed, and a fifth as many of `at_least_once` ones, and prints tables. Values are Avro, or
JSON, which needs no registry. Tenant after tenant has a fleet
of its own. Between two generations come the mishaps of tests/support/mishaps.py, in a shuffled turn; once, Kafka is
stopped for five minutes. Then come two fifths as many kills of a `run` and of approvals beside it, as
tests/support/side_by_side.py has them. In the end the controls: what is deliberately broken must be found. The exit
code is 0 where nothing was lost, nothing repeated (but by `at_least_once`), the controls were found, and enough really
happened.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connector.config import event_hubs
from connector.config.tables import Delivery, ValueFormat
from tests.support.broker import Broker, LocalBroker, session_broker, session_registry
from tests.support.exactly_once import ANY_MOMENT, BASELINE_BATCH, Run
from tests.support.judging import Verdict
from tests.support.mishaps import Mishaps, Outage, small_disk
from tests.support.side_by_side import KILLS_OF_TENANT as KILLS_OF_PAIR
from tests.support.side_by_side import Tally, side_by_side
from tests.support.watching import POINTS, Control

KILLS: Final = 500
AWAY_SECONDS: Final = 300
KILLS_OF_TENANT: Final = 40
KILLS_OF_GENERATION_MAX: Final = 8
MISHAP_SHARE: Final = 0.4
"""How often a mishap stands between two generations."""

AT_LEAST_ONCE_SHARE: Final = 5
"""Kills of other tenants for one of an `at_least_once` tenant."""

SIDE_BY_SIDE_SHARE: Final = 0.4
"""Kills of a `run` and of approvals beside it, for one of a poll."""

CONTROLS: Final[tuple[Control, ...]] = ("checkpoint apart", "confirmed first")
CONTROL_KILLS: Final = 5
BROKEN_MAX: Final = 3
BROKEN_CHARACTERS_MAX: Final = 500

OUTAGES_MIN: Final = 5
MISHAPS_MIN: Final = 2
EVENTS_OF_KILL_MIN: Final = 20
"""What must really have happened in a run of `KILLS`, with exactly_once: outages, each mishap, events a kill."""

EVENT_HUBS: Final = {**event_hubs.CLIENT_DEFAULTS, **event_hubs.PRODUCER_DEFAULTS, "compression.type": "gzip"}
"""What `at_least_once` tenants add to `[kafka.client]`: the settings for Azure Event Hubs."""


@dataclass
class Figures:
    """What happened with one kind of delivery.

    Attributes:
        kills: by point.
        exact, lost, duplicated: by point, of the tenants that were killed there.
        missed: kills whose point was not reached, or that came too late.
        polls: that finished.
        mishaps: by name and what they came to.
        events: changes expected.
        alerts: seen.
        repeats: messages beyond the first of an event; right with `at_least_once` only.
        wrong: whatever else was not as it must be.
    """

    kills: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    duplicated: Counter[str] = field(default_factory=Counter)
    tenants: int = 0
    exact_tenants: int = 0
    missed: int = 0
    polls: int = 0
    mishaps: dict[str, Counter[str]] = field(default_factory=dict)
    events: int = 0
    alerts: int = 0
    repeats: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, run: Run, *, repeats: bool) -> Verdict:
        """A tenant is done. Returns what came of it."""
        verdict = run.verdict(repeats=repeats)
        self.tenants += 1
        self.exact_tenants += verdict.exact
        self.missed += run.missed
        self.polls += run.polls
        self.events += verdict.events
        self.alerts += verdict.alerts
        self.repeats += run.verdict().duplicated if repeats else 0
        self.wrong += verdict.wrong
        for point, number in run.kills.items():
            self.kills[point] += number
            self.exact[point] += number if verdict.exact else 0
            self.lost[point] += verdict.lost
            self.duplicated[point] += verdict.duplicated
        return verdict

    @property
    def outages(self) -> int:
        """How often Kafka was away."""
        return self.mishaps.get("Kafka away", Counter()).total()

    def enough(self, kills: int) -> list[str]:
        """What did not happen often enough to prove anything, in words."""
        share = kills / KILLS
        wanted = {f"kills at {point}": (self.kills[point], 1) for point in POINTS} | {
            "kills": (self.kills.total(), kills),
            "events": (self.events, EVENTS_OF_KILL_MIN * kills),
            "alerts": (self.alerts, kills),
            "Kafka away": (self.outages, round(OUTAGES_MIN * share)),
            **{name: (came_to.total(), round(MISHAPS_MIN * share)) for name, came_to in self.mishaps.items()},
        }
        return [f"{name}: {number} of {least}" for name, (number, least) in wanted.items() if number < least]


class Soak:
    """A long run against one broker and one registry."""

    def __init__(self, broker: Broker, registry_url: str | None, folder: Path, seed: int) -> None:
        self.figures: dict[Delivery, Figures] = {"exactly_once": Figures(), "at_least_once": Figures()}
        self.controls: dict[Control, Verdict] = {}
        self.side_by_side = Tally()
        self.long_outage: Outage | None = None
        self.broken: list[str] = []
        self._turns: dict[Delivery, list[str]] = {"exactly_once": [], "at_least_once": []}
        self._broker = broker
        self._registry_url = registry_url
        self._folder = folder
        self._draw = random.Random(seed)
        self._tenants = 0

    def tenant(self, delivery: Delivery, kills: int) -> str:
        """One tenant from its baseline to the verdict. Returns a line for people."""
        figures, repeats = self.figures[delivery], delivery == "at_least_once"
        with self._begun(delivery) as run:
            mishaps = Mishaps(run, self._draw, self._broker, self._folder / f"copies-{self._tenants}")
            possible, turn = mishaps.possible(fences=not repeats), self._turns[delivery]
            tables = {"kafka": {"batch_changes_max": BASELINE_BATCH // 10}}
            run.kill_at_random(self._draw, self._draw.randint(0, 3), tables=tables)
            if not figures.tenants:
                run.kill_at_every_point()
            while run.kills.total() < kills:
                run.kill_at_random(self._draw, self._draw.randint(1, KILLS_OF_GENERATION_MAX))
                if self._draw.random() > MISHAP_SHARE:
                    continue
                turn.extend([] if turn else self._draw.sample(sorted(possible), len(possible)))
                name = turn.pop()
                figures.mishaps.setdefault(name, Counter())[possible[name]()] += 1
            verdict = figures.add(run, repeats=repeats)
            said = (
                f"{verdict.events} events, {verdict.lost} lost, {verdict.duplicated} duplicated, exact: {verdict.exact}"
            )
            return f"tenant {self._tenants} ({delivery}): {run.kills.total()} kills, {run.polls} polls, {said}"

    def stay_away(self, seconds: float) -> None:
        """A tenant whose Kafka is stopped for long, in the middle of its run."""
        figures = self.figures["exactly_once"]
        with self._begun("exactly_once") as run:
            run.baseline()
            self.long_outage = Mishaps(run, self._draw, self._broker, self._folder / "away").long_outage(seconds)
            figures.mishaps.setdefault("Kafka away", Counter())["stopped for long"] += 1
            figures.add(run, repeats=False)

    def control(self, control: Control) -> None:
        """A tenant whose connector is broken on purpose, killed at the place where that matters."""
        with self._begun("exactly_once") as run:
            run.baseline()
            for _ in range(CONTROL_KILLS):
                run.advance()
                run.poll(("control", self._draw.randint(2, 4)), control=control)
                assert run.poll(control=control).code == 0
            self.controls[control] = run.verdict()

    def work_side_by_side(self, kills: int) -> None:
        """A tenant whose `run` and whose approvals are killed while both go on."""
        self._tenants += 1
        folder = self._folder / f"tenant-{self._tenants}"
        side_by_side(self._broker, self._registry_url, folder, self._draw, kills=kills, tally=self.side_by_side)

    @contextmanager
    def _begun(self, delivery: Delivery) -> Iterator[Run]:
        """The next tenant, its state on its own small disk where one can be had."""
        self._tenants += 1
        folder = self._folder / f"tenant-{self._tenants}"
        client = EVENT_HUBS if delivery == "at_least_once" else {}
        with small_disk(folder), ExitStack() as stack:
            yield stack.enter_context(
                Run.begun(
                    folder,
                    bootstrap_servers=self._broker.bootstrap_servers,
                    registry_url=self._registry_url,
                    prefix=f"soak.{uuid.uuid4().hex[:12]}",
                    seed=self._draw.randrange(1_000_000),
                    kafka={"delivery": delivery, "client": client},
                )
            )

    def tables(self) -> str:
        """The figures, for people."""
        lines = []
        for delivery, figures in self.figures.items():
            lines += [f"\n{delivery:<30}{'kills':>8}{'exact':>8}{'lost':>8}{'duplicated':>12}"]
            lines += [
                f"  {point:<28}{figures.kills[point]:>8}{figures.exact[point]:>8}{figures.lost[point]:>8}"
                f"{figures.duplicated[point]:>12}"
                for point in (*POINTS, ANY_MOMENT)
            ]
            lines += [f"  {'all':<28}{figures.kills.total():>8}{figures.exact.total():>8}"]
            lines += [
                f"  tenants {figures.tenants}, exact {figures.exact_tenants}, polls {figures.polls},"
                f" events {figures.events}, alerts {figures.alerts}, repeats {figures.repeats},"
                f" kills missed {figures.missed}"
            ]
            lines += [
                f"  {name}: " + ", ".join(f"{what} {number}" for what, number in sorted(came_to.items()))
                for name, came_to in sorted(figures.mishaps.items())
            ]
        if self.long_outage:
            away = self.long_outage
            lines += [
                f"\n{away.seconds / 60:.1f} minutes without Kafka: {away.staged} snapshots staged, backlog"
                f" {away.backlog[-1]} changes, {away.published} published {away.drained_seconds:.1f} s after its return"
            ]
        lines += [
            f"control, {control}: {figures.lost} lost, {figures.duplicated} duplicated of {figures.events} events"
            for control, figures in self.controls.items()
        ]
        lines += ["", "a `run` and approvals side by side", *self.side_by_side.lines()]
        return "\n".join([*lines, *(text for figures in self.figures.values() for text in figures.wrong)])

    def problems(self, kills: int) -> list[str]:
        """Whatever keeps this run from being a proof, in words."""
        problems = [*self.broken] + [
            f"{delivery}: {figures.tenants - figures.exact_tenants} tenants are not exact"
            for delivery, figures in self.figures.items()
            if figures.exact_tenants < figures.tenants
        ]
        problems += [f"exactly_once: too few {what}" for what in self.figures["exactly_once"].enough(kills)]
        missing = [point for point in POINTS if not self.figures["at_least_once"].kills[point]]
        least = self.figures["at_least_once"].kills.total()
        problems += [f"at_least_once: too few kills: {least}"] if least < kills // AT_LEAST_ONCE_SHARE else []
        problems += [f"at_least_once: no kill at {point}" for point in missing]
        problems += [
            f"the control {control} was not found"
            for control in CONTROLS
            if control not in self.controls or self.controls[control].exact
        ]
        both, wanted = self.side_by_side, round(kills * SIDE_BY_SIDE_SHARE)
        problems += [] if all(verdict.exact for verdict in both.verdicts) else ["side by side: a tenant is not exact"]
        problems += [f"side by side: too few kills: {both.kills.total()}"] if both.kills.total() < wanted else []
        return problems


def soak(run: Soak, broker: Broker, kills: int, away_seconds: float) -> None:
    """Everything, a line for people as each part is done."""
    while len(run.broken) < BROKEN_MAX:
        once, least = (figures.kills.total() for figures in run.figures.values())
        if once >= kills and least >= kills // AT_LEAST_ONCE_SHARE:
            break
        delivery: Delivery = "at_least_once" if least < min(once, kills) / AT_LEAST_ONCE_SHARE else "exactly_once"
        try:
            print(run.tenant(delivery, max(len(POINTS), min(KILLS_OF_TENANT, kills - once))), flush=True)
        except AssertionError as error:
            # The others are still worth running; what was not as it must be fails the whole.
            traceback.print_exc()
            run.broken.append(f"{delivery}: {str(error)[:BROKEN_CHARACTERS_MAX]}")
            if isinstance(broker, LocalBroker):
                broker.ensure_running()
    while (left := round(kills * SIDE_BY_SIDE_SHARE) - run.side_by_side.kills.total()) > 0 and len(
        run.broken
    ) < BROKEN_MAX:
        try:
            run.work_side_by_side(min(left, KILLS_OF_PAIR))
        except AssertionError as error:
            traceback.print_exc()
            run.broken.append(f"side by side: {str(error)[:BROKEN_CHARACTERS_MAX]}")
    for control in CONTROLS:
        run.control(control)
    if isinstance(broker, LocalBroker) and away_seconds:
        run.stay_away(away_seconds)


def main(
    kills: int = KILLS, seed: int | None = None, away_seconds: int = AWAY_SECONDS, *, value_format: ValueFormat = "avro"
) -> int:
    """Run it. Returns the exit code."""
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    begun = time.monotonic()
    print(f"seed {seed}, values as {value_format}", flush=True)
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="mde-soak-"))
        registry_url = None
        if value_format == "avro":
            registry_url = stack.enter_context(closing(session_registry(Path(name, "registry")))).url
        broker = stack.enter_context(closing(session_broker(Path(name, "kafka"))))
        run = Soak(broker, registry_url, Path(name), seed)
        try:
            soak(run, broker, kills, away_seconds)
        finally:
            print(run.tables())
            print(f"{time.monotonic() - begun:.0f} s", flush=True)
    problems = run.problems(kills)
    print("\n".join(problems) or "exact, and enough happened")
    return 1 if problems else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    numbers = [int(word) for word in words if word.isdigit()]
    sys.exit(main(*numbers, value_format="json" if "json" in words else "avro"))
