"""Restores a state file: from what Kafka has, messages in, the last of each key out; or from an exported state.

The draft gets the file's name only once it is whole; a draft that a killed process left is thrown away. Reading the
topics, and judging whether they have everything, is `rebuild`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from connector.clock import moment_of
from connector.diff.keys import number_keys
from connector.diff.scan import stored_digest
from connector.diff.tables import Workspace
from connector.errors import StateCorrupt, StateError
from connector.exports.fields import COLUMN_TYPES, Export
from connector.model import Checkpoint, Inventory, StagedSnapshot
from connector.staging import audit, first_seen, rows, stage
from connector.staging.alerts import calendar
from connector.staging.inventory_topic import WHOLE, BackfillCursor, Mirror
from connector.staging.stage import StagingRules
from connector.state import file, meta, portable
from connector.state.engine import Engine
from connector.state.portable import Manifest
from connector.state.schema import migrate
from connector.state.sql import unnested
from connector.state.state import StateFile

AWAY_HINT: Final = "Move it away, with the files beside it, and run this again; keep it until a poll succeeds."


class Event(NamedTuple):
    """What one message says of one key.

    Attributes:
        identity: the key as text: what the last message is looked for by.
        partition: where the order of the messages holds; 0 where it holds over all.
        sequence: the order.
        inventory: CPE or NON_CPE.
        cut: whether a part of the key was shortened for the broker.
        record: with the names of `SoftwareRecord`; None: the key is gone.
    """

    identity: str
    partition: int
    sequence: int
    inventory: str
    cut: bool
    record: Mapping[str, Any] | None


@contextmanager
def drafted(path: Path, options: Mapping[str, Any], export: Export) -> Iterator[Restoration]:
    """A draft of a state file that knows nothing yet; it becomes the file if the block ends well.

    Raises:
        StateError: there is a file already, or another process made one meanwhile.
    """
    with empty_draft(path, options) as database:
        migrate(database, file.rebuilt_path(path), fresh=False)
        yield Restoration(database, export)


@contextmanager
def imported(
    path: Path, options: Mapping[str, Any], export: Export, folder: Path, manifest: Manifest
) -> Iterator[StateFile]:
    """A draft of a state file that is an exported state; it becomes the file if the block ends well.

    Raises:
        StateError: there is a file already, another process made one meanwhile, or the state does not add up.
    """
    with empty_draft(path, options) as database:
        portable.load(database, path, folder, manifest)
        if problems := audit.problems(database, export):
            raise StateError(f"{folder} does not add up: {'; '.join(problems)}", hint=portable.DAMAGED_HINT)
        yield StateFile(database, path, export=export)


@contextmanager
def empty_draft(path: Path, options: Mapping[str, Any]) -> Iterator[Engine]:
    """A database without tables; it becomes the state file if the block ends well.

    Raises:
        StateError: there is a file already, or another process made one meanwhile.
    """
    check_absent(path)
    draft = file.rebuilt_path(path)
    with suppress(StateCorrupt):
        # What a killed process left; what another one works at is locked, and raised.
        Engine.open(draft, **options).close()
    file.remove(draft)
    database = Engine.open(draft, **options)
    try:
        try:
            yield database
            database.checkpoint()
        finally:
            database.close()
        if not file.put_in_place(draft, path):
            raise StateError(f"{path} was made by another process meanwhile", hint=AWAY_HINT)
    finally:
        file.remove(draft)


def check_absent(path: Path) -> None:
    """Raises StateError where there is a state file, or the log of one."""
    file.check_place(path)
    for name in (path, *file.log_paths(path)):
        if name.exists():
            raise StateError(f"{name} exists: only a file that is lost is rebuilt or imported", hint=AWAY_HINT)


class Restoration:
    """An open draft that is filled: `add` what there is, look at it, and `write` it."""

    def __init__(self, database: Engine, export: Export) -> None:
        self._engine = database
        self._export = export
        self._added = 0
        self._pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter(
            *(field.name for field in export.fields)
        )
        self._nothing = (None,) * len(export.fields)
        columns = ", ".join(f"{field.column} {COLUMN_TYPES[field.kind]}" for field in export.fields)
        database.rows(
            f"""
            CREATE TEMP TABLE events (
                number BIGINT, identity VARCHAR, partition INTEGER, sequence BIGINT, inventory VARCHAR, cut BOOLEAN,
                valued BOOLEAN, {columns}
            )
            """
        )

    def add(self, events: Sequence[Event]) -> None:
        """Take some events in."""
        *facts, records = zip(*events, strict=True)
        columns = [
            list(range(self._added, self._added + len(events))),
            *map(list, facts),
            [record is not None for record in records],
            *map(list, zip(*map(self._values, records), strict=True)),
        ]
        types = ("BIGINT", "VARCHAR", "INTEGER", "BIGINT", "VARCHAR", "BOOLEAN", "BOOLEAN")
        kinds = [*types, *(COLUMN_TYPES[field.kind] for field in self._export.fields)]
        self._engine.rows(f"INSERT INTO events SELECT {unnested(kinds)}", columns)
        self._added += len(events)

    def _values(self, record: Mapping[str, Any] | None) -> tuple[Any, ...]:
        """The values of a record in the order of the fields; NULL for what it does not have."""
        if record is None:
            return self._nothing
        try:
            return self._pick(record)
        except KeyError:
            # An earlier version did not know a field.
            return tuple(record.get(field.name) for field in self._export.fields)

    def sequences(self) -> tuple[int, int, int]:
        """How many different sequences there are, the first and the last."""
        count, first, last = self._engine.rows(
            """
            SELECT count(DISTINCT sequence), coalesce(min(sequence), 0), coalesce(max(sequence), 0)
            FROM events
            """
        )[0]
        return count, first, last

    def settle(self) -> None:
        """Keep the last event of each key, where it has a record."""
        columns = ", ".join(
            f"coalesce({field.column}, '') AS {field.column}" if field.key else field.column
            for field in self._export.fields
        )
        self._engine.rows(
            f"""
            CREATE OR REPLACE TEMP TABLE restored AS
            WITH newest AS (
                SELECT arg_max(number, sequence) AS number
                FROM events
                GROUP BY identity, partition
            )
            SELECT inventory, cut, {columns}
            FROM events
            SEMI JOIN newest USING (number)
            WHERE valued
            """
        )
        self._engine.rows("DROP TABLE events")

    def cut(self) -> int:
        """Records whose key is not whole."""
        return self._engine.number("SELECT count(*) FROM restored WHERE cut")

    def counts(self) -> dict[str, int]:
        """Records of each inventory."""
        return dict(self._engine.rows("SELECT inventory, count(*) FROM restored GROUP BY inventory"))

    def write(
        self,
        rules: StagingRules,
        checkpoint: Checkpoint,
        snapshots: Sequence[StagedSnapshot],
        crossings: Mapping[str, str],
        looked: Mapping[Inventory, int],
    ) -> None:
        """Make the draft a state file that has published all it knows.

        Args:
            rules: what is tracked.
            checkpoint: Kafka's last one: the position.
            snapshots: the last sealed one of each inventory, as they were staged.
            crossings: what was raised for dates, each with the day until which it is remembered.
            looked: when the dates of each inventory were last checked, in milliseconds since 1970.

        Raises:
            StateError: the file does not add up.
        """
        database = self._engine
        tracked = self._export.tracked(rules.ignore_fields)
        with database.transaction():
            meta.remember(database, "tenant_id", rules.tenant_id)
            stage.refresh_digests(database, tracked)
            self._write_inventory(stored_digest(tracked))
            for row in snapshots:
                rows.insert_snapshot(database, row)
                stage.note_tracked(database, row.inventory, tracked)
                workspace = Workspace(database, self._export, row.inventory)
                first_seen.note(workspace, replace(row, baseline=True), "inventory", is_new=False)
                audit.count(workspace)
                day = moment_of(looked[row.inventory]).date()
                calendar.note_day(database, row.inventory, day)
            database.rows(
                "INSERT INTO crossings SELECT unnest($1::VARCHAR[]), unnest($2::VARCHAR[])",
                [list(crossings), list(crossings.values())],
            )
            self._write_position(checkpoint, min(row.snapshot_no for row in snapshots) - 1)
            if checkpoint.inventory_whole:
                Mirror(database, self._export).note(BackfillCursor(checkpoint.epoch, WHOLE))
        if problems := audit.problems(database, self._export):
            raise StateError(
                f"what Kafka has does not add up: {'; '.join(problems)}",
                hint="Nothing was written. Begin a new epoch with `mde-inventory state rebaseline`.",
            )

    def _write_inventory(self, digest: str) -> None:
        export = self._export
        number_keys(self._engine, export, f"SELECT {export.key_columns} FROM restored")
        self._engine.rows(
            f"""
            INSERT INTO inventory (inventory, device_no, software_no, digest, {export.attribute_columns})
            SELECT inventory, device_no, software_no, {digest}, {export.attribute_columns}
            FROM restored
            JOIN devices USING (device_id)
            JOIN software USING ({export.subject_columns})
            ORDER BY inventory, device_no, software_no
            """
        )

    def _write_position(self, checkpoint: Checkpoint, epoch_snapshot: int) -> None:
        self._engine.rows(
            """
            UPDATE position
            SET epoch = $1,
                last_sequence = $2,
                published_sequence = $2,
                last_alert = $3,
                published_alert = $3,
                last_snapshot = $4,
                published_snapshot = $4,
                epoch_snapshot = $5,
                published_at = $6
            """,
            [
                checkpoint.epoch,
                checkpoint.sequence,
                checkpoint.alert_sequence,
                checkpoint.sealed,
                epoch_snapshot,
                checkpoint.written_at,
            ],
        )
