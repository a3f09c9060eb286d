"""Jobs on a state file for `disk`: what is going on when the power fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connector.model import Checkpoint, Snapshot
from connector.staging.stage import stage_snapshot
from connector.state.engine import Engine
from connector.state.schema import migrate
from connector.state.state import StateFile
from tests.support.bench import EASY, START, staging_rules


def make(path: Path) -> int:
    """Make a new state file."""
    with StateFile.open(path, memory_limit_mib=256, threads=1) as state:
        return state.journal.position().epoch


def stage(path: Path, snapshot: Snapshot) -> int:
    """Stage a snapshot. Returns the number of changes."""
    with StateFile.open(path, memory_limit_mib=256, threads=1) as state:
        return stage_snapshot(state, snapshot, staging_rules(EASY), started_at=START, now=START).counts.changes


def confirm(path: Path, checkpoint: Checkpoint) -> None:
    """Note what Kafka has confirmed."""
    with StateFile.open(path, memory_limit_mib=256, threads=1) as state:
        state.journal.confirm(checkpoint)


def upgrade(path: Path, migrations: Sequence[Sequence[str]]) -> None:
    """Bring a file to the newest of these schema versions."""
    engine = Engine.open(path, memory_limit_mib=256, threads=1)
    migrate(engine, path, fresh=False, migrations=migrations)
    engine.close()


def contents(path: Path) -> list[list[tuple[object, ...]]]:
    """All rows of all tables, and nothing else is looked at."""
    engine = Engine.open(path, memory_limit_mib=256, threads=1)
    tables = [name for (name,) in engine.rows("SELECT table_name FROM duckdb_tables() ORDER BY table_name")]
    rows = [engine.rows(f"SELECT '{table}', t FROM {table} t ORDER BY t::VARCHAR") for table in tables]
    engine.close()
    return rows
