"""A person's decisions beside a `run` that lives: with the command itself, a real broker and a real registry.

librdkafka's in-process cluster fences nobody, so nothing about a takeover can be shown with it.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.model import Inventory
from tests.support.broker import Broker
from tests.support.commands import run_command
from tests.support.daemon import Daemon, Line
from tests.support.exactly_once import HOLD_ALL, Run
from tests.support.judging import Verdict, by_key, fold
from tests.support.side_by_side import KILL_POINTS_OF_APPROVAL, Tally, side_by_side
from tests.whole.test_takeover import written

pytestmark = pytest.mark.broker

FEW_KILLS = 4
SLOWLY = 3600
"""Seconds between two polls: whatever happens sooner is no ordinary poll."""


@pytest.fixture
def tenant(broker: Broker, registry_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Run]:
    """A tenant whose guard holds every removal."""
    with Run.begun(
        tmp_path / "state",
        bootstrap_servers=broker.bootstrap_servers,
        registry_url=registry_url,
        prefix=topic_prefix,
        seed=5,
        kafka={"batch_changes_max": 1000},
        guard=HOLD_ALL,
    ) as run:
        yield run


def configured(tenant: Run, folder: Path, *, interval_seconds: int) -> Path:
    """Its configuration as a file: pages, whose rate limits leave room for many polls."""
    tables: dict[str, Any] = {
        "source": {"method": "json"},
        "poll": {"interval_seconds": interval_seconds},
        "http": {"listen": "127.0.0.1:0"},
    }
    return written(tenant.tables(**tables), folder / "connector.toml")


def is_of(snapshot_id: str) -> Any:
    """Whether a line of the log is about a snapshot, and nothing is pending after it."""

    def told(line: Line) -> bool:
        return bool(line["snapshot_id"] == snapshot_id and line["pending"] == 0)

    return told


def test_a_run_lives_on_and_publishes_what_a_person_approved(tenant: Run, tmp_path: Path) -> None:
    """`held approve` beside a `run` does not take over from it: the `run` publishes, polls again, and ends cleanly.

    It publishes within moments, though its next poll is an hour off; and it is ready all the time.
    """
    config = configured(tenant, tmp_path, interval_seconds=SLOWLY)
    tenant.baseline()
    tenant.advance()
    with Daemon.started(config) as daemon:
        held = daemon.until("poll finished", is_of(tenant.snapshot_id))
        approved = run_command("--config", str(config), "held", "approve", "--yes")
        tenant.note_approval()
        published = daemon.until("poll finished")
        again = run_command("--config", str(config), "held", "approve", "--yes")
        ready = daemon.ready()
        lives = daemon.exit_code is None
        daemon.signal(signal.SIGTERM)
        code = daemon.ended()
    assert held["held"] > 1
    assert (approved.returncode, " ".join(approved.stdout.split())) == (
        0,
        f"{held['held']} removals approved and staged; `mde-inventory run` (process {daemon.pid}) publishes them soon",
    )
    assert (published["published"], published["pending"]) == (held["held"], 0)
    assert (again.returncode, again.stdout) == (0, "nothing is held\n")
    assert (lives, ready["ready"], code) == (True, True, 0)
    assert tenant.verdict() == Verdict(tenant.expected_events, 0, 0, ())


def test_every_decision_beside_a_run_is_taken_up_by_its_polls(tenant: Run, tmp_path: Path) -> None:
    """Discarded, approved, and a new epoch, one after the other beside one `run`, whose polls go on all the while."""
    config = configured(tenant, tmp_path, interval_seconds=1)
    with Daemon.started(config) as daemon:
        daemon.until("poll finished")
        tenant.simulator.advance()
        first = daemon.until("poll finished", is_of(tenant.snapshot_id))
        discarded = run_command("--config", str(config), "held", "discard", "--yes")
        tenant.simulator.advance()
        second = daemon.until("poll finished", is_of(tenant.snapshot_id))
        approved = run_command("--config", str(config), "held", "approve", "--yes")
        tenant.simulator.advance()
        daemon.until("poll finished", is_of(tenant.snapshot_id))
        rebaselined = run_command("--config", str(config), "state", "rebaseline", "--yes")
        again = daemon.until("poll finished", lambda line: line["published"] >= len(records(tenant)))
        code = daemon.exit_code
    assert [done.returncode for done in (discarded, approved, rebaselined)] == [0, 0, 0]
    assert (first["held"] > 0, second["held"] > 0, again["pending"], code) == (True, True, 0, None)
    assert rebaselined.stdout == "epoch 2 begins with the next poll\n"
    changes = tenant.values("changes")
    assert {change["reason"] for change in changes if change["changeType"] == "REMOVED"} == {"APPROVED"}
    newest = sorted((c for c in changes if c["epoch"] == 2), key=lambda change: change["sequence"])
    assert fold(newest) == records(tenant)


def records(tenant: Run) -> dict[Any, Any]:
    """What the simulator serves."""
    return by_key(tenant.simulator.records(Inventory.CPE))


@pytest.mark.parametrize("verb", [("poll", "--json"), ("run",), ("state", "rebuild", "--yes")])
def test_what_would_take_over_from_a_run_is_refused_at_once(tenant: Run, tmp_path: Path, verb: tuple[str, ...]) -> None:
    """A poll, a second `run`, a rebuild: a sentence that names the `run`, exit code 1, and the `run` polls on.

    For the rebuild, somebody has moved the state file away, and the lock beside it has stayed.
    """
    config = configured(tenant, tmp_path, interval_seconds=SLOWLY)
    with Daemon.started(config) as daemon:
        daemon.until("poll finished")
        if "rebuild" in verb:
            tenant.state_path.rename(tmp_path / "moved")
        refused = run_command("--config", str(config), *verb)
        dry = run_command("--config", str(config), "poll", "--dry-run")
        ready, code = daemon.ready()["ready"], daemon.exit_code
    said = " ".join(refused.stderr.split())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"error: `mde-inventory run` (process {daemon.pid}) publishes from {tenant.state_path}" in said
    assert "hint: A state file takes one `run`" in said
    assert (dry.returncode, ready, code) == (0, True, None)


def test_a_killed_run_leaves_nothing_that_keeps_the_next_one_out(tenant: Run, tmp_path: Path) -> None:
    """Killed with SIGKILL: an approval publishes by itself then, and another `run` starts at once."""
    config = configured(tenant, tmp_path, interval_seconds=SLOWLY)
    tenant.baseline()
    tenant.advance()
    with Daemon.started(config) as daemon:
        held = daemon.until("poll finished", is_of(tenant.snapshot_id))["held"]
        daemon.signal(signal.SIGKILL)
        assert daemon.ended() == -signal.SIGKILL
    approved = run_command("--config", str(config), "held", "approve", "--yes")
    tenant.note_approval()
    with Daemon.started(config) as daemon:
        daemon.until("poll finished")
        daemon.signal(signal.SIGTERM)
        assert daemon.ended() == 0
    assert (approved.returncode, approved.stdout) == (0, f"{held} removals approved and published\n")
    assert tenant.verdict() == Verdict(tenant.expected_events, 0, 0, ())


def hold_two_devices(tenant: Run) -> None:
    """Generations go by, and what they hold is approved, until one holds removals on two devices."""
    tenant.advance()
    assert tenant.started().ended().code in {0, 3}
    while len(tenant.held_devices()) < 2:
        if tenant.holds:
            assert tenant.started(verb="held approve").ended().code == 0
            tenant.note_approval()
        tenant.advance()
        assert tenant.started().ended().code in {0, 3}


def test_an_approval_of_a_part_that_is_killed_anywhere_is_made_once(tenant: Run) -> None:
    """Killed before or after it is staged, and typed again: that part is published once, and the rest stays held."""
    tenant.baseline()
    # What is held of one device is published in one batch, which is the last of its snapshot.
    for point in sorted({*KILL_POINTS_OF_APPROVAL} - {"batch produced"}):
        hold_two_devices(tenant)
        device = tenant.held_devices()[0]
        killed = tenant.started(verb="held approve", device=device, kill=(point, 1)).ended()
        again = tenant.started(verb="held approve", device=device).ended()
        tenant.note_approval_of(device)
        rest = tenant.started(verb="held approve").ended()
        tenant.note_approval()
        assert (killed.killed, again.code, rest.code) == (True, 0, 0), point
    assert tenant.verdict() == Verdict(tenant.expected_events, 0, 0, ())


def test_kills_of_a_run_and_of_approvals_beside_it_lose_nothing_and_repeat_nothing(
    broker: Broker, registry_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Both are killed at any point; the `run` ends in no other way. More of it: `make soak`."""
    tally = Tally()
    verdict = side_by_side(
        broker,
        registry_url,
        tmp_path / "state",
        random.Random(20261127),
        kills=FEW_KILLS,
        tally=tally,
        prefix=topic_prefix,
    )
    assert (tally.kills.total() >= FEW_KILLS, tally.lived.total() > 0) == (True, True)
    assert verdict == Verdict(verdict.events, 0, 0, ())
    assert verdict.events > 100
