from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CheckpointLost, StateBehindCheckpoint, StateError
from connector.model import Checkpoint, Position, StagedSnapshot
from connector.staging import maintenance
from connector.state.reconcile import Standing, standing, stop_unless_fine
from tests.support.bench import SLOW, TENANT, Bench, Saved, record

FINE = {Standing.EMPTY, Standing.CURRENT, Standing.WITHIN, Standing.BEFORE}


def checkpoint(
    epoch: int, sequence: int, sealed: int, snapshot_id: str | None, tenant: str = TENANT, alert: int = 0
) -> Checkpoint:
    """A checkpoint at any place."""
    return Checkpoint(
        "mde", tenant, epoch, sequence, sealed, snapshot_id, 1_800_000_000_000, "0.1.0", alert_sequence=alert
    )


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Three snapshots after the baseline: changes 1 and 2, none, change 3."""
    with Bench(tmp_path_factory.mktemp("three")) as opened:
        opened.stage([record("d", "a")])
        opened.stage([record("d", "a"), record("d", "b"), record("d", "c")])
        opened.stage([record("d", "a"), record("d", "b"), record("d", "c")])
        opened.stage([record("d", "b"), record("d", "c")])
        return opened.saved()


@pytest.fixture
def bench(three: Saved, tmp_path: Path) -> Iterator[Bench]:
    """A state file with those three."""
    with Bench(tmp_path, like=three) as opened:
        yield opened


@pytest.fixture(scope="module")
def raising(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Three snapshots: three changes, two of which raise alerts 1 and 2; a day's alerts 3 to 5; a change, alert 6."""
    dated = [record("d", name, endOfSupportDate="2026-12-01") for name in "xyz"]
    ended = [record("d", name, endOfSupportStatus=status) for name, status in (("a", "EOS Version"), ("b", None),
             ("c", "EOS Software"))]  # fmt: skip
    with Bench(tmp_path_factory.mktemp("raising")) as opened:
        opened.stage(dated)
        opened.stage([*dated, *ended])
        assert opened.due(7)
        opened.take(opened.snapshot([*dated, *ended[1:]]))
        return opened.saved()


@pytest.fixture
def alerting(raising: Saved, tmp_path: Path) -> Iterator[Bench]:
    """A state file with those."""
    with Bench(tmp_path, like=raising) as opened:
        yield opened


def staged(bench: Bench) -> list[StagedSnapshot]:
    """The snapshots, oldest first."""
    return bench.state.journal.recent_snapshots(100)[::-1]


def places(bench: Bench) -> list[Checkpoint]:
    """Every checkpoint that publishing this file's snapshots batch by batch can leave, in order."""
    checkpoints = []
    for snapshot in staged(bench):
        first, last = snapshot.first_sequence or 1, snapshot.last_sequence or 0
        events = {change["eventId"]: change["sequence"] for change in bench.changes(snapshot)}
        raised = [events.get(alert["eventId"], last + 1) for alert in bench.alerts(snapshot)]
        before = snapshot.alert_after - len(raised)
        for sequence in range(first, last):
            alert = before + sum(raised_at <= sequence for raised_at in raised)
            checkpoints.append(bench.checkpoint(snapshot, sequence=sequence, sealed=False, alert=alert))
        # Alerts without a change come after all changes; the last of them rides with the seal.
        begin = before + sum(raised_at <= last for raised_at in raised)
        checkpoints += [bench.checkpoint(snapshot, sealed=False, alert=alert)
                  for alert in range(begin if events else begin + 1, snapshot.alert_after)]  # fmt: skip
        checkpoints.append(bench.checkpoint(snapshot))
    return checkpoints


# ---- the table, row by row


def test_no_checkpoint_and_an_empty_file_is_the_first_snapshot(tmp_path: Path) -> None:
    """Epoch 1 begins."""
    with Bench(tmp_path) as bench:
        assert bench.state.journal.compare(None) is Standing.EMPTY
        assert bench.state.journal.reconcile(None).epoch == 1


