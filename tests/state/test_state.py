from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import StateCorrupt, StateError, StateFull, StateLocked, StateVersionUnknown
from connector.exports.software import SOFTWARE
from connector.model import Inventory, Snapshot
from connector.staging import audit, derived, maintenance
from connector.staging.stage import check_room, stage_snapshot
from connector.state.engine import Engine
from connector.state.state import StateFile
from tests.support.bench import EASY, SLOW, START, Bench, plain_snapshot, record, staging_rules
from tests.support.estate import Estate
from tests.support.stored import missing_devices, stored_records


def open_state(path: Path, **options: Any) -> StateFile:
    """A state file with the memory of a small comparison."""
    return StateFile.open(path, memory_limit_mib=256, **options)


def picture(folder: Path) -> dict[str, str]:
    """Every file in a folder, with a digest of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def attempt(call: Callable[[], Any]) -> tuple[StateError | None, Any]:
    """What a call raises of the state file's errors, or what it returns."""
    try:
        return None, call()
    except StateError as error:
        return error, None


def verified(path: Path) -> list[str]:
    """What does not add up in a file that is only read."""
    with open_state(path, read_only=True) as state:
        return audit.verify(state)


# ---- the file


def test_a_new_file_is_for_its_owner_alone_and_begins_with_epoch_1(tmp_path: Path) -> None:
    """Folder 0700, file and log 0600, whatever the process's mask was; and nothing is known yet."""
    path = tmp_path / "folder" / "state.duckdb"
    with open_state(path) as state:
        stage_snapshot(
            state,
            plain_snapshot(tmp_path / "parts", [record("d", "a")], 1),
            staging_rules(EASY),
            started_at=START,
            now=START,
        )
        state.database.rows("INSERT INTO meta VALUES ('something', 'in the log')")
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (path.parent, *path.parent.iterdir())}
    assert modes == {"folder": 0o700, "state.duckdb": 0o600, "state.duckdb.wal": 0o600}
    with open_state(tmp_path / "other.duckdb") as state:
        position = state.journal.position()
        assert (position.epoch, position.last_sequence, position.last_snapshot, position.pending) == (1, 0, 0, 0)
        assert position.drained
        assert state.journal.tenant_id() is None
        assert state.journal.latest_snapshot(Inventory.CPE) is None
        assert (
            state.journal.recent_snapshots(10),
            state.journal.unsealed_snapshots(),
            state.journal.holds(),
            audit.verify(state),
        ) == (
            [],
            [],
            [],
            [],
        )


def test_a_file_that_is_missing_cannot_be_read(tmp_path: Path) -> None:
    """And none is made by looking."""
    with pytest.raises(StateError, match="does not exist") as raised:
        open_state(tmp_path / "folder" / "state.duckdb", read_only=True)
    assert "poll" in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_one_process_opens_a_file_once(tmp_path: Path) -> None:
    """A health check in the daemon's own process does not slip in beside its poll."""
    with open_state(tmp_path / "state.duckdb"), pytest.raises(StateLocked):
        open_state(tmp_path / "state.duckdb", read_only=True)
    open_state(tmp_path / "state.duckdb").close()


@pytest.mark.parametrize("size", [0, 10, 5_000, -100, -1])
def test_a_damaged_file_is_refused_by_name_and_left_as_it_is(size: int, tmp_path: Path) -> None:
    """Truncated to a number of bytes, or by one: an error that names it, or, cut at the end only, all that it had."""
    path = tmp_path / "state.duckdb"
    with Bench(tmp_path / "bench") as bench:
        bench.stage([record("d", f"{number}") for number in range(1000)])
    content = bench.path.read_bytes()
    path.write_bytes(content[:size] if size >= 0 else content[: len(content) + size])
    path.chmod(0o600)
    before = picture(tmp_path)
    error, findings = attempt(lambda: verified(path))
    assert picture(tmp_path) == before
    assert findings == [] or (error is not None and "state.duckdb" in str(error) and error.hint)
    assert size != 0 or isinstance(error, StateCorrupt)


