"""The database engine under the state file: opening, statements, transactions, and what its errors mean."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import duckdb

from connector.errors import (
    ConnectorError,
    SnapshotIncomplete,
    SourceMalformed,
    StateCorrupt,
    StateError,
    StateFull,
    StateLocked,
)
from connector.state import file
from connector.state.sql import Parameters, file_pattern, literal

NAME: Final = f"duckdb {duckdb.__version__}"
"""Engine and version: what is worked out with its hash function is worth nothing to another one."""

MEMORY_SHARE: Final = 0.8
"""Of the memory that may be used, so much is given to the engine: its limit does not count all that it uses."""

SPILL_SHARE: Final = 0.8
"""Of the disk space that is free at the beginning, so much may hold what does not fit in memory."""

THREAD_MEMORY_MIB: Final = 128
"""Memory that each thread should have for itself: its buffers for reading lines alone take a quarter of it."""

DAMAGED_HINT: Final = (
    "Move it away and keep it. Then restore a copy, or rebuild it from Kafka with `mde-inventory state rebuild`."
)
LOCK_POLL_SECONDS: Final = 0.1
_FULL_SIGNS: Final = ("No space left", "File too large", "quota", "max_temp_directory_size")
MESSAGE_CHARACTERS_MAX: Final = 400

STATEMENTS_KEPT_MAX: Final = 512
"""Parsed statements that a process keeps: the text of most is the same in every transaction, and with few records a
fifth of the time that a statement takes goes into parsing it."""
_PARSED: Final[dict[str, list[duckdb.Statement]]] = {}


class Engine:
    """An open database file, or one in memory that reads from a file (`scratch`). Use `Engine.open`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._closing = ExitStack()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._read_paths: tuple[str, ...] = ()

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
    ) -> Self:
        """Open a file, or make it with mode 0600; see `StateFile.open`.

        With `scratch`, the database is in memory, and the file, where there is one, is attached to it as `stored`.
        """
        with ExitStack() as stack:
            if scratch:
                spill = Path(stack.enter_context(_temporary_folder()))
            else:
                file.make_private(path, read_only=read_only)
                spill = file.spill_path(path)
            deadline = time.monotonic() + wait_seconds
            stack.enter_context(file.reserved(path, wait_seconds))
            options: dict[str, Any] = {
                "memory_limit": f"{int(memory_limit_mib * MEMORY_SHARE)}MiB",
                "threads": max(1, min(threads or os.cpu_count() or 1, memory_limit_mib // THREAD_MEMORY_MIB)),
                "temp_directory": str(spill),
                "max_temp_directory_size": f"{int(file.free_bytes(spill) * SPILL_SHARE)}B",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            }
            connect = _attach if scratch else _connect
            connection = _patiently(lambda: connect(path, options, read_only), deadline)
            engine = cls(connection, path)
            stack.callback(connection.close)
            engine.rows("SET TimeZone = 'UTC'")
            # The right side of a join is the one that is held in memory: of a file, the optimizer guesses some
            # hundreds of rows, and would hold those.
            engine.rows("SET disabled_optimizers = 'build_side_probe_side,join_order'")
            # It would be drawn on stdout, between results.
            engine.rows("SET enable_progress_bar = false")
            engine._closing = stack.pop_all()
        return engine

    def close(self) -> None:
        """Close the file."""
        self._closing.close()

    def rows(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        with self._translated():
            *earlier, last = self._parsed(statement)
            for preceding in earlier:
                self._connection.execute(preceding)
            return self._connection.execute(last, parameters).fetchall()

    def number(self, statement: str, parameters: Parameters = ()) -> int:
        """Run one statement that yields one integer; NULL and no row are 0."""
        rows = self.rows(statement, parameters)
        return int(rows[0][0] or 0) if rows else 0

    def blocks(self, statement: str, parameters: Parameters, block_rows: int) -> Iterator[list[tuple[Any, ...]]]:
        """Run one statement on a second cursor, and yield its committed rows in blocks of `block_rows`."""
        with self._translated(), closing(self._connection.cursor()) as cursor:
            self._cursors.append(cursor)
            try:
                cursor.execute(statement, parameters)
                while block := cursor.fetchmany(block_rows):
                    yield block
            finally:
                self._cursors.remove(cursor)

    def interrupt(self) -> None:
        """End the statements that run now, with an error where they run; to be called from another thread."""
        for connection in (self._connection, *self._cursors):
            with suppress(duckdb.Error):
                connection.interrupt()

    @contextmanager
    def transaction(self, *, keep: bool = True, reads: Sequence[Path] = ()) -> Iterator[None]:
        """All of the block or nothing of it; with `keep` false, nothing in any case.

        Temporary tables that the block makes are gone after it. `reads` are files that it reads: their faults are the
        snapshot's, not the state file's.
        """
        self._read_paths = tuple(name for path in reads for name in (str(path), file_pattern(path)))
        self.rows("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            # After a fatal error the engine refuses even this, and has rolled back by itself.
            with suppress(duckdb.Error):
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._read_paths = ()
        self.rows("COMMIT" if keep else "ROLLBACK")
        made = self.rows("SELECT table_name FROM duckdb_tables() WHERE temporary")
        if made:
            self.rows("; ".join(f"DROP TABLE temp.{table}" for (table,) in made))

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file."""
        self.rows("CHECKPOINT")

    def _parsed(self, text: str) -> list[duckdb.Statement]:
        """The statements of a text. What is executed is a copy of them, so that any connection may use them again."""
        statements = _PARSED.get(text)
        if statements is None:
            if len(_PARSED) >= STATEMENTS_KEPT_MAX:
                _PARSED.clear()
            statements = _PARSED[text] = self._connection.extract_statements(text)
        return statements

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, MemoryError) as error:
            raise translate(error, self._path, self._read_paths) from error


def translate(error: Exception, path: Path, read_paths: Sequence[str] = ()) -> ConnectorError:
    """One of the engine's exceptions as ours; `read_paths` are files of a snapshot that is being read."""
    text = _shortened(error)
    if any(sign in text for sign in _FULL_SIGNS):
        return StateFull(
            f"no space left on the disk of {path}: {text}",
            hint="Free space. What was staged before is safe, and the next poll goes on.",
        )
    if isinstance(error, duckdb.InvalidInputException) and read_paths and "JSON" in text:
        return SourceMalformed(f"a line of the snapshot cannot be read: {text}", hint="Nothing was staged.")
    if isinstance(error, duckdb.IOException | duckdb.InvalidInputException) and any(
        part in str(error) for part in read_paths
    ):
        return SnapshotIncomplete(
            f"a file of the snapshot cannot be read: {text}",
            hint="Nothing was staged. Is another program changing the staging folder?",
        )
    return _file_error(error, path, text)


def _file_error(error: Exception, path: Path, text: str) -> StateError:
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return StateError(
            f"the memory given by state.memory_limit_mib is not enough: {text}",
            hint="Raise state.memory_limit_mib. Nothing was staged.",
        )
    if isinstance(error, duckdb.FatalException):
        return StateError(
            f"{path} cannot be used any more by this process: {text}",
            hint="Start it again. If that does not help, restore the file from a copy.",
        )
    if isinstance(error, duckdb.IOException | duckdb.InterruptException | duckdb.TransactionException) and not any(
        sign in text for sign in ("Corrupt", "checksum", "read enough bytes")
    ):
        return StateError(f"{path}: {text}", hint="Nothing was changed. Check the disk.")
    return StateCorrupt(f"{path}: {text}", hint=DAMAGED_HINT)


def _connect(path: Path, options: dict[str, Any], read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path.absolute()), read_only=read_only, config=options)
    except duckdb.Error as error:
        raise _opening_error(path, error) from error


def _attach(path: Path, options: dict[str, Any], _: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=options)
    try:
        if path.exists():
            connection.execute(f"ATTACH {literal(str(path.absolute()))} AS stored (READ_ONLY)")
    except duckdb.Error as error:
        connection.close()
        raise _opening_error(path, error) from error
    return connection


def _opening_error(path: Path, error: duckdb.Error) -> StateError:
    text = _shortened(error)
    # A damaged file is one with a bad "block".
    if "set lock" in text or "Conflicting lock" in text:
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", text)
        who = f"process {holder[2]} ({holder[1]})" if holder else "another process"
        return StateLocked(
            f"{who} has {path} open",
            hint="A daemon or another command is using it: wait for its poll to end. Across containers the process id"
            " means nothing.",
        )
    if any(sign in text for sign in _FULL_SIGNS):
        return StateFull(f"no space left on the disk of {path}: {text}", hint="Free space; nothing was changed.")
    if isinstance(error, duckdb.IOException) and any(sign in text for sign in ("Permission denied", "Read-only")):
        return StateError(f"cannot open {path}: {text}", hint="Check the owner and mode of the file, and its disk.")
    return StateCorrupt(f"{path} cannot be opened as a state file: {text}", hint=DAMAGED_HINT)


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """For what a dry run does not hold in memory."""
    try:
        return tempfile.TemporaryDirectory(prefix="mde-inventory-dry-run-")
    except OSError as error:
        raise StateError(
            f"no folder for temporary files can be made: {error.strerror}",
            hint="A dry run needs one: make some room there, or name another in $TMPDIR.",
        ) from error


def _shortened(error: Exception) -> str:
    """The first paragraph of a message, on one line; what follows repeats the statement."""
    return " ".join(str(error).split("\n\n", maxsplit=1)[0].split())[:MESSAGE_CHARACTERS_MAX]


def _patiently(attempt: Callable[[], duckdb.DuckDBPyConnection], deadline: float) -> duckdb.DuckDBPyConnection:
    """Try until another process closes the file, or it is later than `deadline`."""
    while True:
        try:
            return attempt()
        except StateLocked:
            if time.monotonic() + LOCK_POLL_SECONDS > deadline:
                raise
        time.sleep(LOCK_POLL_SECONDS)