def test_a_checkpoint_at_the_end_of_what_is_published_is_where_to_poll_on(bench: Bench) -> None:
    """Nothing is pending, and nothing is to be done."""
    last = places(bench)[-1]
    bench.state.journal.confirm(last)
    before = bench.state.journal.position()
    assert bench.state.journal.compare(last) is Standing.CURRENT
    assert bench.state.journal.reconcile(last) == before
    assert before.drained


def test_a_checkpoint_within_what_is_pending_is_where_to_publish_on(bench: Bench) -> None:
    """Kafka committed what the file had not noted: every such place, from every place noted before."""
    all_places = places(bench)
    assert [(place.sequence, place.sealed) for place in all_places] == [(0, 1), (1, 1), (2, 2), (2, 3), (3, 4)]
    for there in all_places:
        assert bench.state.journal.compare(there) is Standing.WITHIN
        position = bench.state.journal.reconcile(there)
        assert (position.published_sequence, position.published_snapshot) == (there.sequence, there.sealed)
        assert position.published_at == there.written_at


def test_a_checkpoint_between_two_alerts_is_where_to_publish_on(alerting: Bench) -> None:
    """Alerts ride with their changes; those without a change follow, batch by batch."""
    steps = [(place.sequence, place.alert_sequence, place.sealed) for place in places(alerting)]
    assert steps == [(0, 0, 1), (1, 1, 1), (2, 1, 1), (3, 2, 2), (3, 3, 2), (3, 4, 2), (3, 5, 3), (4, 6, 4)]
    for there in places(alerting):
        position = alerting.state.journal.reconcile(there)
        assert (position.published_sequence, position.published_alert, position.published_snapshot) == (
            there.sequence, there.alert_sequence, there.sealed,
        )  # fmt: skip
    assert alerting.state.journal.position().drained


def test_a_checkpoint_whose_alerts_do_not_fit_its_changes_stops(alerting: Bench) -> None:
    """Another copy of the file was published from, or an alert was published without its change."""
    names = [snapshot.snapshot_id for snapshot in staged(alerting)]
    wrong = [
        ((1, 0, 1), 1),
        ((1, 2, 1), 1),
        ((2, 2, 1), 1),
        ((3, 2, 1), 1),
        ((3, 1, 2), 1),
        ((3, 5, 2), 2),
        ((4, 5, 3), 3),
    ]
    for (sequence, alert, sealed), snapshot in wrong:
        with pytest.raises(StateError, match="does not fit"):
            alerting.state.journal.reconcile(checkpoint(1, sequence, sealed, names[snapshot], alert=alert))


def test_alerts_ahead_of_the_file_or_behind_it_stop(alerting: Bench) -> None:
    """As changes do."""
    last = places(alerting)[-1]
    alerting.state.journal.confirm(last)
    for alert, error in ((7, StateBehindCheckpoint), (5, CheckpointLost)):
        with pytest.raises(error, match=r"alert \d, snapshot"):
            alerting.state.journal.reconcile(replace(last, alert_sequence=alert))


def test_a_checkpoint_of_a_connector_without_alerts_is_understood(bench: Bench) -> None:
    """It gives no number of alerts, which is none; and the file it left has none."""
    last = replace(places(bench)[-1], alert_sequence=0)
    assert bench.state.journal.reconcile(last).drained


@pytest.mark.parametrize("known", [None, 0, 1])
def test_no_checkpoint_or_the_one_noted_is_where_to_publish_from(known: int | None, bench: Bench) -> None:
    """What is pending is published from its beginning."""
    there = None if known is None else places(bench)[known]
    if there:
        bench.state.journal.confirm(there)
    before = bench.state.journal.position()
    assert bench.state.journal.compare(there) is Standing.BEFORE
    assert bench.state.journal.reconcile(there) == before
    assert before.pending


