"""Kill polls that compare on Spark, for a long time, and hold what a consumer saw against the oracle.

`python -m tests.support.spark_soak [KILLS] [SEED]` kills one process at every point of a poll, and others at random
points and moments, until KILLS (50) were killed; fewer than there are points are all at random. Each process starts a
Spark of its own where it compares, which takes most of the time. The exit code is 0 where nothing was lost and nothing
repeated.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.support.broker import session_broker
from tests.support.exactly_once import Run
from tests.support.sparking import engine_table
from tests.support.watching import POINTS

KILLS: Final = 50
KILLS_OF_GENERATION_MAX: Final = 4


def main(kills: int = KILLS, seed: int | None = None) -> int:
    """Run it. Returns the exit code."""
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    draw, begun = random.Random(seed), time.monotonic()
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mde-spark-soak-") as name:
        folder = Path(name)
        with (
            closing(session_broker(folder / "kafka")) as broker,
            Run.begun(
                folder / "state",
                bootstrap_servers=broker.bootstrap_servers,
                registry_url=None,
                prefix=f"soak.{uuid.uuid4().hex[:12]}",
                seed=seed,
                engine=engine_table(folder),
            ) as run,
        ):
            run.baseline()
            if kills >= len(POINTS):
                run.kill_at_every_point()
            while run.kills.total() < kills:
                run.kill_at_random(draw, draw.randint(1, KILLS_OF_GENERATION_MAX))
                print(f"{run.kills.total()} kills, {run.polls} polls, {time.monotonic() - begun:.0f} s", flush=True)
            verdict = run.verdict()
    for point, number in sorted(run.kills.items()):
        print(f"  {point:<28}{number:>6}")
    print(f"{verdict.events} events, {verdict.lost} lost, {verdict.duplicated} duplicated; exact: {verdict.exact}")
    print("\n".join(verdict.wrong))
    return 0 if verdict.exact else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
