from __future__ import annotations

from dataclasses import replace

import pytest

from connector import errors
from connector.errors import ConnectorError, SinkUnavailable, SourceDenied, SourceUnavailable
from connector.service.health import Health, stage_of
from connector.service.metrics import STAGES

GOOD = Health(ready_seconds_max=3 * 3600, ticked_at=1000, succeeded_at=900, due_at=4600, pending=0)
OUTAGE = SinkUnavailable("the brokers are away", hint="Look at them.")
DENIED = SourceDenied("the token has no roles", hint="Grant Software.Read.All.")


def test_a_waiting_loop_that_moves_is_alive_and_ready() -> None:
    """After a good poll there is nothing to say, and what is shown is how things are."""
    assert GOOD.stuck(1002) is None
    assert GOOD.readiness(1002) == {
        "ready": True,
        "reasons": [],
        "polling": False,
        "next_poll_seconds": 3598,
        "last_success_age_seconds": 102,
        "last_error": None,
        "pending_changes": 0,
        "held_records": {},
        "stale": {},
    }


def test_a_loop_that_does_not_move_is_not_alive() -> None:
    """A waiting thread shows itself every few seconds; after a minute without it is stuck."""
    assert (GOOD.stuck(1059), GOOD.stuck(1061)) == (None, "the polling thread has not moved for 61 s")


def test_a_poll_may_take_hours_but_not_for_ever() -> None:
    """The first fetch of a large tenant takes long and is no reason to restart; beyond the limit it is stuck."""
    polling = replace(GOOD, poll_began_at=1000.0)
    assert polling.stuck(1000 + 5 * 3600) is None
    assert polling.stuck(1001 + 6 * 3600) == "a poll has been running for 21601 s"


def test_before_the_first_good_poll_nothing_is_ready() -> None:
    """A pod that has not polled yet is not ready, and says what it failed with once it has."""
    fresh = Health(ready_seconds_max=100, ticked_at=0, poll_began_at=0)
    assert list(fresh.reasons(1)) == ["no poll has ended yet"]
    failed = replace(fresh, poll_began_at=None, error=SourceUnavailable("no route"))
    assert list(failed.reasons(1)) == ["no poll has succeeded yet: no route"]


def test_an_outage_that_may_pass_leaves_it_ready_for_some_intervals() -> None:
    """Kafka away for a while: still ready, with the error and the backlog shown; then not."""
    failing = replace(GOOD, ticked_at=11_600, error=OUTAGE, pending=1200)
    body = failing.readiness(11_600)
    assert (body["ready"], body["pending_changes"]) == (True, 1200)
    assert body["last_error"] == {
        "type": "SinkUnavailable",
        "stage": "publish",
        "message": "the brokers are away",
        "hint": "Look at them.",
        "retryable": True,
    }
    later = replace(failing, ticked_at=11_702)
    assert list(later.reasons(11_702)) == ["the last poll that succeeded was 10802 s ago"]


def test_what_waiting_cannot_mend_is_not_ready_at_once() -> None:
    """Access denied needs a person: the probe says so with the message."""
    denied = replace(GOOD, error=DENIED)
    assert list(denied.reasons(1002)) == [
        "the last poll failed, and waiting will not mend it: the token has no roles",
    ]


def test_the_length_of_a_running_poll_does_not_count_as_age() -> None:
    """A poll of two hours at an interval of a minute does not make what it is about to replace stale."""
    polling = replace(GOOD, ready_seconds_max=200, poll_began_at=1050)
    assert list(polling.reasons(1050 + 7200)) == []


def test_polls_that_have_ended_are_alive_and_not_ready() -> None:
    """A tenant that another instance took over: nothing is stuck, nothing is fresh any more, and it says why."""
    ended = replace(GOOD, ended="another instance took over")
    assert (ended.stuck(10_000), list(ended.reasons(10_000))) == (
        None,
        ["polling has ended, until a restart: another instance took over"],
    )


def test_held_removals_and_a_stale_export_are_shown_and_do_not_make_it_unready() -> None:
    """Both are news for a person, not for a probe: the polls are well."""
    body = replace(GOOD, held={"CPE": 1200}, stale={"CPE": True}).readiness(1002)
    assert (body["ready"], body["held_records"], body["stale"]) == (True, {"CPE": 1200}, {"CPE": True})


@pytest.mark.parametrize(
    ("error", "stage"),
    [
        (errors.SourceThrottled("x"), "fetch"),
        (errors.SnapshotIncomplete("x"), "fetch"),
        (errors.StateFull("x"), "stage"),
        (errors.StateBehindCheckpoint("x"), "recover"),
        (errors.CheckpointLost("x"), "recover"),
        (errors.EncodingError("x"), "publish"),
        (errors.SinkFenced("x"), "publish"),
        (errors.ConfigError("x"), "poll"),
    ],
)
def test_every_error_belongs_to_a_step(error: ConnectorError, stage: str) -> None:
    """Errors are counted by the step they stopped."""
    assert stage_of(error) == stage


def test_steps_are_those_that_metrics_know() -> None:
    """No error is counted under a name that the table of metrics does not have."""

    def tree(root: type[ConnectorError]) -> list[type[ConnectorError]]:
        return [root, *(below for child in root.__subclasses__() for below in tree(child))]

    assert {stage_of(kind("x")) for kind in tree(ConnectorError)} <= {*STAGES, "poll"}