@pytest.mark.parametrize("ahead", [(1, 4, 4), (1, 3, 5), (2, 0, 0), (2, 3, 4)])
def test_a_checkpoint_ahead_of_the_file_stops(ahead: tuple[int, int, int], bench: Bench) -> None:
    """An old copy of the file, or a new one: nothing is published, and the hint says what to do."""
    before = bench.state.journal.position()
    with pytest.raises(StateBehindCheckpoint, match="ahead") as raised:
        bench.state.journal.reconcile(checkpoint(*ahead, staged(bench)[-1].snapshot_id))
    assert "rebaseline" in raised.value.hint
    assert bench.state.journal.position() == before


def test_a_new_file_where_kafka_has_a_checkpoint_stops(tmp_path: Path) -> None:
    """The file is missing, and a new one was made."""
    with Bench(tmp_path) as bench, pytest.raises(StateBehindCheckpoint):
        bench.state.journal.reconcile(checkpoint(1, 0, 1, "cpe-20261123T080000Z"))


@pytest.mark.parametrize("behind", [None, (1, 1, 1), (1, 2, 1), (1, 0, 1), (0, 9, 9)])
def test_a_checkpoint_behind_what_is_known_as_published_stops(
    behind: tuple[int, int, int] | None, bench: Bench
) -> None:
    """The topic was deleted or restored, or the transactional id is another one."""
    bench.state.journal.confirm(places(bench)[2])
    with pytest.raises(CheckpointLost, match="behind") as raised:
        bench.state.journal.reconcile(behind and checkpoint(*behind, staged(bench)[1].snapshot_id))
    assert "rebaseline" in raised.value.hint


def test_a_silent_baseline_that_was_sealed_is_known_as_published(tmp_path: Path) -> None:
    """Also where no change was ever published: a seal is something."""
    with Bench(tmp_path) as bench:
        bench.state.journal.confirm(bench.checkpoint(bench.stage([record("d", "a")])))
        with pytest.raises(CheckpointLost):
            bench.state.journal.reconcile(None)


@pytest.mark.parametrize(
    ("sequence", "sealed", "snapshot"),
    [(2, 4, 3), (3, 3, 2), (1, 2, 1), (0, 3, 2), (2, 1, 0), (1, 1, 0), (1, 1, 2), (3, 4, 0), (2, 3, 1), (3, 0, 3)],
)
def test_a_checkpoint_that_names_no_place_of_this_file_stops(
    sequence: int, sealed: int, snapshot: int, bench: Bench
) -> None:
    """Sequence, seal and snapshot do not fit together: another copy of the file was published from."""
    with pytest.raises(StateError, match="does not fit") as raised:
        bench.state.journal.reconcile(checkpoint(1, sequence, sealed, staged(bench)[snapshot].snapshot_id))
    assert raised.value.hint
    assert type(raised.value) is StateError


def test_a_checkpoint_whose_snapshot_is_gone_or_of_another_epoch_stops(bench: Bench) -> None:
    """Neither happens to a file that nobody else has changed; it is no reason to publish, and none to break."""
    there, sealed = places(bench)[-1], staged(bench)[-1]
    bench.state.journal.confirm(there)
    position = bench.state.journal.position()
    others = {"as it is": sealed, "gone": None, "of another epoch": replace(sealed, epoch=sealed.epoch + 1)}
    rows = {
        name: standing(position, there, tenant_id=TENANT, sealed=other, unsealed=None, alert_upto=0)
        for name, other in others.items()
    }
    assert rows == {"as it is": Standing.CURRENT, "gone": Standing.FOREIGN, "of another epoch": Standing.FOREIGN}


def test_a_checkpoint_of_another_tenant_stops(bench: Bench) -> None:
    """Two tenants with one transactional id would take turns."""
    there = places(bench)[0]
    with pytest.raises(StateError, match="does not fit"):
        bench.state.journal.reconcile(checkpoint(1, there.sequence, there.sealed, there.snapshot_id, tenant="another"))


# ---- all of it


