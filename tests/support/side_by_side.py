"""Kill a `run` and approvals that work side by side, and hold what a consumer saw against the oracle.

`python -m tests.support.side_by_side [KILLS] [SEED]` goes on until KILLS processes (200) were killed. The guard holds
every removal. While a `run` polls, processes approve what is held, as a person would; both are killed, at a point or at
any moment. A `run` may end by a kill or a signal only: one that is fenced ends this run. Each generation ends with an
approval that nobody disturbs, and with all of it published by the `run` that is there, which lives on.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.broker import Broker, session_broker, session_registry
from tests.support.exactly_once import ANY_MOMENT, HOLD_ALL, Run
from tests.support.judging import Verdict
from tests.support.killing import Child
from tests.support.watching import DECISION_POINTS, DELAYED, POINTS, Order

KILLS: Final = 200
KILLS_OF_TENANT: Final = 25
ROUNDS_OF_GENERATION_MAX: Final = 4
SECONDS_OF_ROUND: Final = (0.2, 2.5)
POINT_SECONDS: Final = 6.0
"""How long a `run` may take to the point where it dies; some are not reached while nothing changes."""

DEVICES: Final = 4

KILL_POINTS_OF_RUN: Final = tuple(point for point in POINTS if point != "poll begins")
KILL_POINTS_OF_APPROVAL: Final = (*DECISION_POINTS, "batch begins", "batch produced", "seal produced", "seal committed")


@dataclass
class Tally:
    """What happened.

    Attributes:
        kills: of each verb, by point.
        lived: approvals that nobody killed, by who published: the `run` that was there, or the approval itself.
        restarts: of `run`.
        rounds: generations that came to their end.
        verdicts: one for each tenant.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    lived: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    rounds: int = 0
    verdicts: list[Verdict] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The figures, for people."""
        lines = [f"{verb:<14}{point:<28}{number:>6}" for (verb, point), number in sorted(self.kills.items())]
        exact = sum(verdict.exact for verdict in self.verdicts)
        events, lost, twice, alerts = (
            sum(getattr(verdict, name) for verdict in self.verdicts)
            for name in ("events", "lost", "duplicated", "alerts")
        )
        return [
            *lines,
            f"{self.kills.total()} kills, {self.restarts} starts of `run`, {self.rounds} generations approved;"
            f" approvals that lived: {dict(sorted(self.lived.items()))}",
            f"{len(self.verdicts)} tenants, {exact} exact; {events} events, {alerts} alerts, {lost} lost,"
            f" {twice} duplicated",
            *(text for verdict in self.verdicts for text in verdict.wrong),
        ]


class SideBySide:
    """One tenant with a `run` and people who approve.

    Args:
        run: the tenant, whose guard is `HOLD_ALL`.
        draw: what is drawn.
        tally: where it is counted.
    """

    def __init__(self, run: Run, draw: random.Random, tally: Tally) -> None:
        self._tenant = run
        self._draw = draw
        self._tally = tally
        self._child: Child | None = None
        self._kill: dict[str, Any] = {}
        # Pages, whose rate limits leave room for a poll every second.
        self._tables = {"source": {"method": "json"}}

    def baseline(self) -> None:
        """The first snapshot, by a `run`."""
        self._tenant.note_snapshot()
        self._settle()

    def generation(self, rounds: int) -> None:
        """The next generation: kills while it is polled and approved, and then its end without any."""
        self._tenant.advance()
        for _ in range(rounds):
            self._disturb()
        self._settle()

    def stop(self) -> None:
        """SIGTERM ends the `run` cleanly."""
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
            ended = self._child.ended()
            assert ended.code == 0, ended
            self._child = None

    def kill(self) -> None:
        """Nothing is left behind, whatever happened."""
        if self._child is not None and self._child.alive:
            self._child.kill()

    def _disturb(self) -> None:
        """An approval beside a `run`; each may have a point to die at, or be killed at any moment."""
        draw = self._draw
        run = self._ensure_run(self._drawn_kill(KILL_POINTS_OF_RUN))
        kill = self._drawn_kill(KILL_POINTS_OF_APPROVAL)
        approval = self._started(verb="held approve", **kill)
        time.sleep(draw.uniform(*SECONDS_OF_ROUND))
        if not kill and approval.alive and draw.random() < 0.5:
            approval.kill()
        if self._kill:
            run.wait(POINT_SECONDS)
        elif run.alive and draw.random() < 0.5:
            run.kill()
        self._end_approval(approval, kill)
        if not run.alive:
            self._end_run()

    def _drawn_kill(self, points: tuple[str, ...]) -> dict[str, Any]:
        """Half of them a point to die at."""
        if self._draw.random() < 0.5:
            return {}
        point = self._draw.choice(points)
        return {"kill": (point, 1), "delay_seconds": self._draw.uniform(0, DELAYED.get(point, 0.0))}

    def _settle(self) -> None:
        """Without kills: polled, approved and published, and the `run` lives on."""
        own = self._tenant.snapshot_id
        run = self._until(lambda said: str(said["snapshot_id"]).startswith(own))
        if self._tenant.holds:
            self._end_approval(self._started(verb="held approve"), {})
            run = self._until(lambda said: said["holding"] == 0 and said["pending"] == 0)
            self._tenant.note_approval()
        assert run.alive
        self._tally.rounds += 1

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> Child:
        """Wait until a `run` says this; one that was to be killed at a point may still die, and is replaced."""
        while True:
            run = self._ensure_run({})
            try:
                run.until_said(wanted)
            except EOFError:
                self._end_run()
            else:
                return run

    def _ensure_run(self, kill: dict[str, Any]) -> Child:
        """The `run` that lives, or another."""
        if self._child is not None and not self._child.alive:
            self._end_run()
        if self._child is None:
            self._child = self._started(verb="run", **kill)
            self._kill = kill
            self._tally.restarts += 1
        return self._child

    def _end_run(self) -> None:
        """A `run` has ended: by a kill, and by nothing else."""
        assert self._child is not None
        ended = self._child.ended()
        self._child = None
        assert ended.killed, f"`run` ended by itself: {ended}"
        self._tally.kills["run", self._kill["kill"][0] if self._kill else ANY_MOMENT] += 1

    def _end_approval(self, approval: Child, kill: dict[str, Any]) -> None:
        ended = approval.ended()
        if ended.killed:
            self._tally.kills["held approve", kill["kill"][0] if kill else ANY_MOMENT] += 1
            return
        assert ended.code == 0, f"an approval failed: {ended}"
        self._tally.lived["run" if ended.lines[-1]["left"] else "itself"] += 1

    def _started(self, **order: Any) -> Child:
        Path(f"{self._tenant.state_path}.limits.json").unlink(missing_ok=True)
        return Child(Order(self._tenant.tables(**self._tables), **order))


def side_by_side(
    broker: Broker,
    registry_url: str | None,
    folder: Path,
    draw: random.Random,
    *,
    kills: int,
    tally: Tally,
    prefix: str = "",
) -> Verdict:
    """One tenant from its baseline to the verdict, with so many kills."""
    already = tally.kills.total()
    with Run.begun(
        folder,
        bootstrap_servers=broker.bootstrap_servers,
        registry_url=registry_url,
        prefix=prefix or f"side.{uuid.uuid4().hex[:12]}",
        seed=draw.randrange(1_000_000),
        devices=DEVICES,
        guard=HOLD_ALL,
    ) as run:
        both = SideBySide(run, draw, tally)
        try:
            both.baseline()
            while tally.kills.total() - already < kills:
                both.generation(draw.randint(1, ROUNDS_OF_GENERATION_MAX))
            both.stop()
        finally:
            both.kill()
        tally.verdicts.append(run.verdict())
    return tally.verdicts[-1]


def main(kills: int = KILLS, seed: int | None = None) -> int:
    """Run it. Returns the exit code."""
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    draw, tally, begun = random.Random(seed), Tally(), time.monotonic()
    print(f"seed {seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="mde-side-") as name,
        closing(session_registry(Path(name, "registry"))) as registry,
        closing(session_broker(Path(name, "kafka"))) as broker,
    ):
        try:
            while (left := kills - tally.kills.total()) > 0:
                folder = Path(name, f"tenant-{len(tally.verdicts)}")
                verdict = side_by_side(
                    broker, registry.url, folder, draw, kills=min(left, KILLS_OF_TENANT), tally=tally
                )
                print(f"tenant {len(tally.verdicts)}: {tally.kills.total()} kills, {verdict}", flush=True)
        finally:
            print("\n".join(tally.lines()))
            print(f"{time.monotonic() - begun:.0f} s", flush=True)
    return 0 if all(verdict.exact for verdict in tally.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
