from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import duckdb
import pytest

from connector.errors import (
    ConnectorError,
    SnapshotIncomplete,
    SourceMalformed,
    StateCorrupt,
    StateError,
    StateFull,
    StateLocked,
)
from connector.staging import audit
from connector.state.engine import Engine, translate
from tests.support.bench import Bench, record
from tests.support.oracle import Record

PART = "/staging/part-0001.json.gz"


def exceptions(of: type[Exception]) -> list[type[Exception]]:
    """A class of the engine's exceptions, and all below it."""
    return [of, *(exception for below in of.__subclasses__() for exception in exceptions(below))]


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond this: to whoever writes one, the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---- errors


@pytest.mark.parametrize("kind", exceptions(duckdb.Error), ids=lambda kind: str(kind.__name__))
@pytest.mark.parametrize("reads", [(), (PART,)])
def test_every_exception_of_the_engine_becomes_one_of_ours(kind: type[Exception], reads: tuple[str, ...]) -> None:
    """Whatever it raises, also what later versions add below these: with a hint, on one line, of bounded length."""
    error = translate(kind("Some Error: something\n\nLINE 1: SELECT" + "x" * 10_000), Path("state.duckdb"), reads)
    assert isinstance(error, StateError)
    assert error.hint
    assert str(error).endswith("Some Error: something")
    assert len(str(translate(kind("x" * 10_000), Path("state.duckdb")))) < 1000


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (duckdb.IOException("IO Error: Could not write: No space left on device"), StateFull),
        (duckdb.FatalException("FATAL Error: Failed to create checkpoint: No space left on device"), StateFull),
        (duckdb.OutOfMemoryException("Out of Memory Error: ... the 'max_temp_directory_size' setting"), StateFull),
        (duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"), StateError),
        (MemoryError(), StateError),
        (duckdb.FatalException("FATAL Error: database has been invalidated"), StateError),
        (duckdb.InvalidInputException('Invalid Input Error: Malformed JSON in file "x"'), SourceMalformed),
        (duckdb.IOException(f"IO Error: Unexpected end of GZIP stream: {PART}"), SnapshotIncomplete),
        (duckdb.IOException(f'IO Error: No files found that match the pattern "{PART}"'), SnapshotIncomplete),
        (duckdb.IOException("IO Error: Corrupt database file: checksum mismatch"), StateCorrupt),
        (duckdb.IOException("IO Error: Could not read enough bytes from file"), StateCorrupt),
        (duckdb.SerializationException("Serialization Error: field id mismatch"), StateCorrupt),
        (duckdb.IOException("IO Error: Input/output error"), StateError),
    ],
)
def test_errors_that_are_treated_differently_are_told_apart(error: Exception, expected: type[ConnectorError]) -> None:
    """A full disk, a bad line, a bad part, a damaged file, and the rest."""
    assert type(translate(error, Path("state.duckdb"), (PART,))) is expected


def test_a_bad_line_is_the_snapshots_only_while_one_is_read() -> None:
    """At any other time the same exception is about the file."""
    error = duckdb.InvalidInputException('Invalid Input Error: Malformed JSON in file "x"')
    assert type(translate(error, Path("state.duckdb"))) is StateCorrupt


# ---- the disk is full


def wide(count: int, seed: int) -> list[Record]:
    """Records that do not compress."""
    random = Random(seed)
    return [record(f"d{number}", "a", deviceName=random.randbytes(1000).hex()) for number in range(count)]