@given(
    steps=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    noted=st.integers(0, 10),
    there=st.none()
    | st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 6), st.integers(0, 5), st.integers(0, 5)),
    epochs=st.integers(1, 2),
)
@SLOW
def test_every_combination_is_exactly_one_row_of_the_table(
    steps: list[int],
    noted: int,
    there: tuple[int, int, int, int, int] | None,
    epochs: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Fine are only the places that publishing can leave, from what is noted on; everything else stops with a hint."""
    with Bench(tmp_path_factory.mktemp("state")) as bench:
        for epoch in range(epochs):
            if epoch:
                maintenance.rebaseline(bench.state)
            for size in (1, *(sum(steps[: end + 1]) + 1 for end in range(len(steps)))):
                statuses = (None, "EOS Version", "EOS Software")
                bench.take(bench.snapshot(
                    [record("d", f"{number}", endOfSupportStatus=statuses[number % 3]) for number in range(size)]
                ))  # fmt: skip
        own = [place for place in places(bench) if place.epoch == epochs]
        if noted:
            bench.state.journal.confirm(own[min(noted, len(own)) - 1])
        position = bench.state.journal.position()
        possible = own[min(noted, len(own)) - 1 if noted else 0 :]
        names = [snapshot.snapshot_id for snapshot in staged(bench)]
        left = there and checkpoint(*there[:3], names[min(there[3], len(names) - 1)], alert=there[4])
        candidates = [(left, _fits(left, possible, position))] + [(place, True) for place in possible[:2]]
        for candidate, fine in candidates:
            row = _row(bench, candidate)
            assert (row in FINE) == fine
            if fine:
                stop_unless_fine(row, position, candidate, Path("state.duckdb"))
            else:
                with pytest.raises(StateError) as raised:
                    stop_unless_fine(row, position, candidate, Path("state.duckdb"))
                assert raised.value.hint


def _fits(left: Checkpoint | None, possible: list[Checkpoint], position: Position) -> bool:
    """Whether publishing can have left this checkpoint."""
    nothing_published = position.published_sequence == 0 and position.published_snapshot == position.epoch_snapshot
    if left is None or left.epoch < position.epoch:
        return nothing_published
    begins_here = (left.epoch, left.sequence, left.alert_sequence, left.sealed) == (
        position.epoch, 0, 0, position.epoch_snapshot,
    )  # fmt: skip
    return left in possible or (nothing_published and begins_here)


def _row(bench: Bench, candidate: Checkpoint | None) -> Standing:
    snapshots = {snapshot.snapshot_no: snapshot for snapshot in staged(bench)}
    sealed = candidate.sealed if candidate else -1
    unsealed = snapshots.get(sealed + 1)
    return standing(
        bench.state.journal.position(),
        candidate,
        tenant_id=TENANT,
        sealed=snapshots.get(sealed),
        unsealed=unsealed,
        alert_upto=bench.state.journal.alert_upto(unsealed, candidate.sequence) if candidate and unsealed else 0,
    )


# ---- a new epoch


@pytest.mark.parametrize("there", [None, (1, 1, 1, 1), (1, 9, 9, 1), (4, 2, 9, 1)])
def test_after_a_rebaseline_every_earlier_checkpoint_is_where_to_begin(
    there: tuple[int, int, int, int] | None, bench: Bench
) -> None:
    """A file that is behind, ahead or without a checkpoint begins an epoch beyond it, with nothing pending."""
    bench.state.journal.confirm(places(bench)[2])
    last = there and checkpoint(*there[:3], staged(bench)[there[3]].snapshot_id)
    epoch = maintenance.rebaseline(bench.state, last)
    assert epoch == max(1, there[0] if there else 0) + 1
    position = bench.state.journal.reconcile(last)
    assert (position.pending, position.drained, position.last_sequence) == (0, True, 0)
    assert bench.state.journal.unsealed_snapshots() == []
    staged_next = bench.take(bench.snapshot([record("d", "a"), record("d", "z")]))
    assert (staged_next.baseline, staged_next.epoch, staged_next.previous_snapshot_id) == (True, epoch, None)
    assert staged_next.snapshot_no > (there[2] if there else 0)
    assert bench.state.journal.reconcile(bench.checkpoint(staged_next)).drained