@given(seed=st.integers(0, 2**32))
@SLOW
def test_a_flipped_byte_is_told_or_harmless_and_never_a_wrong_change(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Blocks carry checksums: what a flipped byte damages is refused, or was not used."""
    random = Random(seed)
    folder = tmp_path_factory.mktemp("state")
    lines = [record("d", f"{number}", deviceName=f"name {number}") for number in range(300)]
    with Bench(folder) as bench:
        bench.stage(lines)
        snapshot = bench.snapshot(lines)
    content = bytearray(bench.path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    bench.path.write_bytes(content)

    def changes() -> int:
        with open_state(bench.path) as state:
            assert audit.verify(state) == []
            return stage_snapshot(state, snapshot, staging_rules(EASY), started_at=START, now=START).counts.changes

    error, wrong = attempt(changes)
    assert wrong == 0 or (error is not None and str(bench.path) in str(error))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """No database, somebody else's database, a newer connector's."""
    (tmp_path / "text").write_text("no database at all")
    with pytest.raises(StateCorrupt):
        open_state(tmp_path / "text")
    other = Engine.open(tmp_path / "other", memory_limit_mib=128)
    other.rows("CREATE TABLE t (i INTEGER)")
    other.close()
    with pytest.raises(StateCorrupt, match="not a state file"):
        open_state(tmp_path / "other")
    with open_state(tmp_path / "newer") as state:
        state.database.rows("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    for options in ({}, {"read_only": True}, {"scratch": True}):
        with pytest.raises(StateVersionUnknown):
            open_state(tmp_path / "newer", **options)


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    """What a process leaves that was killed as it made a file is made again, whatever state it is in."""
    path = tmp_path / "state.duckdb"
    (tmp_path / "state.duckdb.new").write_bytes(b"half a header")
    (tmp_path / "state.duckdb.new.wal").write_bytes(b"half a log")
    with open_state(path) as state:
        assert state.journal.position().epoch == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.duckdb"]


def test_reading_only_writes_nothing(tmp_path: Path) -> None:
    """Everything that `status`, `state verify` and `changes` ask: the file stays as it is, byte for byte."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a"), record("d", "b")])
        staged = bench.stage([record("d", "a")])
    before = picture(tmp_path)
    with open_state(bench.path, read_only=True) as state:
        assert state.journal.position().pending == 1
        assert [snapshot.snapshot_no for snapshot in state.journal.recent_snapshots(1)] == [2]
        assert len(list(state.journal.changes(staged, after=0, limit=10))) == 1
        assert (audit.verify(state), state.journal.holds(), state.journal.held_count(), missing_devices(state)) == (
            [],
            [],
            0,
            0,
        )
        for write in (partial(derived.discard_held, now=START), maintenance.rebaseline):
            with pytest.raises(StateError):
                write(state)
    assert picture(tmp_path) == before


@pytest.mark.parametrize("moment", ["INSERT INTO changes", "CHECKPOINT"])
def test_a_process_that_is_killed_while_staging_leaves_all_of_it_or_nothing(moment: str, tmp_path: Path) -> None:
    """SIGKILL at the statement that begins so: the file opens, adds up, and the snapshot is staged once.

    `whole/test_power.py` does it before every system call that writes.
    """
    with Bench(tmp_path) as bench:
        bench.stage([record("d", f"{number}") for number in range(50)])
        after = [record("d", f"{number}") for number in range(25, 80)]
        snapshot = bench.snapshot(after)
        before = bench.state.journal.position()
        bench.state.close()
        process = multiprocessing.get_context("spawn").Process(target=_die_at, args=(moment, bench.path, snapshot))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        bench.state = open_state(bench.path)
        assert audit.verify(bench.state) == []
        if bench.state.journal.position() == before:
            bench.take(snapshot)
        staged = bench.state.journal.latest_snapshot(Inventory.CPE)
        assert staged is not None
        assert (staged.snapshot_no, staged.counts.added, staged.counts.removed, staged.first_sequence) == (2, 30, 25, 1)
        assert bench.take(bench.snapshot(after)).counts.changes == 0


def _die_at(moment: str, path: Path, snapshot: Snapshot) -> None:
    """Stage a snapshot in a separate process, which ends where that statement would have begun."""
    state = open_state(path)
    engine: Any = state.database
    connection = engine._connection

    class Dying:
        extract_statements = connection.extract_statements

        def execute(self, statement: duckdb.Statement, parameters: Any = ()) -> Any:
            text = statement.query
            if text.lstrip().startswith(moment) or (moment in text and " " in moment):
                os.kill(os.getpid(), signal.SIGKILL)
            return connection.execute(statement, parameters)

    engine._connection = Dying()
    stage_snapshot(state, snapshot, staging_rules(EASY), started_at=START, now=START)