@pytest.mark.parametrize(("memory_limit_mib", "room_bytes"), [(60, 0), (60, 4_000_000), (512, 1_000_000)])
def test_a_full_disk_leaves_the_state_as_it_was_and_works_again_with_room(
    memory_limit_mib: int, room_bytes: int, tmp_path: Path
) -> None:
    """While spilling, and while committing: one clear error, the file opens, and the same snapshot is staged later."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a")])
        bench.confirm_baseline()
        snapshot = bench.snapshot([record("d", "a"), *wide(6_000, 1)])
        before = bench.state.journal.position()
        bench.state.close()
        bench.state = type(bench.state).open(bench.path, memory_limit_mib=memory_limit_mib, threads=1)
        with file_size_limit(bench.path.stat().st_size + room_bytes):
            with pytest.raises(StateFull, match="no space left") as raised:
                bench.take(snapshot)
            with suppress(StateFull):
                bench.state.journal.position()
            bench.state.close()
            bench.state = type(bench.state).open(bench.path, memory_limit_mib=512)
            assert bench.state.journal.position() == before
            assert audit.verify(bench.state) == []
        assert raised.value.retryable
        assert "Free space" in raised.value.hint
        assert bench.take(snapshot).counts.added == 6_000
        assert audit.verify(bench.state) == []


# ---- opening


HOLD = """
import sys
from pathlib import Path
from connector.state.engine import Engine
engine = Engine.open(Path(sys.argv[1]), memory_limit_mib=128)
engine.rows("CREATE TABLE IF NOT EXISTS t (i INTEGER)")
print("open", flush=True)
sys.stdin.readline()
engine.close()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the file open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        with suppress(BrokenPipeError):
            process.stdin.close()


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("scratch", [True, False])
def test_a_second_process_is_refused_at_once_and_told_who_has_it(
    read_only: bool, scratch: bool, tmp_path: Path
) -> None:
    """Whatever it wants to do; and when the first is done, it is let in."""
    path = tmp_path / "state.duckdb"
    with (
        held_by_another_process(path) as process,
        pytest.raises(StateLocked, match=f"process {process.pid} ") as raised,
    ):
        Engine.open(path, memory_limit_mib=128, read_only=read_only, scratch=scratch)
    assert "wait" in raised.value.hint
    Engine.open(path, memory_limit_mib=128, read_only=read_only, scratch=scratch).close()


def test_a_command_that_may_wait_is_let_in_when_the_other_is_done(tmp_path: Path) -> None:
    """It tries again until then."""
    path = tmp_path / "state.duckdb"
    with held_by_another_process(path) as process:
        assert process.stdin is not None
        process.stdin.close()
        Engine.open(path, memory_limit_mib=128, read_only=True, wait_seconds=60).close()
    assert process.returncode == 0


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """After that number of seconds it is refused all the same."""
    path = tmp_path / "state.duckdb"
    with held_by_another_process(path), pytest.raises(StateLocked):
        Engine.open(path, memory_limit_mib=128, wait_seconds=0.3)


def test_several_processes_may_read_at_once(tmp_path: Path) -> None:
    """Readers do not keep each other out."""
    path = tmp_path / "state.duckdb"
    Engine.open(path, memory_limit_mib=128).close()
    code = HOLD.replace("memory_limit_mib=128)", "memory_limit_mib=128, read_only=True)").replace("engine.rows", "str")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        Engine.open(path, memory_limit_mib=128, read_only=True).close()
        process.communicate("\n")
    assert process.returncode == 0


def test_an_engine_that_could_not_open_lets_go_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the file is free again, and nothing of a dry run stays in the folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "state.duckdb"
    path.write_bytes(b"no database")
    for scratch in (False, True, False):
        with pytest.raises(StateCorrupt, match="cannot be opened as a state file"):
            Engine.open(path, memory_limit_mib=128, scratch=scratch)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.duckdb"]
    assert path.read_bytes() == b"no database"


@pytest.mark.parametrize(
    ("memory_limit_mib", "threads", "expected"), [(128, 0, 1), (128, 8, 1), (300, 8, 2), (4096, 3, 3), (64, 4, 1)]
)
def test_there_are_no_more_threads_than_there_is_memory_for(
    memory_limit_mib: int, threads: int, expected: int, tmp_path: Path
) -> None:
    """Each has its buffers: a machine of many cores must not fail where a small one works."""
    engine = Engine.open(tmp_path / "state.duckdb", memory_limit_mib=memory_limit_mib, threads=threads)
    used = engine.number("SELECT current_setting('threads')")
    engine.close()
    assert used == expected


