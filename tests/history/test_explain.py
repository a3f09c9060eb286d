"""One change, explained from the state file alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.errors import ConfigError, ConnectorError, StateError
from connector.exports.software import SOFTWARE
from connector.history.explain import RULES, Setting, explain
from connector.history.query import History
from connector.model import Inventory, Reason, StagedSnapshot
from connector.staging import derived, maintenance
from connector.staging.stage import stage_snapshot
from tests.support.bench import Bench, Saved, record, staging_rules
from tests.support.oracle import Rules

CONFIRMED = datetime(2027, 1, 15, 8, tzinfo=UTC)
"""What `Bench.checkpoint` says of its time of writing."""


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A baseline of two records."""
    with Bench(tmp_path_factory.mktemp("baseline")) as bench:
        bench.stage([record("d", "a", numberOfWeaknesses=1), record("d", "b")])
        return bench.saved()


@pytest.fixture
def bench(baseline: Saved, tmp_path: Path) -> Iterator[Bench]:
    """A state file with it."""
    with Bench(tmp_path, like=baseline) as bench:
        yield bench


def explained(bench: Bench, staged: StagedSnapshot, number: int = 0) -> dict[str, Any]:
    """The explanation of a snapshot's change."""
    return explain(bench.state, bench.changes(staged)[number]["eventId"], Setting(bench.folder / "rejected", 90))


def test_both_records_stand_side_by_side_with_what_differs(bench: Bench) -> None:
    """Every property, in order; the rule in words; the snapshot, and the one before it, with times and counts."""
    staged = bench.stage([record("d", "a", numberOfWeaknesses=5, diskPaths=["C:\\a"]), record("d", "b")])
    explanation = explained(bench, staged)
    fields = {field["name"]: (field["before"], field["after"]) for field in explanation["fields"] if field["differs"]}
    assert fields == {"numberOfWeaknesses": (1, 5), "diskPaths": ([], ["C:\\a"])}
    assert [field["name"] for field in explanation["fields"]] == [field.name for field in SOFTWARE.fields]
    assert explanation["rule"] == RULES[Reason.ATTRIBUTES_CHANGED]
    assert (explanation["snapshot"]["snapshot_id"], explanation["snapshot"]["changed"]) == (staged.snapshot_id, 1)
    assert explanation["snapshot"]["staged_at"] == staged.observed_at + timedelta(minutes=2)
    assert explanation["previous_snapshot"]["snapshot_id"] == staged.previous_snapshot_id
    assert explanation["change"]["observedAt"] == staged.observed_at
    assert (explanation["guard"], explanation["rejected"]) == ("not held", None)


def test_an_added_record_has_no_before_and_a_removed_one_no_after(bench: Bench) -> None:
    """The other side is empty throughout."""
    staged = bench.stage([record("d", "b"), record("d", "c")])
    removed, added = explained(bench, staged, 0)["fields"], explained(bench, staged, 1)["fields"]
    names = [(side["before"], side["after"]) for side in (removed[6], added[6])]
    assert ({field["after"] for field in removed}, {field["before"] for field in added}) == ({None}, {None})
    assert names == [("a", None), (None, "c")]


def test_kafka_has_not_confirmed_then_it_has_and_when(bench: Bench) -> None:
    """Pending; confirmed while the snapshot is not sealed; confirmed at the time of the checkpoint that sealed it."""
    staged = bench.stage([record("d", "c"), record("d", "e")])
    last = len(bench.changes(staged)) - 1
    seen = [explained(bench, staged, last)["kafka"]]
    bench.state.journal.confirm(bench.checkpoint(staged, sequence=1, sealed=False))
    seen += [explained(bench, staged, 0)["kafka"], explained(bench, staged, last)["kafka"]]
    bench.state.journal.confirm(bench.checkpoint(staged))
    later = bench.stage([record("d", "c")])
    bench.state.journal.confirm(bench.checkpoint(later, sequence=later.sequence_after - 1, sealed=False))
    seen.append(explained(bench, staged, last)["kafka"])
    assert [(kafka["status"], kafka["confirmed_at"]) for kafka in seen] == [
        ("pending", None), ("unsealed", CONFIRMED), ("pending", None), ("confirmed", CONFIRMED),
    ]  # fmt: skip


def test_a_change_given_up_by_a_new_epoch_is_not_called_confirmed(bench: Bench) -> None:
    """What an earlier epoch published is; what it still had to publish is not known to be."""
    first = bench.stage([record("d", "c")])
    bench.state.journal.confirm(bench.checkpoint(first))
    second = bench.stage([record("d", "e")])
    maintenance.rebaseline(bench.state)
    assert [explained(bench, staged)["kafka"]["status"] for staged in (first, second)] == ["confirmed", "unknown"]


def test_the_time_of_a_confirmation_goes_with_its_snapshot(bench: Bench) -> None:
    """The time is deleted with the snapshot that it is about."""
    first = bench.stage([record("d", "c")])
    second = bench.stage([record("d", "e")])
    bench.state.journal.confirm(bench.checkpoint(second))
    assert History(bench.state).confirmed_at(first) is not None
    maintenance.retire(bench.state, older_than=second.observed_at + timedelta(days=1))
    assert (History(bench.state).confirmed_at(first), History(bench.state).confirmed_at(second) is None) == (
        None,
        False,
    )