# ---- dry runs


@pytest.mark.parametrize("known", [True, False])
def test_a_dry_run_tells_what_a_poll_would_do_and_writes_nothing(known: bool, tmp_path: Path) -> None:
    """The same counts and changes, from a file that is only read, or from none; not even a folder is made."""
    estate = Estate(Random(5))
    parts = tmp_path / "elsewhere"
    with Bench(tmp_path / "real", random=Random(5)) as bench:
        if known:
            bench.stage(estate.lines())
        estate.evolve()
        lines = estate.lines()
        bench.state.close()
        copy = tmp_path / "copy" / "state.duckdb"
        if known:
            copy.parent.mkdir()
            shutil.copy(bench.path, copy)
        snapshot = plain_snapshot(parts, lines, 2)
        before = picture(tmp_path)
        for keep in (True, False):
            with open_state(copy, scratch=True) as scratch:
                foreseen = stage_snapshot(
                    scratch, snapshot, staging_rules(EASY), started_at=START, now=START, keep=keep
                )
                changes = list(scratch.journal.changes(foreseen, after=0, limit=1000))
            assert picture(tmp_path) == before
        assert copy.parent.exists() == known
        bench.state = open_state(bench.path)
        staged = stage_snapshot(bench.state, snapshot, staging_rules(EASY), started_at=START, now=START)
        assert foreseen == staged
        assert changes == bench.changes(staged)


def test_a_dry_run_knows_what_is_held_missing_and_pending(tmp_path: Path) -> None:
    """It judges removals with everything that the file knows."""
    with Bench(tmp_path, rules=EASY) as bench:
        bench.stage([record("d", "a", rbacGroupId=1), record("e", "a", rbacGroupId=2)])
        bench.stage([record("d", "a", rbacGroupId=1)])
        bench.state.close()
        with open_state(bench.path, scratch=True) as scratch:
            assert scratch.journal.held_count() == 1
            assert scratch.journal.position().last_snapshot == 2
            staged = stage_snapshot(scratch,
                plain_snapshot(tmp_path / "parts", [record("d", "b", rbacGroupId=1)], 9),
                staging_rules(EASY), started_at=START, now=START,
            )  # fmt: skip
            assert (staged.counts.added, staged.counts.removed, staged.counts.held) == (1, 1, 0)
            assert scratch.journal.inventory_count(Inventory.CPE) == 2
        bench.state = open_state(bench.path)


def test_staging_without_keeping_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """In a file that is open for writing a dry run is worked out and thrown away."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        before = bench.state.journal.position(), stored_records(bench.state, Inventory.CPE)
        assert bench.take(bench.snapshot([record("d", "b")]), keep=False).counts.added == 1
        assert (bench.state.journal.position(), stored_records(bench.state, Inventory.CPE)) == before
        assert audit.verify(bench.state) == []


# ---- limits


def test_nothing_is_taken_in_while_too_much_is_pending(tmp_path: Path) -> None:
    """Loudly, and nothing is dropped; once Kafka has taken it, staging goes on."""
    rules = staging_rules(EASY, max_pending=2)
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        staged = bench.stage([record("d", name) for name in "abc"])
        snapshot = bench.snapshot([record("d", "a")])
        for refused in (
            lambda: check_room(bench.state.journal.position(), rules),
            lambda: stage_snapshot(bench.state, snapshot, rules, started_at=START, now=START),
        ):
            with pytest.raises(StateFull, match=r"2 changes wait for Kafka, and state\.max_pending is 2"):
                refused()
        bench.state.journal.confirm(bench.checkpoint(staged))
        check_room(bench.state.journal.position(), rules)
        assert stage_snapshot(bench.state, snapshot, rules, started_at=START, now=START).counts.removed == 2


def test_a_snapshot_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    """By the size of its parts; a dry run writes nothing and needs none."""
    with Bench(tmp_path) as bench:
        snapshot = bench.snapshot([record("d", "a")])
        huge = type(snapshot.parts[0])(snapshot.parts[0].path, "huge", 0, 2**60, snapshot.parts[0].spellings)
        snapshot = type(snapshot)(
            **{name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__}
            | {"parts": (*snapshot.parts, huge)}
        )
        with pytest.raises(StateFull, match="are free on the disk"):
            bench.take(snapshot)
        assert bench.state.journal.position().last_snapshot == 0


# ---- what Kafka confirmed


def test_confirming_moves_what_is_pending(tmp_path: Path) -> None:
    """Batch by batch, seal by seal; and a reopened file knows it."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        staged = bench.stage([record("d", name) for name in "abcd"])
        assert [snapshot.snapshot_no for snapshot in bench.state.journal.unsealed_snapshots()] == [1, 2]
        bench.state.journal.confirm(bench.checkpoint(staged, sequence=2, sealed=False))
        bench.reopen()
        position = bench.state.journal.position()
        assert (position.pending, position.published_snapshot, position.drained) == (1, 1, False)
        assert [change["sequence"] for change in bench.state.journal.changes(staged, after=2, limit=10)] == [3]
        bench.state.journal.confirm(bench.checkpoint(staged))
        assert bench.state.journal.position().drained
        assert bench.state.journal.unsealed_snapshots() == []
        assert bench.state.journal.position().published_at == 1_800_000_000_000


