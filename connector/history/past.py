"""The inventory as it stood at any generation that the journal still covers: the stored one, with later changes undone.

What is folded back is what was published, so an inventory of the past has what the guard held, and lacks what it kept
out. A field that was ignored when it changed (`diff.ignore_fields`) has its newest value: no change says otherwise.
Nothing before the first snapshot of an epoch can be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from connector.errors import StateError
from connector.exports.fields import Export, Field, columns_of
from connector.history.filters import Selection
from connector.model import ChangeType, Inventory, StagedSnapshot
from connector.staging import support
from connector.state.sql import literal, stored_records
from connector.state.state import StateFile

BLOCK_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is known of an inventory's past: its snapshots from the oldest that changes can be folded back to, in order.

    Attributes:
        is_whole: whether the oldest is the first of the epoch: older ones have not left the journal.
    """

    inventory: Inventory
    snapshots: tuple[StagedSnapshot, ...]
    is_whole: bool

    @property
    def oldest(self) -> StagedSnapshot:
        """The beginning of what is known."""
        return self.snapshots[0]

    def at(self, moment: datetime) -> StagedSnapshot | None:
        """The newest snapshot at a time; None where that is older than what is known."""
        return next((snapshot for snapshot in reversed(self.snapshots) if snapshot.observed_at <= moment), None)