def test_an_approval_says_that_the_removal_was_held(tmp_path: Path) -> None:
    """The guard's part in it; and a change beside held removals names how many, and why."""
    rules = Rules(min_removed=1, max_removed_share=0.2)
    with Bench(tmp_path, rules=rules) as bench:
        bench.stage([record("d", name) for name in "abcdef"])
        held = bench.stage([record("d", "a"), record("d", "x")])
        (approved,) = derived.approve_held(bench.state, staging_rules(rules), now=CONFIRMED)
        beside, after = explained(bench, held), explained(bench, approved)
    assert beside["guard"] == "not held; 5 records of the same snapshot were (MASS_REMOVAL)"
    assert (after["guard"].partition(",")[0], after["rule"]) == ("held first", RULES[Reason.APPROVED])
    assert after["previous_snapshot"]["held"] == 5


def test_rejected_lines_are_pointed_to(bench: Bench) -> None:
    """Part and line of a change are not kept; those of rejected lines are, in their file."""
    staged = bench.stage([record("d", "a", numberOfWeaknesses=2), record("d", "b")], rejected=3)
    explanation = explained(bench, staged)
    assert explanation["rejected"] == (
        f"3 lines of the snapshot could not be read: see {bench.folder / 'rejected' / staged.snapshot_id}.ndjson"
    )
    assert explanation["origin"].startswith("not kept")


def test_an_alert_is_explained_by_the_change_that_raised_it(bench: Bench) -> None:
    """By its own id; and the change names the alerts that it raised."""
    staged = bench.take(
        bench.snapshot([record("d", "a", numberOfWeaknesses=1), record("d", "b", endOfSupportStatus="EOS Version")])
    )
    (alert,) = bench.state.journal.alerts(staged, after=0, limit=10)
    setting = Setting(bench.folder, 90)
    by_alert, by_change = (explain(bench.state, alert[name], setting) for name in ("alertId", "eventId"))
    assert by_alert == by_change
    assert [raised["alertId"] for raised in by_change["alerts"]] == [alert["alertId"]]
    assert by_change["event_id"] == alert["eventId"]


def test_an_alert_of_the_date_alone_is_explained_without_a_change(tmp_path: Path) -> None:
    """No change raised it: its record, its rule, and whether its snapshot is confirmed."""
    with Bench(tmp_path) as bench:
        ends = record("d", "a", endOfSupportStatus="Upcoming EOS Version", endOfSupportDate="2026-12-30")
        bench.take(bench.snapshot([ends]))
        rules = staging_rules(bench.rules)
        bench.take(bench.snapshot([ends]))
        due = derived.stage_due_alerts(bench.state, Inventory.CPE, rules, now=datetime(2026, 12, 23, 12, tzinfo=UTC))
        assert due is not None
        alerts = list(bench.state.journal.alerts(due, after=0, limit=10))
        explanation = explain(bench.state, alerts[-1]["alertId"], Setting(tmp_path, 90))
    assert (explanation["event_id"], explanation["change"], explanation["kafka"]["status"]) == (None, None, "pending")
    assert explanation["rule"] == "no change raised this alert: only the date did"
    assert {field["name"]: field["after"] for field in explanation["fields"]}["softwareName"] == "a"


def test_an_id_may_be_given_by_its_beginning(bench: Bench) -> None:
    """Eight characters, in either case."""
    staged = bench.stage([record("d", "c")])
    event_id = bench.changes(staged)[0]["eventId"]
    assert explain(bench.state, f" {event_id[:8].upper()} ", Setting(bench.folder, 90))["event_id"] == event_id


def test_an_id_of_two_epochs_is_the_newest_ones(bench: Bench) -> None:
    """A new epoch that begins with the same generation has the same ids; the others are named."""
    maintenance.rebaseline(bench.state)
    emitting = staging_rules(Rules(emit_baseline=True))
    again = bench.snapshot([record("d", "c")])
    stage_snapshot(bench.state, again, emitting, started_at=CONFIRMED, now=CONFIRMED)
    maintenance.rebaseline(bench.state)
    staged = stage_snapshot(bench.state, again, emitting, started_at=CONFIRMED, now=CONFIRMED)
    explanation = explained(bench, staged)
    assert (explanation["snapshot"]["epoch"], explanation["other_epochs"]) == (staged.epoch, [staged.epoch - 1])


@pytest.mark.parametrize(
    ("asked", "error", "code"),
    [("00000000", StateError, 1), ("abc", ConfigError, 2), ("device-1", ConfigError, 2), ("", ConfigError, 2)],
)
def test_an_unknown_id_is_an_error_with_a_hint(
    bench: Bench, asked: str, error: type[ConnectorError], code: int
) -> None:
    """Where the journal begins and how long it goes back; or what an id looks like."""
    with pytest.raises(error) as refused:
        explain(bench.state, asked, Setting(bench.folder, 90))
    assert (refused.value.exit_code, bool(refused.value.hint)) == (code, True)


def test_every_reason_has_its_words() -> None:
    """The rule, for each reason that a change can have."""
    assert set(RULES) == set(Reason)
