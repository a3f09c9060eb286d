"""A state file that is not as the connector left it: refused by name, or whole, by every verb.

The table "State file" in `tests/FAULTS.md` says what becomes of each case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connector.errors import StateBehindCheckpoint, StateError, StateLocked
from connector.model import Inventory
from connector.staging import audit
from connector.staging.stage import stage_snapshot
from connector.state.engine import Engine
from connector.state.state import StateFile
from tests.cli.test_cli import toml
from tests.state.test_state import attempt
from tests.support.bench import EASY, START, TENANT, Bench, plain_snapshot, record, staging_rules
from tests.support.released import picture

NOBODY = 65534

VERBS = """
import json, os, sys, tempfile
from connector.cli import main
answers, stdout = [], os.dup(1)
for verb, path in json.loads(sys.argv[1]):
    os.environ["MDE_INVENTORY_STATE__PATH"] = path
    sys.argv = ["mde-inventory", *verb.split()]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        os.dup2(out.fileno(), 1)
        os.dup2(error.fileno(), 2)
        code = 0
        try:
            main()
        except SystemExit as left:
            code = left.code
        sys.stdout.flush()
        sys.stderr.flush()
        written = []
        for file in (out, error):
            file.seek(0)
            written.append(file.read().decode())
    answers.append((code, *written))
os.write(stdout, json.dumps(answers).encode())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A state file of some thousand records."""
    with Bench(tmp_path_factory.mktemp("whole")) as bench:
        bench.take(bench.snapshot([record("d", f"{number}", deviceName=f"n{number}") for number in range(3000)]))
    return bench.path.read_bytes()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A file with a baseline and a pending snapshot of 12 changes."""
    with Bench(tmp_path / "bench") as opened:
        opened.take(opened.snapshot([record("d", f"{number}") for number in range(30)]))
        opened.take(opened.snapshot([record("d", f"{number}") for number in range(6, 36)]))
        yield opened


def open_state(path: Path, **options: Any) -> StateFile:
    """A state file with the memory of a small comparison."""
    return StateFile.open(path, memory_limit_mib=256, threads=1, **options)


def pictured(path: Path) -> dict[str, Any]:
    """Everything that is in a state file."""
    with open_state(path) as state:
        return picture(state)


def run_verbs(folder: Path, calls: list[tuple[str, Path]]) -> list[tuple[int, str, str]]:
    """The command once for each verb and state file, all in one process: exit code, stdout, stderr."""
    tables: dict[str, Any] = {
        "source": {"tenant_id": TENANT, "client_id": "client", "client_secret": "not-used-here"},
        "kafka": {"topic_prefix": "damage"},
        "kafka.client": {"bootstrap.servers": "127.0.0.1:1"},
        "schema_registry": {"url": "mock://damage"},
    }
    (folder / "connector.toml").write_text(toml(tables), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", VERBS, json.dumps([(verb, str(path)) for verb, path in calls])],
        capture_output=True, text=True, cwd=folder, timeout=120, check=True,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "1000"},
    )  # fmt: skip
    return [(code, out, error) for code, out, error in json.loads(done.stdout)]