class Past:
    """The past of an open state file."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._database = state.database
        self.export = state.export

    def coverage(self, inventory: Inventory | None = None) -> list[Coverage]:
        """What is known of one inventory or of both; an inventory without a snapshot in this epoch is left out."""
        position = self._state.journal.position()
        kept_from = self._kept_from(position.epoch, position.last_sequence)
        known = self._state.journal.snapshots("epoch = $1 ORDER BY snapshot_no", [position.epoch])
        coverages = []
        for which in [inventory] if inventory else list(Inventory):
            snapshots = [snapshot for snapshot in known if snapshot.inventory is which]
            covered = tuple(snapshot for snapshot in snapshots if snapshot.sequence_after >= kept_from)
            if covered:
                coverages.append(Coverage(which, covered, is_whole=covered[0].baseline))
        return coverages

    def at(self, moment: datetime, inventory: Inventory | None = None) -> list[StagedSnapshot]:
        """The snapshot of each inventory that was the newest at a time.

        Raises:
            StateError: nothing is known of any inventory at that time.
        """
        coverages = self.coverage(inventory)
        found = [snapshot for coverage in coverages if (snapshot := coverage.at(moment)) is not None]
        if not found:
            raise _unknown(coverages, moment)
        return found

    def records(self, snapshot: StagedSnapshot, selection: Selection) -> Iterator[list[dict[str, Any]]]:
        """Blocks of an inventory as a snapshot left it, in the order of the keys, as mappings by field name.

        Each has `inventory` and `isEndOfSupport` beside its fields: what it said of its support on that day.
        """
        names = ("inventory", *(field.name for field in self.export.fields), "isEndOfSupport")
        condition, parameters = selection.condition()
        statement = f"""
            WITH {records_at(self.export, snapshot)}
            SELECT {literal(snapshot.inventory)}, {self.export.columns}, is_end_of_support
            FROM past
            WHERE {condition}
            ORDER BY {self.export.key_columns}
        """
        for rows in self._database.blocks(statement, parameters, BLOCK_ROWS):
            yield [dict(zip(names, row, strict=True)) for row in rows]

    def _kept_from(self, epoch: int, last_sequence: int) -> int:
        """The sequence beyond which the journal has every change of an epoch."""
        kept = self._database.rows(
            """
            SELECT count(*), min(sequence), max(sequence)
            FROM changes
            WHERE epoch = $1
            GROUP BY snapshot_no
            ORDER BY max(sequence) DESC
            """,
            [epoch],
        )
        begin = last_sequence
        for changes, first, last in kept:
            if last != begin or changes != last - first + 1:
                break
            begin = first - 1
        return begin


def records_at(export: Export, snapshot: StagedSnapshot) -> str:
    """CTEs that end with `past`: the records of an inventory as a snapshot left it, with `is_end_of_support`."""
    keys = columns_of(export.keys)
    before = ", ".join(
        f"{_member('before', field)} AS {field.column}" for field in export.fields if field not in export.keys
    )
    return f"""
        later AS (
            SELECT c.*
            FROM changes c
            WHERE {later_than(snapshot)}
        ),
        states AS ({_states_before(export)}),
        first_states AS (
            SELECT {keys}, min(sequence) AS sequence
            FROM states
            GROUP BY ALL
        ),
        unfolded AS (
            SELECT {columns_of(export.fields)}
            FROM {stored_records(export, snapshot.inventory)}
            ANTI JOIN first_states USING ({keys})
            UNION ALL BY NAME
            SELECT {keys}, {before}
            FROM states
            SEMI JOIN first_states USING ({keys}, sequence)
            WHERE before IS NOT NULL
        ),
        heard AS (
            SELECT *,
                   {support.folded("end_of_support_status")} AS status,
                   {support.readable("end_of_support_date")} AS ends
            FROM unfolded
        ),
        past AS (
            SELECT * EXCLUDE (status, ends),
                   {said_to_have_ended(snapshot.observed_at.date())} AS is_end_of_support
            FROM heard
        )
    """


def said_to_have_ended(day: date) -> str:
    """An expression over `status` and `ends`: whether a record says on a day that it is out of support."""
    return f"coalesce({support.says('status', 'ends', day)} IN {support.ENDED}, false)"


def record_of(export: Export) -> str:
    """An expression over `changes`: the record of a change as a struct, as `before` has the one before it."""
    return "{" + ", ".join(f'"{field.name}": {field.column}' for field in export.fields) + "}"


def has_other_version(export: Export) -> str:
    """A condition over `changes`: its record went from one version to another, and so from one key to another."""
    version = export.version
    if version is None:
        return "false"
    is_other = f"{_member('before', export.field(version))} <> {export.column(version)}"
    return f"change_type = {literal(ChangeType.CHANGED)} AND {is_other}"


def before_key(export: Export) -> str:
    """A SELECT list over `changes`: the key that the record of a change had before it."""
    return ", ".join(
        f"{_member('before', field)} AS {field.column}" if field.name == export.version else field.column
        for field in export.keys
    )


def later_than(snapshot: StagedSnapshot) -> str:
    """A condition over `changes`: one of the same inventory, beyond a snapshot."""
    of_inventory = f"SELECT snapshot_no FROM snapshots WHERE inventory = {literal(snapshot.inventory)}"
    return f"""c.epoch = {snapshot.epoch}
              AND c.sequence > {snapshot.sequence_after}
              AND c.snapshot_no IN ({of_inventory})"""


def _states_before(export: Export) -> str:
    """A SELECT: the record that each of the `later` changes says a key had `before` it; NULL where there was none."""
    keys = columns_of(export.keys)
    return f"""
            SELECT sequence,
                   {keys},
                   CASE WHEN change_type = {literal(ChangeType.REMOVED)} THEN {record_of(export)}
                        WHEN NOT ({has_other_version(export)}) THEN before END AS before
            FROM later
            UNION ALL
            SELECT sequence, {before_key(export)}, before
            FROM later
            WHERE {has_other_version(export)}
    """


def _member(struct: str, field: Field) -> str:
    return f'{struct}."{field.name}"'


def _unknown(coverages: list[Coverage], moment: datetime) -> StateError:
    if not coverages:
        return StateError("there is no snapshot yet", hint="Run `mde-inventory poll` once.")
    oldest = min(coverages, key=lambda coverage: coverage.oldest.observed_at)
    why = (
        "it is the first snapshot of this epoch"
        if oldest.is_whole
        else "older changes have left the journal (state.journal_retention_days)"
    )
    return StateError(
        f"the inventory at {moment:%Y-%m-%d %H:%M} is not known: what is known begins with {oldest.oldest.snapshot_id}",
        hint=f"Ask for {oldest.oldest.observed_at:%Y-%m-%dT%H:%M:%SZ} or later; {why}.",
    )
