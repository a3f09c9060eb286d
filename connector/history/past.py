"""The inventory as it stood at any generation that the journal still covers: the stored one, with later changes undone.

What is folded back is what was published, so an inventory of the past has what the guard held, and lacks what it kept
out. A field that was ignored when it changed (`diff.ignore_fields`) has its newest value: no change says otherwise.
Nothing before the first snapshot of an epoch can be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, Final

from connector.errors import StateError
from connector.exports.fields import Export, Field, columns_of
from connector.history.filters import Selection
from connector.model import ChangeType, Inventory, StagedSnapshot
from connector.staging import support
from connector.state.lists.paging import TEXT, Listed, Order, Place
from connector.state.sql import literal, stored_records
from connector.state.state import StateFile

BLOCK_ROWS: Final = 10_000
WINDOW_DEVICES: Final = 16
WINDOW_FACTOR: Final = 4
"""Devices that a page looks at first, and how many times as many then."""
WITHIN: Final = "device_id BETWEEN $first_device AND $last_device"


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

    def at(self, moment: datetime, upto: int | None = None) -> StagedSnapshot | None:
        """The newest snapshot at a time; None where that is older than what is known. Later numbers than `upto` not."""
        for snapshot in reversed(self.snapshots):
            if snapshot.observed_at <= moment and (upto is None or snapshot.snapshot_no <= upto):
                return snapshot
        return None


class Past:
    """The past of an open state file."""

    def __init__(self, state: StateFile) -> None:
        self._state = state
        self._database = state.database
        self._export = state.export

    @cached_property
    def coverages(self) -> list[Coverage]:
        """What is known of each inventory; one without a snapshot in this epoch is left out."""
        position = self._state.journal.position()
        kept_from = self._kept_from(position.epoch, position.last_sequence)
        known = self._state.journal.snapshots("epoch = $1 ORDER BY snapshot_no", [position.epoch])
        coverages = []
        for inventory in Inventory:
            snapshots = [snapshot for snapshot in known if snapshot.inventory is inventory]
            covered = tuple(snapshot for snapshot in snapshots if snapshot.sequence_after >= kept_from)
            if covered:
                coverages.append(Coverage(inventory, covered, is_whole=covered[0].baseline))
        return coverages

    def of(self, selection: Selection) -> list[Coverage]:
        """What is known of the inventories that a selection asks for."""
        return [coverage for coverage in self.coverages if selection.inventory in (None, coverage.inventory)]

    def at(self, moment: datetime, selection: Selection | None = None) -> list[StagedSnapshot]:
        """The snapshot of each inventory that was the newest at a time, of those that a selection asks for.

        Of the selection, `inventory` and `upto_snapshot` count.

        Raises:
            StateError: nothing is known of any of them at that time.
        """
        wanted = selection or Selection()
        coverages = self.of(wanted)
        found = [
            snapshot for coverage in coverages if (snapshot := coverage.at(moment, wanted.upto_snapshot)) is not None
        ]
        if not found:
            raise _unknown(coverages, moment)
        return found

    def records(self, snapshot: StagedSnapshot, selection: Selection) -> Iterator[list[dict[str, Any]]]:
        """Blocks of an inventory as a snapshot left it, in the order of the keys, as mappings by field name.

        Each has `inventory` and `isEndOfSupport` beside its fields: what it said of its support on that day. Of the
        selection, the filters by device, group, product and end of support count.
        """
        statement, parameters = self._statement(snapshot, selection)
        for rows in self._database.blocks(statement, parameters, BLOCK_ROWS):
            yield [dict(zip(self._names, row, strict=True)) for row in rows]

    def page(self, snapshot: StagedSnapshot, selection: Selection, rows_max: int, after: Place | None = None) -> Listed:
        """A page of `records`, beyond a place in `order_of_keys`.

        Devices are read some at a time, in the order of their ids, until there are records enough: a page of a large
        inventory needs few devices, and one that is hard to fill takes little longer than reading all of them.
        """
        order = order_of_keys(self._export)
        beyond, place = order.beyond(after)
        rows: list[tuple[Any, ...]] = []
        first, number = str(after[0] or "") if after else "", WINDOW_DEVICES
        while len(rows) <= rows_max:
            devices = self._devices(snapshot, first, number)
            if not devices:
                break
            window = {"first_device": first, "last_device": devices[:number][-1]}
            statement, parameters = self._statement(snapshot, selection, within=WITHIN, beyond=beyond)
            limit = rows_max + 1 - len(rows)
            rows += self._database.rows(f"{statement} LIMIT {limit}", parameters | place | window)
            if len(devices) <= number:
                break
            first, number = devices[number], number * WINDOW_FACTOR
        end = [self._names.index(field.name) for field in self._export.keys]
        return order.listed(self._names, [(*(row[at] for at in end), *row) for row in rows], rows_max)

    @property
    def _names(self) -> tuple[str, ...]:
        return ("inventory", *(field.name for field in self._export.fields), "isEndOfSupport")

    def _statement(
        self, snapshot: StagedSnapshot, selection: Selection, *, within: str = "true", beyond: str = "true"
    ) -> tuple[str, dict[str, object]]:
        """A SELECT of the records of a snapshot in the order of their keys, and its parameters."""
        condition, parameters = selection.record_condition()
        statement = f"""
            WITH {records_at(self._export, snapshot, within)},
            past AS ({with_support("folded_back", snapshot.observed_at.date())})
            SELECT {literal(snapshot.inventory)}, {self._export.columns}, is_end_of_support
            FROM past
            WHERE {condition} AND {beyond} AND {"is_end_of_support" if selection.end_of_support else "true"}
            ORDER BY {self._export.key_columns}
        """
        return statement, parameters

    def _devices(self, snapshot: StagedSnapshot, first: str, number: int) -> list[str]:
        """The ids of the first devices from one on, now and at a snapshot; and the one after them, if there is one."""
        rows = self._database.rows(
            f"""
            SELECT device_id
            FROM devices
            WHERE device_id >= $first
            UNION
            SELECT device_id
            FROM changes
            WHERE {is_between(snapshot)} AND device_id >= $first
            ORDER BY device_id
            LIMIT {number + 1}
            """,
            {"first": first},
        )
        return [device_id for (device_id,) in rows]

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


def order_of_keys(export: Export) -> Order:
    """The order of records by their keys."""
    return Order(tuple((field.column, TEXT) for field in export.keys))


def records_at(export: Export, snapshot: StagedSnapshot, within: str = "true") -> str:
    """CTEs that end with `folded_back`: the records of an inventory as a snapshot left it, `within` a range of devices.

    Before it come `states`, as `states_of` has them of all later changes, and `first_states`: the key of each record
    that changed later, with the sequence of the first of its changes.
    """
    keys = columns_of(export.keys)
    return f"""
        later AS (
            FROM changes
            WHERE {is_between(snapshot)} AND {within}
        ),
        states AS ({states_of(export, "later")}),
        first_states AS (
            SELECT {keys}, min(sequence) AS sequence
            FROM states
            GROUP BY ALL
        ),
        folded_back AS (
            SELECT {export.columns}
            FROM {stored_records(export, snapshot.inventory)}
            ANTI JOIN first_states USING ({keys})
            WHERE {within}
            UNION ALL BY NAME
            SELECT {unpacked(export, "before")}
            FROM states
            SEMI JOIN first_states USING ({keys}, sequence)
            WHERE before IS NOT NULL
        )
    """


def is_between(earlier: StagedSnapshot, later: StagedSnapshot | None = None) -> str:
    """A condition over `changes`: one of the same inventory, beyond a snapshot and up to a later one, or the last."""
    upto = f" AND sequence <= {later.sequence_after}" if later else ""
    return f"""epoch = {earlier.epoch}
              AND sequence > {earlier.sequence_after}{upto}
              AND snapshot_no IN (SELECT snapshot_no FROM snapshots WHERE inventory = {literal(earlier.inventory)})"""


def states_of(export: Export, changes: str) -> str:
    """A SELECT: what each of some changes says of a key: the record `before` and `after` it; NULL where there is none.

    A change of version is about two keys, and has a row for each. Beside keys and records stand `sequence`,
    `snapshot_no` and `reason`.
    """
    keys, version = columns_of(export.keys), export.version
    record = "{" + ", ".join(f'"{field.name}": {field.column}' for field in export.fields) + "}"
    before_keys = ", ".join(
        f"{member('before', field)} AS {field.column}" if field.name == version else field.column
        for field in export.keys
    )
    removed = f"change_type = {literal(ChangeType.REMOVED)}"
    moved = "false"
    if version is not None:
        is_other = f"{member('before', export.field(version))} <> {export.column(version)}"
        moved = f"change_type = {literal(ChangeType.CHANGED)} AND {is_other}"
    return f"""
            SELECT sequence,
                   snapshot_no,
                   reason,
                   {keys},
                   CASE WHEN {removed} THEN {record} WHEN NOT ({moved}) THEN before END AS before,
                   CASE WHEN NOT ({removed}) THEN {record} END AS after
            FROM {changes}
            UNION ALL
            SELECT sequence, snapshot_no, reason, {before_keys}, before, NULL
            FROM {changes}
            WHERE {moved}
    """


def unpacked(export: Export, record: str) -> str:
    """A SELECT list over `states`: the columns of a record. Its keys are columns already: filters on them are quick."""
    return ", ".join(
        field.column if field.key else f"{member(record, field)} AS {field.column}" for field in export.fields
    )


def member(record: str, field: Field) -> str:
    """An expression: a field of a record in one piece."""
    return f'({record})."{field.name}"'


def with_support(records: str, day: date) -> str:
    """A SELECT: records with `is_end_of_support`: whether they say on a day that they are out of support."""
    return f"""
            SELECT * EXCLUDE (status, ends),
                   coalesce({support.says("status", "ends", day)} IN {support.ENDED}, false) AS is_end_of_support
            FROM (
                SELECT *,
                       {support.folded("end_of_support_status")} AS status,
                       {support.readable("end_of_support_date")} AS ends
                FROM {records}
            )
    """


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