def test_settings_that_could_reach_out_are_off(tmp_path: Path) -> None:
    """No extension is fetched or loaded by itself; memory and spilling are limited; time is UTC."""
    engine = Engine.open(tmp_path / "state.duckdb", memory_limit_mib=100, threads=1)
    names = ("autoinstall_known_extensions", "autoload_known_extensions", "memory_limit", "threads", "TimeZone")
    values = dict(engine.rows("SELECT name, value FROM duckdb_settings() WHERE list_contains($1, name)", [list(names)]))
    spill = engine.rows("SELECT current_setting('temp_directory'), current_setting('max_temp_directory_size')")[0]
    engine.close()
    assert values == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": "80.0 MiB",
        "threads": "1",
        "TimeZone": "UTC",
    }
    assert spill[0] == str(tmp_path / "state.duckdb.spill")
    assert "available" not in spill[1]


# ---- statements


def test_a_text_means_what_it_says_wherever_and_whenever_it_is_run_again(tmp_path: Path) -> None:
    """Its statements are parsed once in a process: they see other files, other tables and other parameters."""
    read = "SELECT i FROM t WHERE i > $least ORDER BY i"
    seen = []
    for name, kind in (("a", "INTEGER"), ("b", "DOUBLE")):
        engine = Engine.open(tmp_path / name, memory_limit_mib=128, threads=1)
        engine.rows(f"CREATE TABLE t (i {kind})")
        engine.rows("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES ($1)", [3])
        seen += [engine.rows(read, {"least": least}) for least in (0, 2)]
        engine.rows("DROP TABLE t")
        with pytest.raises(StateCorrupt, match="Table with name t does not exist"):
            engine.rows(read, {"least": 0})
        engine.close()
    assert repr(seen) == "[[(1,), (2,), (3,)], [(3,)], [(1.0,), (2.0,), (3.0,)], [(3.0,)]]"


# ---- transactions


def test_a_block_that_fails_leaves_nothing_and_its_own_error(tmp_path: Path) -> None:
    """Neither tables nor rows, and the next statement runs."""
    engine = Engine.open(tmp_path / "state.duckdb", memory_limit_mib=128)

    def fail() -> None:
        with engine.transaction():
            engine.rows("CREATE TABLE t (i INTEGER)")
            engine.rows("CREATE TEMP TABLE temporary (i INTEGER)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert engine.rows("SELECT table_name FROM duckdb_tables()") == []
    engine.close()


@pytest.mark.parametrize("keep", [True, False])
def test_a_block_is_kept_or_thrown_away_whole_and_its_temporary_tables_are_gone(keep: bool, tmp_path: Path) -> None:
    """A dry run is a block that is thrown away."""
    engine = Engine.open(tmp_path / "state.duckdb", memory_limit_mib=128)
    with engine.transaction(keep=keep):
        engine.rows("CREATE TABLE t (i INTEGER)")
        engine.rows("CREATE TEMP TABLE temporary (i INTEGER)")
    assert engine.rows("SELECT table_name FROM duckdb_tables()") == ([("t",)] if keep else [])
    engine.close()


def test_rows_are_read_block_by_block_beside_other_statements(tmp_path: Path) -> None:
    """What is committed meanwhile does not disturb the reading."""
    engine = Engine.open(tmp_path / "state.duckdb", memory_limit_mib=128)
    engine.rows("CREATE TABLE t AS SELECT range AS i FROM range(10)")
    blocks = []
    for block in engine.blocks("SELECT i FROM t WHERE i >= $1 ORDER BY i", [1], 4):
        engine.rows("INSERT INTO t VALUES (99)")
        blocks.append([row[0] for row in block])
    engine.close()
    assert blocks == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
