"""The SQL that reads past changes: which ranges of the journal a selection may touch, and the changes in them.

Snapshots narrow a selection first, from their own small table; what is left is read by ranges of `sequence`, in which
the journal is written and which the engine skips by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

from connector.errors import StateError
from connector.history.filters import Selection
from connector.model import StagedSnapshot
from connector.state.encoded import Encoded, RowEncoder, encode_block, encoded_rows
from connector.state.journal import alert_columns, change_columns
from connector.state.state import StateFile

Row = TypeVar("Row")

HELD_SECONDS: Final = 1.0
"""Reading returns what it has after this long in one visit to the file, and leaves the rest to another visit."""

WINDOW_FACTOR: Final = 4
MATCHES_MAX: Final = 20
"""How many changes or alerts whose id begins with the same characters are read: people tell no more apart."""


@dataclass(frozen=True, slots=True, order=True)
class JournalCursor:
    """Just after one change of the journal; ordered by epoch, then sequence, as the changes are."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """Changes of an epoch beyond `after` up to `upto`; only those of `snapshot_numbers`, unless that is None."""

    epoch: int
    after: int
    upto: int
    snapshot_numbers: tuple[int, ...] | None

    def touches(self, snapshot: StagedSnapshot) -> bool:
        """Whether a snapshot may have changes in it."""
        first, last = snapshot.first_sequence, snapshot.last_sequence
        if first is None or last is None:
            return False
        return snapshot.epoch == self.epoch and first <= self.upto and last > self.after

    def before(self, cursor: JournalCursor | None) -> SequenceRange | None:
        """The part of it before the change that a cursor is just after; None where there is none."""
        if cursor is None or cursor > JournalCursor(self.epoch, self.upto):
            return self
        if cursor <= JournalCursor(self.epoch, self.after + 1):
            return None
        return replace(self, upto=cursor.sequence - 1)

    def beyond(self, cursor: JournalCursor | None) -> SequenceRange | None:
        """The part of it beyond a cursor; None where there is none."""
        if cursor is None or cursor <= JournalCursor(self.epoch, self.after):
            return self
        if cursor >= JournalCursor(self.epoch, self.upto):
            return None
        return replace(self, after=cursor.sequence)


@dataclass(frozen=True, slots=True)
class Scope:
    """A selection, narrowed by snapshots.

    Attributes:
        snapshots: those that may have changes that the selection asks for, by number.
        ranges: where those changes are, in order.
        beginning: the oldest snapshot whose changes the journal still has, whole or in part; None: it has none.
        retired: whether older changes than those have been deleted.
        published_snapshot: number of the last snapshot sealed in Kafka.
    """

    selection: Selection
    snapshots: dict[int, StagedSnapshot]
    ranges: tuple[SequenceRange, ...]
    beginning: StagedSnapshot | None
    retired: bool
    published_snapshot: int

    @property
    def cut(self) -> bool:
        """Whether the selection asks for changes that are older than what the journal still has."""
        if not self.retired or self.selection.snapshots:
            return False
        since, until = self.selection.since, self.selection.until
        limits = [moment for moment in (since, until) if moment is not None]
        return self.beginning is None or any(moment <= self.beginning.observed_at for moment in limits)

    def ranges_beyond(self, cursor: JournalCursor | None) -> list[SequenceRange]:
        """What is left of the ranges beyond a cursor, in order."""
        remaining = [part.beyond(cursor) for part in self.ranges]
        return [part for part in remaining if part is not None]


@dataclass(frozen=True, slots=True)
class PastChange(Generic[Encoded]):
    """A past change, encoded.

    Attributes:
        cursor: just after it.
        snapshot_id, observed_at: its snapshot, and the generation of that, in milliseconds since 1970.
        message: the change, encoded.
    """

    cursor: JournalCursor
    snapshot_id: str
    observed_at: int
    change_type: str
    event_id: str
    message: Encoded


@dataclass(frozen=True, slots=True)
class ChangeCount:
    """How many changes of a type and reason a scope has in one epoch, and where the first and last of them are."""

    change_type: str
    reason: str
    changes: int
    first: JournalCursor
    last: JournalCursor


class History:
    """Past changes and alerts of an open state file."""

    def __init__(self, state: StateFile) -> None:
        self._database = state.database
        self._journal = state.journal
        changes = change_columns(state.export)
        self._columns = ", ".join(("snapshot_no", *changes.values()))
        self._alert_columns = ", ".join(("snapshot_no", *alert_columns(state.export).values()))
        self._sequence_at = 1 + list(changes).index("sequence")

    def narrow(self, selection: Selection) -> Scope:
        """Narrow a selection by what the rows of the snapshots say.

        Raises:
            StateError: the selection names a snapshot that the journal does not have.
        """
        known = self._journal.snapshots("true ORDER BY snapshot_no")
        missing = selection.snapshots - {snapshot.snapshot_id for snapshot in known}
        if missing:
            raise StateError(
                f"the journal has no snapshot {', '.join(sorted(missing))}",
                hint="`mde-inventory status` names the last ones; older ones leave the journal after"
                " state.journal_retention_days.",
            )
        changing = [snapshot for snapshot in known if snapshot.first_sequence is not None]
        admitted = [snapshot for snapshot in changing if selection.admits(snapshot)]
        ranges = [
            _range(changing, [snapshot for snapshot in admitted if snapshot.epoch == epoch])
            for epoch in sorted({snapshot.epoch for snapshot in admitted})
        ]
        beginning, retired = self._beginning(known)
        return Scope(
            selection=selection,
            snapshots={snapshot.snapshot_no: snapshot for snapshot in admitted},
            ranges=tuple(ranges),
            beginning=beginning,
            retired=retired,
            published_snapshot=self._journal.position().published_snapshot,
        )

    def read(
        self, scope: Scope, after: JournalCursor | None, rows_max: int
    ) -> tuple[list[dict[str, Any]], JournalCursor | None]:
        """Changes beyond a cursor, in order, as `SoftwareChange` mappings: at most `rows_max`, or what the time allows.

        Returns them, and the cursor to go on after: None once there are no more. An empty list may come with a cursor.

        Raises:
            StateError: changes just beyond the cursor have been deleted meanwhile.
        """

        def select(part: SequenceRange, limit: int) -> Iterable[tuple[int, tuple[Any, ...]]]:
            rows = self._select(scope, part, f"ORDER BY sequence LIMIT {limit}")
            return ((row[self._sequence_at], row) for row in rows)

        rows, cursor = self._read(scope, after, rows_max, select)
        return list(self._as_changes(rows, scope)), cursor

    def read_encoded(
        self,
        scope: Scope,
        after: JournalCursor | None,
        rows_max: int,
        encoder: RowEncoder[Encoded],
        more: Mapping[str, Any],
    ) -> tuple[list[PastChange[Encoded]], JournalCursor | None]:
        """As `read`, encoded by the engine; `more` replaces what changes of a snapshot have in common."""

        def select(part: SequenceRange, limit: int) -> Iterable[tuple[int, PastChange[Encoded]]]:
            changes = self._select_encoded(scope, part, limit, encoder, more)
            return ((change.cursor.sequence, change) for change in changes)

        return self._read(scope, after, rows_max, select)

    def _read(
        self,
        scope: Scope,
        after: JournalCursor | None,
        rows_max: int,
        select: Callable[[SequenceRange, int], Iterable[tuple[int, Row]]],
    ) -> tuple[list[Row], JournalCursor | None]:
        """What `select` finds beyond a cursor, each with its sequence; returned as `read` does."""
        rows: list[Row] = []
        ends = time.monotonic() + HELD_SECONDS
        if after is not None:
            self._check_kept(after)
        for remaining in scope.ranges_beyond(after):
            begin, window = remaining.after, 2 * rows_max
            while begin < remaining.upto:
                part = replace(remaining, after=begin, upto=min(begin + window, remaining.upto))
                limit = rows_max - len(rows)
                matches = list(select(part, limit))
                rows += [row for _, row in matches]
                begin = matches[-1][0] if len(matches) == limit else part.upto
                if len(rows) == rows_max or time.monotonic() > ends:
                    return rows, JournalCursor(remaining.epoch, begin)
                window *= WINDOW_FACTOR
        return rows, None

    def read_newest(
        self, scope: Scope, number: int, before: JournalCursor | None = None
    ) -> tuple[list[dict[str, Any]], bool]:
        """The last `number` changes, in order; and whether there may be others before them.

        With `before`, those before the change that it is just after.
        """
        rows: list[tuple[Any, ...]] = []
        parts = [part.before(before) for part in scope.ranges]
        for whole in reversed([part for part in parts if part is not None]):
            end, window = whole.upto, 2 * number
            while end > whole.after and len(rows) < number:
                part = replace(whole, after=max(end - window, whole.after), upto=end)
                rows += self._select(scope, part, f"ORDER BY sequence DESC LIMIT {number - len(rows)}")
                end, window = part.after, window * WINDOW_FACTOR
        return list(self._as_changes(rows[::-1], scope)), len(rows) == number

    def cursor_before_newest(self, scope: Scope, number: int) -> JournalCursor | None:
        """The cursor that exactly the last `number` changes are beyond; None where there are no more than those."""
        for whole in reversed(scope.ranges):
            end, window = whole.upto, number
            while end > whole.after:
                part = replace(whole, after=max(end - window, whole.after), upto=end)
                matches = self._select(scope, part, columns="count(*)")[0][0]
                if matches > number:
                    ending = f"ORDER BY sequence DESC LIMIT 1 OFFSET {number}"
                    return JournalCursor(whole.epoch, self._select(scope, part, ending, columns="sequence")[0][0])
                number -= matches
                end, window = part.after, window * WINDOW_FACTOR
        return None

    def count(self, scope: Scope, after: JournalCursor | None = None) -> list[ChangeCount]:
        """How many changes there are beyond a cursor, by epoch, type and reason."""
        return [
            ChangeCount(change_type, reason, changes, JournalCursor(part.epoch, first), JournalCursor(part.epoch, last))
            for part in scope.ranges_beyond(after)
            for change_type, reason, changes, first, last in self._select(
                scope,
                part,
                "GROUP BY change_type, reason ORDER BY change_type, reason",
                columns="change_type, reason, count(*), min(sequence), max(sequence)",
            )
        ]

    def find_changes(self, beginning: str) -> list[tuple[StagedSnapshot, dict[str, Any]]]:
        """The changes whose `eventId` begins with a text, with their snapshots, oldest first; `MATCHES_MAX` at most."""
        # Only their cursors at first: a search by id looks at every change, and that needs one column of them.
        cursors = self._database.rows(
            """
            SELECT epoch, sequence
            FROM changes
            WHERE starts_with(event_id, $1)
            LIMIT $2
            """,
            [beginning, MATCHES_MAX],
        )
        changes = []
        for cursor in sorted(cursors):
            (row,) = self._database.rows(
                f"""
                SELECT {self._columns}
                FROM changes
                WHERE epoch = $1
                  AND sequence = $2
                """,
                cursor,
            )
            snapshot = self._journal.numbered_snapshot(row[0])
            if snapshot is not None:
                changes += [(snapshot, change) for change in self._journal.as_changes([row[1:]], snapshot)]
        return changes

    def find_alerts(self, beginning: str) -> list[tuple[StagedSnapshot, dict[str, Any]]]:
        """The alerts whose `alertId` begins with a text, with their snapshots, oldest first; `MATCHES_MAX` at most."""
        return self._alerts("starts_with(alert_id, $1)", [beginning])

    def alerts_of(self, snapshot: StagedSnapshot, event_id: str) -> list[dict[str, Any]]:
        """The alerts that a change raised."""
        matches = self._alerts("event_id = $1 AND snapshot_no = $2", [event_id, snapshot.snapshot_no])
        return [alert for _, alert in matches]

    def previous_snapshot(self, snapshot: StagedSnapshot) -> StagedSnapshot | None:
        """The snapshot that another was compared with; None for a first one, or where its row has been retired."""
        condition = "snapshot_id = $1 AND snapshot_no < $2 ORDER BY snapshot_no DESC LIMIT 1"
        earlier = self._journal.snapshots(condition, [snapshot.previous_snapshot_id, snapshot.snapshot_no])
        return earlier[0] if earlier else None

    def confirmed_at(self, snapshot: StagedSnapshot) -> int | None:
        """When Kafka confirmed a snapshot to its seal, milliseconds since 1970; None where that is not noted."""
        return self._journal.confirmed_at(snapshot.snapshot_no)

    def _select(
        self, scope: Scope, part: SequenceRange, ending: str = "", *, columns: str = "", **parameters: object
    ) -> list[tuple[Any, ...]]:
        """The selected changes in a part of a range, or some `columns` of them; `ending` groups, orders or limits."""
        condition, bound = _condition(scope, part)
        return self._database.rows(
            f"""
            SELECT {columns or self._columns}
            FROM changes
            WHERE {condition}
            {ending}
            """,
            parameters | bound,
        )

    def _select_encoded(
        self,
        scope: Scope,
        part: SequenceRange,
        limit: int,
        encoder: RowEncoder[Encoded],
        more: Mapping[str, Any],
    ) -> Iterator[PastChange[Encoded]]:
        """The first selected changes in a part of a range, encoded."""
        snapshots = {number: snapshot for number, snapshot in scope.snapshots.items() if part.touches(snapshot)}
        begun = {
            number: encoder.begin({**self._journal.common_of_changes(snapshot), **more})
            for number, snapshot in snapshots.items()
        }
        # First which ones: a limit on whole rows would be a sort of all of them.
        last = self._select(scope, part, f"ORDER BY sequence LIMIT 1 OFFSET {limit - 1}", columns="sequence")
        condition, parameters = _condition(scope, replace(part, upto=last[0][0]) if last else part)
        ctes, constants = encoded_rows("changes", encoder, begun, condition)
        statement = f"""
            WITH {ctes}
            SELECT sequence, {encoder.fields}, snapshot_no, change_type, event_id
            FROM encoded
            ORDER BY sequence
        """
        rows = self._database.rows(statement, parameters | constants) if begun else []

        def read_others(sequences: list[int]) -> Iterator[Encoded]:
            others = self._select(
                scope, part, "AND sequence IN (SELECT unnest($sequences)) ORDER BY sequence", sequences=sequences
            )
            numbers = [row[0] for row in others]
            changes = self._as_changes(others, scope)
            return (begun[number].encode(change) for number, change in zip(numbers, changes, strict=True))

        encoded = encode_block(rows, lambda row: begun[row[-3]].encode_row(row[:-3]), read_others)
        for row, message in zip(rows, encoded, strict=True):
            number, change_type, event_id = row[-3:]
            cursor, snapshot = JournalCursor(part.epoch, row[0]), scope.snapshots[number]
            yield PastChange(cursor, snapshot.snapshot_id, snapshot.generated_at, change_type, event_id, message)

    def _as_changes(self, rows: Sequence[tuple[Any, ...]], scope: Scope) -> Iterator[dict[str, Any]]:
        for number, group in groupby(rows, key=itemgetter(0)):
            yield from self._journal.as_changes((row[1:] for row in group), scope.snapshots[number])

    def _alerts(self, condition: str, parameters: Sequence[object]) -> list[tuple[StagedSnapshot, dict[str, Any]]]:
        rows = self._database.rows(
            f"""
            SELECT {self._alert_columns}
            FROM alerts
            WHERE {condition}
            ORDER BY snapshot_no, alert_no
            LIMIT {MATCHES_MAX}
            """,
            parameters,
        )
        alerts = []
        for row in rows:
            snapshot = self._journal.numbered_snapshot(row[0])
            if snapshot is not None:
                alerts += [(snapshot, alert) for alert in self._journal.as_alerts([row[1:]], snapshot)]
        return alerts

    def _beginning(self, known: Sequence[StagedSnapshot]) -> tuple[StagedSnapshot | None, bool]:
        """Where the journal begins, and whether something was before it."""
        first = self._database.rows("SELECT min(snapshot_no) FROM changes")[0][0]
        beginning = next((snapshot for snapshot in known if snapshot.snapshot_no == first), None)
        if beginning is None:
            return None, any(snapshot.counts.changes for snapshot in known) or bool(known and known[0].snapshot_no > 1)
        oldest = self._database.number("SELECT min(sequence) FROM changes WHERE snapshot_no = $1", [first])
        return beginning, oldest > 1 or known[0].snapshot_no > 1

    def _check_kept(self, cursor: JournalCursor) -> None:
        """Raise `StateError` where the change after the cursor was deleted.

        Sequences have no gaps, and the oldest go first: where the next change is missing and later ones are not, it
        was deleted. Where an epoch's last changes were deleted and the next epoch is whole, that cannot be seen.
        """
        following = self._database.rows(
            """
            SELECT epoch, sequence
            FROM changes
            WHERE epoch = $1
              AND sequence = $2 + 1
            LIMIT 1
            """,
            [cursor.epoch, cursor.sequence],
        )
        if following:
            return
        later = self._database.rows(
            """
            SELECT epoch, sequence
            FROM changes
            WHERE epoch > $1
               OR (epoch = $1 AND sequence > $2)
            ORDER BY epoch, sequence
            LIMIT 1
            """,
            [cursor.epoch, cursor.sequence],
        )
        if later and (later[0][0] == cursor.epoch or later[0][1] != 1):
            raise StateError(
                f"changes beyond sequence {cursor.sequence} of epoch {cursor.epoch} have left the journal before they"
                " were read",
                hint="They grew older than state.journal_retention_days. Use a later --since to get what is still"
                " there.",
            )


def _condition(scope: Scope, part: SequenceRange) -> tuple[str, dict[str, object]]:
    """What the selected changes in a part of a range meet, and its parameters."""
    condition, parameters = scope.selection.condition()
    of_snapshots = "true"
    if part.snapshot_numbers is not None:
        of_snapshots = "snapshot_no IN (SELECT unnest($numbers))"
        parameters |= {"numbers": list(part.snapshot_numbers)}
    whole = f"""epoch = $epoch
              AND sequence > $after
              AND sequence <= $upto
              AND {of_snapshots}
              AND {condition}"""
    return whole, parameters | {"epoch": part.epoch, "after": part.after, "upto": part.upto}


def _range(changing: Sequence[StagedSnapshot], admitted: Sequence[StagedSnapshot]) -> SequenceRange:
    """From the first to the last of an epoch's admitted snapshots, naming them where others lie between them."""
    first, last = admitted[0], admitted[-1]
    between = [snapshot for snapshot in changing if first.snapshot_no <= snapshot.snapshot_no <= last.snapshot_no]
    numbers = None if len(between) == len(admitted) else tuple(snapshot.snapshot_no for snapshot in admitted)
    return SequenceRange(first.epoch, (first.first_sequence or 1) - 1, last.sequence_after, numbers)
