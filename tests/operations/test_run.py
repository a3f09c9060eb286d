"""What `run` makes sure of before it polls. The command itself is in whole/test_decisions.py."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from connector.assembly import Assembly
from connector.errors import StateError, StateLocked
from connector.operations.run import take_locks
from connector.state.publisher_lock import RUN
from tests.support.configured import config_of


def tenant(path: Path) -> Assembly:
    """A tenant with its state file there."""
    return Assembly(config_of(state={"path": str(path)}))


def test_a_state_file_that_another_process_publishes_from_refuses_the_start(tmp_path: Path) -> None:
    """Of several tenants the one is named; the locks of the others are free again for whoever asks next."""
    first, second = tenant(tmp_path / "first.duckdb"), tenant(tmp_path / "second.duckdb")
    with second.publisher_lock(RUN):
        with pytest.raises(StateLocked, match=r"second\.duckdb"), ExitStack() as stack:
            take_locks([first, second], stack)
        with first.publisher_lock("poll").attempted() as other:
            assert other is None


def test_a_lock_that_cannot_be_taken_concerns_its_tenant_only(tmp_path: Path) -> None:
    """The others have theirs; each poll of that tenant tries again, and fails by name until it can."""
    first, second = tenant(tmp_path / "first.duckdb"), tenant(tmp_path / "folder" / "second.duckdb")
    (tmp_path / "folder").write_text("a file where the folder should be")
    with ExitStack() as stack:
        locks = take_locks([first, second], stack)
        locks[0].renew()
        with pytest.raises(StateError, match="cannot be locked"):
            locks[1].renew()
        (tmp_path / "folder").unlink()
        locks[1].renew()
        for lock in locks:
            assert lock.path.read_text(encoding="ascii").endswith(" run\n")