# ---- the two inventories


def test_the_two_inventories_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    """Each has its own baseline, chain, holds and records, also for the same software; the numbers go on over both."""
    both = [record("d", "a"), record("d", "b")]
    with Bench(tmp_path) as bench:
        bench.stage(both)
        other = [plain_snapshot(tmp_path / "parts", lines, number, Inventory.NON_CPE) for number, lines in
                 enumerate((both, both[:1], [*both, record("d", "c")]))]  # fmt: skip
        first = bench.take(other[0])
        assert (first.baseline, first.previous_snapshot_id, first.counts.records) == (True, None, 2)
        second, third = bench.take(other[1]), bench.take(other[2])
        assert (second.counts.removed, second.previous_snapshot_id) == (1, first.snapshot_id)
        assert [change["inventory"] for change in bench.changes(third)] == ["NON_CPE", "NON_CPE"]
        assert [change["sequence"] for change in bench.changes(third)] == [2, 3]
        assert bench.take(bench.snapshot(both)).counts.changes == 0
        assert bench.state.journal.inventory_count(Inventory.CPE) == 2
        assert bench.state.journal.inventory_count(Inventory.NON_CPE) == 3
        assert audit.verify(bench.state) == []


# ---- upkeep


def test_a_rebaseline_forgets_the_inventory_and_keeps_the_journal(tmp_path: Path) -> None:
    """The next snapshot is a baseline with new numbers; earlier changes can still be read."""
    with Bench(tmp_path, rules=EASY) as bench:
        bench.stage([record("d", "a", rbacGroupId=1), record("e", "a", rbacGroupId=2)])
        old = bench.stage([record("d", "b", rbacGroupId=1)])
        assert maintenance.rebaseline(bench.state) == 2
        assert audit.verify(bench.state) == []
        position = bench.state.journal.position()
        assert (position.epoch, position.pending, position.last_sequence, position.last_snapshot) == (2, 0, 0, 2)
        assert (stored_records(bench.state, Inventory.CPE), bench.state.journal.held_count()) == ([], 0)
        assert bench.state.journal.latest_snapshot(Inventory.CPE) is None
        assert len(bench.changes(old)) == 2
        new = bench.take(bench.snapshot([record("d", "c"), record("f", "a")]))
        assert (new.baseline, new.epoch, new.snapshot_no, new.counts.added) == (True, 2, 3, 0)
        later = bench.take(bench.snapshot([record("d", "c")]))
        assert later.epoch == 2
        assert bench.take(bench.snapshot([record("d", "c"), record("d", "d")])).first_sequence == (
            later.sequence_after + 1
        )
        assert audit.verify(bench.state) == []


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
def test_an_export_has_every_record_once_with_the_names_that_are_published(suffix: str, tmp_path: Path) -> None:
    """Of both inventories, ordered, readable by others, and for its owner alone."""
    path = tmp_path / f"it's{suffix}"
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "b", diskPaths=["x", "y"]), record("d", "a", numberOfWeaknesses=3)])
        bench.take(plain_snapshot(tmp_path / "parts", [record("e", "c")], 1, Inventory.NON_CPE))
        assert maintenance.export(bench.state, path) == 3
        reader = {".parquet": "read_parquet", ".ndjson": "read_json", ".csv": "read_csv"}[suffix]
        rows = bench.state.database.rows(f"SELECT * FROM {reader}($1)", [str(path)])
        names = [row[0] for row in bench.state.database.rows(f"DESCRIBE SELECT * FROM {reader}($1)", [str(path)])]
        with pytest.raises(StateError, match="exists already"):
            maintenance.export(bench.state, path)
    assert names == ["inventory", *(field.name for field in SOFTWARE.fields)]
    assert [(row[0], row[1], row[7]) for row in rows] == [("CPE", "d", "a"), ("CPE", "d", "b"), ("NON_CPE", "e", "c")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("sign", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_an_export_as_csv_is_no_formula(sign: str, tmp_path: Path) -> None:
    """A text that begins like one gets an apostrophe in front of it; numbers, arrays and the other formats do not."""
    odd = record(sign, sign, softwareVendor=sign, softwareVersion=sign, deviceName=sign, endOfSupportDate=sign,
                 diskPaths=[sign], numberOfWeaknesses=-1)  # fmt: skip
    with Bench(tmp_path) as bench:
        bench.stage([odd])
        for suffix in (".csv", ".parquet"):
            maintenance.export(bench.state, tmp_path / f"dump{suffix}")
        (kept,) = bench.state.database.rows("SELECT * FROM read_parquet($1)", [str(tmp_path / "dump.parquet")])
    with (tmp_path / "dump.csv").open(encoding="utf-8", newline="") as file:
        heading, row = csv.reader(file)
    names = [field.name for field in SOFTWARE.fields]
    assert heading == ["inventory", *names]
    texts = {"deviceId", "softwareName", "softwareVendor", "softwareVersion", "deviceName", "endOfSupportDate"}
    values, plain = dict(zip(heading, row, strict=True)), dict(zip(heading, kept, strict=True))
    assert {name: values[name] for name in texts} == {name: f"'{plain[name]}" for name in texts}
    assert {plain[name] for name in ("deviceId", "deviceName", "softwareVersion")} == {sign}
    assert (values["numberOfWeaknesses"], values["diskPaths"][0]) == ("-1", "[")


def test_an_export_that_cannot_be_is_told(tmp_path: Path) -> None:
    """An unknown format, a folder that is not there."""
    with Bench(tmp_path) as bench:
        for name in ("dump.xlsx", "dump"):
            with pytest.raises(StateError, match="does not end in"):
                maintenance.export(bench.state, tmp_path / name)
        with pytest.raises(StateError):
            maintenance.export(bench.state, tmp_path / "nowhere" / "dump.ndjson")
        assert bench.stage([record("d", "a")]).counts.records == 1


def test_many_snapshots_do_not_let_the_file_grow_without_end(tmp_path: Path) -> None:
    """A hundredth of the records changes each time: the file stays near the size of what it holds."""
    random = Random(1)
    lines = [record(f"d{number % 50}", f"p{number}", deviceName=random.randbytes(60).hex()) for number in range(2_000)]
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot(lines))
        sizes = []
        for _ in range(16):
            for number in random.sample(range(len(lines)), 20):
                lines[number] = lines[number] | {"numberOfWeaknesses": random.randrange(1000)}
            bench.state.journal.confirm(bench.checkpoint(bench.take(bench.snapshot(lines))))
            maintenance.retire(bench.state, older_than=START + timedelta(days=365))
            sizes.append(bench.path.stat().st_size)
        assert audit.verify(bench.state) == []
    assert sizes[-1] < 2 * sizes[0]
    assert max(sizes[8:]) <= 1.3 * max(sizes[:8])


def test_a_state_file_is_opened_without_the_command_line(tmp_path: Path) -> None:
    """The module stands on its own: another program can read a state file with it."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
    code = (
        "import sys; from pathlib import Path; from connector.state.state import StateFile\n"
        "with StateFile.open(Path(sys.argv[1]), memory_limit_mib=128, read_only=True) as state:"
        " print(state.journal.position().last_snapshot)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bench.path)], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
