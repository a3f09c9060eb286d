"""The state file: inventory, changes (outbox and journal), snapshots, and how far Kafka has confirmed them.

`StateFile` is the open file: its engine, its transactions, and its `Journal` of rows. What a snapshot changes in it is
`staging`'s to say.

Open it for a poll, not for the life of a daemon: one process holds the file, and other commands wait or report who
holds it. Sets are deleted and inserted, never upserted, and every staged snapshot ends in a CHECKPOINT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from connector.errors import StateCorrupt, StateError
from connector.exports.fields import Export
from connector.exports.software import SOFTWARE
from connector.model import ChangeType
from connector.state import file, meta
from connector.state.engine import Engine
from connector.state.journal import Journal
from connector.state.schema import migrate
from connector.state.sql import literal

SCRATCH_TABLES: Final = (
    "meta", "position", "devices", "software", "contents", "missing_devices", "held", "snapshots", "first_seen",
    "crossings", "believed_removals", "last_said", "distrusted", "decisions", "diverging",
)  # fmt: skip
"""What a scratch state copies into memory; the inventory is read where it is."""

_RECENT_REMOVALS: Final = f"""
    WITH newest AS (
        SELECT max(snapshot_no) AS snapshot_no
        FROM stored.snapshots
        GROUP BY inventory
    )
    SELECT *
    FROM stored.changes
    WHERE change_type = {literal(ChangeType.REMOVED)}
      AND snapshot_no > (SELECT min(snapshot_no) FROM newest)
"""
"""Of an attached file's journal, all that a comparison may need: what one inventory lost since the other's newest."""


class StateFile:
    """The open state file. Use `StateFile.open`, as a context manager.

    Attributes:
        database: what SQL runs on.
        path: where the file is.
        export: what the file holds.
        scratch: whether what is staged goes to memory, and the file is only read.
        journal: the rows of the file.
    """

    def __init__(self, database: Engine, path: Path, *, export: Export = SOFTWARE, scratch: bool = False) -> None:
        self.database = database
        self.path = path
        self.scratch = scratch
        self.export = export
        self.journal = Journal(database, path, export)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        memory_limit_mib: int,
        threads: int = 0,
        read_only: bool = False,
        scratch: bool = False,
        wait_seconds: float = 0.0,
        export: Export = SOFTWARE,
    ) -> Self:
        """Open the file, making it (mode 0600) where it is missing, and bring its schema up to date.

        Args:
            path: the file.
            memory_limit_mib: memory of a comparison.
            threads: of a comparison; 0: one for each core.
            read_only: nothing is written; several processes may read at once.
            scratch: for a dry run. The file is only read; what is staged goes to memory and is gone on `close`.
                Without a file the inventory is empty, and none is made.
            wait_seconds: how long to wait for another process to close the file.
            export: what the file holds.

        Raises:
            StateLocked: another process has it open, or this one has.
            StateCorrupt: not a state file, damaged, or a symbolic link.
            StateVersionUnknown: written by a newer connector.
            StateError: the folder or the file cannot be used, or is on a network file system.
        """
        exists = file.check_place(path)
        if read_only and not exists:
            raise StateError(f"{path} does not exist", hint="Run `mde-inventory poll` once, or check state.path.")
        options: dict[str, Any] = {"memory_limit_mib": memory_limit_mib, "threads": threads}
        if not exists and not scratch:
            _make(path, options)
        database = Engine.open(path, **options, read_only=read_only, scratch=scratch, wait_seconds=wait_seconds)
        try:
            if scratch:
                _copy(database, path, exists=exists)
            else:
                migrate(database, path, fresh=False, read_only=read_only)
        except BaseException:
            database.close()
            raise
        return cls(database, path, export=export, scratch=scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; other processes may open it then."""
        self.database.close()

    @contextmanager
    def transaction(self, *, keep: bool = True, reads: Sequence[Path] = ()) -> Iterator[None]:
        """All of the block or nothing of it, brought into the file once it is committed; see `Engine.transaction`."""
        with self.database.transaction(keep=keep, reads=reads):
            yield
        self.database.checkpoint()

    def recall(self, name: str) -> str | None:
        """The value kept under a name; None where there is none."""
        return meta.recall(self.database, name)

    def remember(self, name: str, value: str | None) -> None:
        """Keep a small text under a name, in place of what was there; None: keep nothing."""
        if self.recall(name) == value:
            return
        with self.database.transaction():
            if value is None:
                meta.forget(self.database, name)
            else:
                meta.remember(self.database, name, value)


def _make(path: Path, options: dict[str, Any]) -> None:
    """Make an empty state file. It has its name only once it is whole, whenever the process may be stopped."""
    draft = file.draft_path(path)
    try:
        database = Engine.open(draft, **options)
    except StateCorrupt:
        # A process was stopped as it made this one. A draft that another is making is locked, and refused.
        file.remove(draft)
        database = Engine.open(draft, **options)
    try:
        migrate(database, draft, fresh=False)
    finally:
        database.close()
    file.put_in_place(draft, path)


def _copy(database: Engine, path: Path, *, exists: bool) -> None:
    """Make the tables of a scratch state in memory, from those of the file where there is one."""
    if exists:
        database.rows("USE stored")
        migrate(database, path, fresh=False, read_only=True)
        database.rows("USE memory")
    migrate(database, path, fresh=True)
    if exists:
        for table in SCRATCH_TABLES:
            database.rows(f"DELETE FROM {table}")
            database.rows(f"INSERT INTO {table} SELECT * FROM stored.{table}")
        database.rows(f"INSERT INTO changes BY NAME {_RECENT_REMOVALS}")
        database.rows("DROP TABLE inventory")
        database.rows("SET search_path = 'memory,stored'")