def damaged(folder: Path, whole: bytes) -> dict[str, tuple[Path, str]]:
    """By case: a path, and what must be said of it."""
    name = "state.duckdb"
    places = {case: folder / case / name for case in (
        "missing", "empty", "text", "half", "header cut", "header flipped", "log is another's", "another's database",
        "newer", "folder", "link", "linked log",
    )}  # fmt: skip
    for place in places.values():
        place.parent.mkdir()
    contents = {
        "empty": b"",
        "text": b"[source]\ntenant_id = 1\n" * 500,
        "half": whole[: len(whole) // 2],
        "header cut": whole[:4000],
        "header flipped": whole[:8] + bytes([whole[8] ^ 1]) + whole[9:],
        "log is another's": whole,
        "linked log": whole,
        "newer": whole,
    }
    for case, content in contents.items():
        places[case].write_bytes(content)
    other = Engine.open(places["another's database"], memory_limit_mib=128)
    other.rows("CREATE TABLE t AS SELECT 1 AS i")
    other.close()
    with open_state(places["newer"]) as state:
        state.database.rows("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with Bench(folder / "log") as bench:
        bench.take(bench.snapshot([record("e", "x")]))
        bench.state.database.rows("UPDATE position SET published_snapshot = 1")
        places["log is another's"].with_name(f"{name}.wal").write_bytes(
            bench.path.with_name(f"{name}.wal").read_bytes()[:-3] + b"???"
        )
    places["folder"].mkdir()
    (folder / "target").write_bytes(whole)
    places["link"].symlink_to(folder / "target")
    places["linked log"].with_name(f"{name}.wal").symlink_to(folder / "elsewhere")
    said = {
        "missing": "does not exist",
        "half": "Could not read enough bytes",
        "another's database": "is a DuckDB file, but not a state file",
        "newer": "has schema version 99; this connector knows versions up to",
        "folder": "is not a regular file",
        "link": "is a symbolic link",
        "linked log": "is a symbolic link",
    }
    return {case: (place, said.get(case, "cannot be opened as a state file")) for case, place in places.items()}


def test_a_file_that_is_none_of_ours_or_damaged_is_refused_by_every_verb_and_left_alone(
    whole: bytes, tmp_path: Path
) -> None:
    """Exit code 1, the file and what is wrong with it, a hint, nothing on stdout, and not a byte of it changed."""
    cases = damaged(tmp_path, whole)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    asked = [
        (case, verb)
        for case in cases
        for verb in ("status", "state verify", "state export x.csv", "poll --json", "poll --dry-run")
        if case != "missing" or not verb.startswith("poll")
    ]
    answers = run_verbs(tmp_path, [(verb, cases[case][0]) for case, verb in asked])
    wrong = [
        (case, verb, code, out, error)
        for (case, verb), (code, out, error) in zip(asked, answers, strict=True)
        if (code, out) != (1, "")
        or str(cases[case][0]) not in error
        or cases[case][1] not in error
        or "hint:" not in error
        or "Traceback" in error
    ]
    assert wrong == []
    after = {path: path.read_bytes() for path in before}
    assert [path for path in before if after[path] != before[path]] == []


@pytest.mark.parametrize("place", [0.0, 0.001, 0.002, 0.003, 0.01, 0.3, 0.5, 0.7, 0.9, 0.99999])
def test_a_flipped_byte_anywhere_is_refused_or_changes_nothing(place: float, whole: bytes, tmp_path: Path) -> None:
    """From the header to the tail: an error that names the file, or everything as it was."""
    path = tmp_path / "state.duckdb"
    path.write_bytes(whole)
    expected = pictured(path)
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    error, content = attempt(lambda: pictured(path))
    assert content in (None, expected)
    assert error is None or (str(path) in str(error) and error.hint and not isinstance(error, StateLocked))


def test_a_log_that_was_deleted_leaves_an_earlier_state_which_kafka_then_refuses(bench: Bench) -> None:
    """What the log alone held is gone: the file is as it was before, whole; where Kafka has more, publishing stops."""
    before = bench.path.read_bytes()
    staged = bench.state.journal.latest_snapshot(Inventory.CPE)
    assert staged is not None
    bench.state.journal.confirm(bench.checkpoint(staged))
    log = bench.path.with_name("state.duckdb.wal").read_bytes()
    assert (len(log) > 0, bench.path.read_bytes() == before) == (True, True)
    copy = bench.folder / "copy" / "state.duckdb"
    copy.parent.mkdir()
    copy.write_bytes(before)
    with open_state(copy) as state:
        assert (audit.verify(state), state.journal.position().pending) == ([], 12)
        assert state.journal.reconcile(bench.checkpoint(staged)).pending == 0
    later = bench.take(bench.snapshot([record("d", "only")]))
    copy.write_bytes(before)
    with open_state(copy) as state, pytest.raises(StateBehindCheckpoint, match="ahead of"):
        state.journal.reconcile(bench.checkpoint(later))


# ---- rights and room


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """As a user who owns the folder and everything in it, and is bound by modes: root is not."""
    if os.geteuid():
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that another user may reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("case", ["file 0400", "file 0000", "folder 0500", "folder 0000", "file of another user"])
def test_a_file_that_may_not_be_written_is_told_with_its_cause_and_works_once_it_may(case: str, place: Path) -> None:
    """No right to the file, or to its folder: which, and why. A file of somebody else is not taken over."""
    with Bench(place) as bench:
        bench.take(bench.snapshot([record("d", "a")]))
    target = bench.path if case.startswith("file") else bench.path.parent
    snapshot = plain_snapshot(place / "parts", [record("d", "b")], 9)
    if case == "file of another user" and os.geteuid():
        pytest.skip("NOT PROVEN here: only root gives a file away")
    with without_rights(place):
        if case == "file of another user":
            os.seteuid(0)
            os.chown(target, 0, 0)
            target.chmod(0o644)
            os.seteuid(NOBODY)
        else:
            former = target.stat().st_mode
            target.chmod(int(case.split()[1], 8))
        with pytest.raises(StateError, match=r"Permission denied|Read-only") as raised, open_state(bench.path) as state:
            stage_snapshot(state, snapshot, staging_rules(EASY), started_at=START, now=START)
        assert str(bench.path) in str(raised.value)
        assert raised.value.hint
        if case in ("file 0400", "folder 0500", "file of another user"):
            with open_state(bench.path, read_only=True) as state:
                assert audit.verify(state) == []
        if case == "file of another user":
            assert target.stat().st_mode & 0o777 == 0o644
            return
        target.chmod(former)
        with open_state(bench.path) as state:
            assert stage_snapshot(state, snapshot, staging_rules(EASY), started_at=START, now=START).counts.changes == 2
            assert audit.verify(state) == []


def test_a_dry_run_without_a_folder_for_temporary_files_says_so(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs one; a poll has its own beside the file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    bench.state.close()
    with pytest.raises(StateError, match="no folder for temporary files") as raised:
        open_state(bench.path, scratch=True)
    assert "TMPDIR" in raised.value.hint
    bench.reopen()
    assert bench.take(bench.snapshot([record("d", "0")])).counts.removed == 30


def test_a_file_where_the_spill_folder_should_be_stops_staging_until_it_is_gone(tmp_path: Path) -> None:
    """The folder is made when it is needed; a file in its place is an error, and nothing is changed."""
    lines = [record(f"d{number}", "a", deviceName=os.urandom(1000).hex()) for number in range(6000)]
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([record("d", "a")]))
        bench.confirm_baseline()
        bench.state.close()
        spill = bench.path.with_name("state.duckdb.spill")
        bench.state = StateFile.open(bench.path, memory_limit_mib=60, threads=1)
        snapshot = bench.snapshot([record("d", "a"), *lines])
        spill.write_text("planted")
        with pytest.raises(StateError) as raised:
            bench.take(snapshot)
        assert raised.value.hint
        spill.unlink()
        bench.state.close()
        bench.state = StateFile.open(bench.path, memory_limit_mib=60, threads=1)
        assert bench.state.journal.position().last_snapshot == 1
        assert bench.take(snapshot).counts.added == 6000
        assert audit.verify(bench.state) == []
