from __future__ import annotations

from pathlib import Path

import pytest

from connector.model import Inventory
from connector.service.state_watch import Backlog, StateWatcher
from connector.state.state import StateFile

NOTHING = Backlog(0, {"CPE": 0, "NON_CPE": 0})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state file will be."""
    return tmp_path / "state.duckdb"


def change(path: Path, value: str) -> None:
    """Write to the state file, as another process does, and close it."""
    with StateFile.open(path, memory_limit_mib=128) as state:
        state.remember("test", value)


def watch(path: Path) -> StateWatcher:
    """Watches both inventories."""
    return StateWatcher(path, lambda: StateFile.open(path, memory_limit_mib=128, read_only=True), list(Inventory))


def test_only_what_another_changed_is_read(path: Path) -> None:
    """No file, what our own poll left, and no change since the last look: nothing is opened."""
    watched = watch(path)
    assert watched.look() is None
    change(path, "by our own poll")
    watched.note()
    assert watched.look() is None
    change(path, "by another, and longer than what was there before")
    assert (watched.look(), watched.look()) == (NOTHING, None)


def test_a_file_that_is_in_use_is_looked_at_again(path: Path) -> None:
    """Whoever changes it has it open: the next look finds what this one could not."""
    watched = watch(path)
    with StateFile.open(path, memory_limit_mib=128) as state:
        state.remember("test", "x")
        assert watched.look() is None
    assert watched.look() == NOTHING
