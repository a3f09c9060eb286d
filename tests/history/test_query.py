"""Past changes, compared with a plain filter over all of them."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import StateError, StateLocked, Stopped
from connector.history.blocks import ATTEMPTS_MAX, PastChanges
from connector.history.filters import Filters, Selection
from connector.history.query import History, JournalCursor, PastChange
from connector.model import Inventory
from connector.staging import derived, maintenance
from connector.state import journal
from connector.state.state import StateFile
from tests.support.bench import EASY, SLOW, START, Bench, plain_snapshot, record, staging_rules
from tests.support.messages import make_messages
from tests.support.oracle import Rules

NAMES = ("LT-1.corp.example", "lt-1", "lt-12.corp.example", "lt_1", "50%", "a*b", "Über.x", None)
PRODUCTS = (("Oracle", "jre"), ("oracle", "JRE_8"), ("", "jre"), ("7zip", "7-zip"), ("v/w", "x?y"), ("a\\b", "100%"))
STATUSES = (None, "EOS Version", "Upcoming EOS Version")
LAST = START + timedelta(days=60)

words = st.sampled_from(
    ["lt-1", "LT-1", "lt-1*", "lt?1", "*", "50%", "a*b", "über", "lt-1.corp.example", "D-3", "d-?", "none", "*.example"]
)
products = st.sampled_from(
    ["jre", "oracle/jre", "ORACLE/*", "j*", "/jre", "oracle/", "7zip/7-zip", "*_8", "x?y", "v/w", "*\\*", "100%", "?re"]
)
days = st.integers(0, 14).map(lambda number: f"{START + timedelta(hours=12 * number):%Y-%m-%dT%H:%M}")


class Journal:
    """An open journal, everything in it, and the time of its last snapshot."""

    def __init__(self, bench: Bench) -> None:
        self.state = bench.state
        self.snapshots = bench.state.journal.recent_snapshots(1000)[::-1]
        self.all = [change for snapshot in self.snapshots for change in bench.changes(snapshot)]

    def past_changes(self) -> PastChanges:
        """Reads it, as if it were opened for each visit."""

        @contextmanager
        def opened() -> Iterator[StateFile]:
            yield self.state

        return PastChanges(opened, threading.Event())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """Twelve snapshots of both inventories in two epochs, with a baseline published and an approval among them."""
    folder, random = tmp_path_factory.mktemp("past"), Random(5)
    with Bench(folder, rules=Rules(emit_baseline=True, min_removed=6, max_removed_share=0.3)) as bench:
        for number in range(12):
            if number == 8:
                maintenance.rebaseline(bench.state)
            if number == 6:
                derived.approve_held(bench.state, staging_rules(bench.rules), now=LAST)
            inventory = Inventory.NON_CPE if number % 4 == 3 else Inventory.CPE
            lines = [_line(random) for _ in range(2 if number == 5 else 14)]
            bench.take(plain_snapshot(folder / "parts", lines, number + 1, inventory))
        yield Journal(bench)


def _line(random: Random) -> dict[str, Any]:
    vendor, name = random.choice(PRODUCTS)
    number = random.randrange(len(NAMES))
    return record(
        f"D-{number}" if number % 2 else f"d-{number}",
        name,
        random.choice("123"),
        softwareVendor=vendor,
        deviceName=NAMES[number],
        endOfSupportStatus=random.choice(STATUSES),
    )


def _like(pattern: str, text: str | None) -> bool:
    """Whether a text matches a pattern, in any case."""
    parts = (".*" if sign == "*" else "." if sign == "?" else re.escape(sign) for sign in pattern.lower())
    return text is not None and re.fullmatch("".join(parts), text.lower(), re.DOTALL) is not None


def _is_selected(change: dict[str, Any], filters: Filters) -> bool:
    """The slow, obvious filter."""
    selection = filters.at(LAST)
    seen = datetime.fromtimestamp(change["observedAt"] / 1000, UTC)

    def device(pattern: str) -> bool:
        name = change["deviceName"]
        return _like(pattern, change["deviceId"]) or _like(pattern, name) or _like(pattern + ".*", name)

    def software(pattern: str) -> bool:
        vendor, slash, product = pattern.partition("/")
        if not slash:
            return _like(pattern, change["softwareName"])
        return _like(vendor or "*", change["softwareVendor"]) and _like(product or "*", change["softwareName"])

    return (
        (selection.since is None or seen >= selection.since)
        and (selection.until is None or seen < selection.until)
        and (not filters.devices or any(map(device, filters.devices)))
        and (not filters.software or any(map(software, filters.software)))
        and (not filters.types or change["changeType"] in filters.types)
        and (not filters.reasons or change["reason"] in filters.reasons)
        and (not filters.end_of_support or change["endOfSupportStatus"] == "EOS Version")
        and (not filters.snapshots or change["snapshotId"] in filters.snapshots)
        and (not filters.inventory or change["inventory"] == filters.inventory)
    )


def _some(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.one_of(st.just(()), st.lists(values, min_size=1, max_size=2).map(tuple))


@settings(max_examples=3 * SLOW.max_examples, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_filters_find_what_a_plain_filter_finds(whole: Journal, drawn: st.DataObject) -> None:
    """All filters together, in blocks of any size and from any cursor on: the same changes in the same order."""
    since, until = sorted(drawn.draw(st.lists(days, min_size=2, max_size=2, unique=True)))
    filters = Filters(
        since=drawn.draw(st.sampled_from(["", since, "50d"])),
        until=drawn.draw(st.sampled_from(["", until])),
        devices=drawn.draw(_some(words)),
        software=drawn.draw(_some(products)),
        types=drawn.draw(_some(st.sampled_from(["ADDED", "REMOVED", "CHANGED", "BASELINE"]))),
        reasons=drawn.draw(_some(st.sampled_from(["INSTALLED", "UPGRADED", "APPROVED", "NEW_DEVICE"]))),
        end_of_support=drawn.draw(st.booleans()),
        snapshots=drawn.draw(_some(st.sampled_from([snapshot.snapshot_id for snapshot in whole.snapshots]))),
        inventory=drawn.draw(st.sampled_from(["", "CPE", "NON_CPE"])),
    )
    if filters.since == "50d" and filters.until:
        filters = Filters(since="50d")
    expected = [change for change in whole.all if _is_selected(change, filters)]
    reading = whole.past_changes()
    scope = reading.narrow(filters.at(LAST))
    blocks = list(reading.read(scope, rows_max=drawn.draw(st.sampled_from([7, 40, 1000]))))
    assert [change for block in blocks for change in block] == expected
    assert sum(count.changes for count in reading.count(scope)) == len(expected)
    if expected:
        number = drawn.draw(st.integers(1, len(expected) + 1))
        newest, _ = reading.read_newest(scope, number)
        assert [change for block in newest for change in block] == expected[-number:]
        begin = drawn.draw(st.sampled_from(expected))
        cursor = JournalCursor(begin["epoch"], begin["sequence"])
        rest = [change for block in reading.read(scope, after=cursor) for change in block]
        assert rest == expected[expected.index(begin) + 1 :]
        assert sum(count.changes for count in reading.count(scope, after=cursor)) == len(rest)


@settings(max_examples=SLOW.max_examples, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    types=_some(st.sampled_from(["ADDED", "REMOVED", "CHANGED", "BASELINE"])),
    inventory=st.sampled_from(["", "CPE", "NON_CPE"]),
    rows_max=st.sampled_from([9, 40, 1_000]),
    drawn=st.data(),
)
def test_changes_that_the_engine_encodes_are_those_that_are_read(
    whole: Journal, types: tuple[str, ...], inventory: str, rows_max: int, drawn: st.DataObject
) -> None:
    """Block by block the same changes, over snapshots and epochs, from any cursor on."""
    messages = make_messages()
    encoder = messages.change_encoder(journal.change_columns(whole.state.export))
    assert encoder is not None
    reading = whole.past_changes()
    scope = reading.narrow(Filters(types=types, inventory=inventory).at(LAST))
    begin = drawn.draw(st.sampled_from([None, *whole.all]))
    after = None if begin is None else JournalCursor(begin["epoch"], begin["sequence"])
    read = reading.read(scope, after=after, rows_max=rows_max)
    expected = [
        [
            PastChange(
                JournalCursor(change["epoch"], change["sequence"]),
                change["snapshotId"],
                change["observedAt"],
                change["changeType"],
                change["eventId"],
                messages.encode_change(change | {"replayed": True}),
            )
            for change in block
        ]
        for block in read
    ]
    encoded = reading.read_encoded(scope, encoder, {"replayed": True}, after=after, rows_max=rows_max)
    assert list(encoded) == expected


def test_the_journal_of_these_tests_has_something_of_everything(whole: Journal) -> None:
    """Both epochs and inventories, all types, an approval: the filters had something to find."""
    assert {(change["epoch"], change["inventory"]) for change in whole.all} >= {(1, "CPE"), (1, "NON_CPE"), (2, "CPE")}
    assert {change["changeType"] for change in whole.all} == {"ADDED", "REMOVED", "CHANGED", "BASELINE"}
    assert "APPROVED" in {change["reason"] for change in whole.all}


def test_more_than_a_block_of_the_newest_is_read_from_a_cursor_on(whole: Journal) -> None:
    """Beyond the size of a block only the cursor is looked for, and the changes come block by block."""
    history = History(whole.state)
    scope = history.narrow(Selection(inventory=Inventory.CPE))
    expected = [change for change in whole.all if change["inventory"] == "CPE"]
    for number in (1, 7, len(expected) - 1):
        cursor = history.cursor_before_newest(scope, number)
        assert cursor is not None
        assert [change for block in whole.past_changes().read(scope, after=cursor) for change in block] == expected[
            -number:
        ]
    assert history.cursor_before_newest(scope, len(expected)) is None


def test_changes_are_counted_by_type_and_reason(whole: Journal) -> None:
    """Within each epoch."""
    history = History(whole.state)
    counted = Counter[tuple[int, str, str]]()
    for count in history.count(history.narrow(Selection())):
        counted[count.first.epoch, count.change_type, count.reason] += count.changes
    assert counted == Counter((change["epoch"], change["changeType"], change["reason"]) for change in whole.all)


def test_an_unknown_snapshot_is_named(whole: Journal) -> None:
    """It is no empty answer: the id may be mistyped, or too old."""
    with pytest.raises(StateError, match="no snapshot cpe-19990101T000000Z") as refused:
        History(whole.state).narrow(Selection(snapshots=frozenset({"cpe-19990101T000000Z"})))
    assert "journal_retention_days" in refused.value.hint


def test_the_file_is_free_while_a_block_is_looked_at(tmp_path: Path) -> None:
    """A poll stages between two blocks, and what it stages is not part of what is read."""
    with Bench(tmp_path) as bench:
        _grow(bench, 3)
        bench.state.close()
        reading = PastChanges(
            lambda: bench.state.open(bench.path, read_only=True, memory_limit_mib=256), threading.Event()
        )
        seen = []
        for block in reading.read(reading.narrow(Selection()), rows_max=1):
            seen += [change["softwareName"] for change in block]
            bench.reopen()
            bench.take(bench.snapshot([record("d", f"{name:02}") for name in range(bench.number + 1)]))
            bench.state.close()
    assert seen == ["01", "02"]


def test_a_file_that_is_held_is_waited_for_and_a_stop_ends_that(tmp_path: Path) -> None:
    """Between two visits a poll may have the file for long: patience has a limit, and ends at once when stopped."""
    visits, stop = [], threading.Event()

    def locked() -> Any:
        visits.append(1)
        if len(visits) == 3:
            stop.set()
        raise StateLocked("process 1 has it open")

    with Bench(tmp_path) as bench:
        _grow(bench, 2)
        scope = History(bench.state).narrow(Selection())
    with pytest.raises(Stopped):
        list(PastChanges(locked, stop).read(scope))
    assert len(visits) == 3
    stop.clear()
    with pytest.raises(StateLocked):
        list(PastChanges(locked, threading.Event()).read(scope))
    assert len(visits) == 3 + ATTEMPTS_MAX


def test_a_selection_says_that_the_journal_does_not_go_back_far_enough(tmp_path: Path) -> None:
    """Where it asks for changes older than the journal; not where nothing was deleted."""
    with Bench(tmp_path) as bench:
        _grow(bench, 6)
        history, middle = History(bench.state), bench.state.journal.recent_snapshots(3)[-1]
        old, young = (Selection(since=middle.observed_at + timedelta(hours=hours)) for hours in (-1, 1))
        assert [history.narrow(selection).cut for selection in (Selection(), old, young)] == [False, False, False]
        bench.state.journal.confirm(bench.checkpoint(bench.state.journal.recent_snapshots(1)[0]))
        maintenance.retire(bench.state, older_than=middle.observed_at)
        scopes = [history.narrow(selection) for selection in (Selection(), old, young)]
        assert [scope.cut for scope in scopes] == [False, True, False]
        assert scopes[0].beginning == middle


def test_changes_that_leave_the_journal_before_they_are_read_are_missed(tmp_path: Path) -> None:
    """Reading on from a cursor whose next change is gone is an error, not a gap that nobody sees."""
    with Bench(tmp_path) as bench:
        _grow(bench, 6)
        history = History(bench.state)
        scope = history.narrow(Selection())
        block, cursor = history.read(scope, None, 1)
        assert [change["sequence"] for change in block] == [1]
        bench.state.journal.confirm(bench.checkpoint(bench.state.journal.recent_snapshots(1)[0]))
        maintenance.retire(bench.state, older_than=bench.state.journal.recent_snapshots(3)[-1].observed_at)
        with pytest.raises(StateError, match="left the journal before they were read"):
            history.read(scope, cursor, 1)


def test_millions_are_deleted_in_bounded_steps_while_polls_go_on(tmp_path: Path) -> None:
    """Each poll deletes a million at most, the oldest first, and stages as ever; the young remain."""
    with Bench(tmp_path, rules=EASY) as bench:
        _grow(bench, 3)
        first, second, third = bench.state.journal.recent_snapshots(3)[::-1]
        bench.state.database.rows(
            "INSERT INTO changes BY NAME SELECT range + 1 AS sequence, 1 AS epoch, $1 AS snapshot_no, 'x' AS event_id"
            " FROM range(2_300_000)",
            [first.snapshot_no],
        )
        bench.state.journal.confirm(bench.checkpoint(third))
        deleted = []
        for name in "abc":
            deleted.append(maintenance.retire(bench.state, older_than=second.observed_at))
            staged = bench.take(bench.snapshot([record("d", name)]))
            bench.state.journal.confirm(bench.checkpoint(staged))
            assert staged.counts.added + staged.counts.removed + staged.counts.changed > 0
        assert deleted == [journal.RETIRED_CHANGES_MAX, journal.RETIRED_CHANGES_MAX, 300_000]
        assert bench.state.database.number("SELECT count(*) FROM changes WHERE event_id = 'x'") == 0
        assert History(bench.state).narrow(Selection()).beginning == second


def _grow(bench: Bench, count: int) -> None:
    """Stage `count` snapshots: a baseline, then one more record in each."""
    for number in range(count):
        bench.take(bench.snapshot([record("d", f"{name:02}") for name in range(number + 1)]))
