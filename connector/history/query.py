"""The SQL that reads past changes: which stretches of the journal a selection may touch, and what it finds in them.

Snapshots narrow a selection first, from their own small table; what is left is read by ranges of `sequence`, in which
the journal is written and which the engine skips by. Owns those statements; must not change anything, nor decide how
long the state file is held: that is `past`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from connector.errors import StateError
from connector.exports.software import SOFTWARE
from connector.history.filters import Selection
from connector.model import StagedSnapshot
from connector.state.journal import alert_columns, change_columns
from connector.state.sql import Database
from connector.state.state import StateFile

HELD_SECONDS: Final = 1.0
"""After so long in one visit to the file, what was found is returned, and the rest is another visit's."""

WINDOW_FACTOR: Final = 4
FOUND_MAX: Final = 20
"""Changes of one beginning of an id that are looked at; more are not told apart by people."""

_CHANGE_COLUMNS: Final = change_columns(SOFTWARE)
_COLUMNS: Final = ", ".join(("snapshot_no", *_CHANGE_COLUMNS.values()))


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the journal, whose order is that of epoch and sequence: after that change."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Changes of an epoch beyond `after` up to `upto`; of these snapshots only, where `numbers` is not None."""

    epoch: int
    after: int
    upto: int
    numbers: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Scope:
    """A selection, narrowed by snapshots.

    Attributes:
        snapshots: those that may have changes that are meant, by number.
        stretches: where they are, in order.
        beginning: the oldest snapshot whose changes the journal still has, whole or in part; None: it has none.
        retired: whether changes older than those were let go of.
        published_snapshot: number of the last snapshot sealed in Kafka.
    """

    selection: Selection
    tenant_id: str | None
    snapshots: dict[int, StagedSnapshot]
    stretches: tuple[Stretch, ...]
    beginning: StagedSnapshot | None
    retired: bool
    published_snapshot: int

    @property
    def cut(self) -> bool:
        """Whether changes are asked for that are older than what the journal still has."""
        if not self.retired or self.selection.snapshots:
            return False
        since, until = self.selection.since, self.selection.until
        asked = [moment for moment in (since, until) if moment is not None]
        return self.beginning is None or any(moment <= self.beginning.observed_at for moment in asked)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many changes of a type and reason a scope has from a place on, and the first and last place of them."""

    change_type: str
    reason: str
    changes: int
    first: Place
    last: Place


class History:
    """Past changes and alerts of an open state file."""

    def __init__(self, state: StateFile) -> None:
        self._database = state.database
        self._journal = state.journal
        self._tenant_id = state.journal.tenant_id()

    def scope(self, selection: Selection) -> Scope:
        """Narrow a selection by what the rows of the snapshots say.

        Raises:
            StateError: a snapshot is asked for by an id that the journal does not have.
        """
        known = self._journal.snapshots("true ORDER BY snapshot_no")
        missing = selection.snapshots - {snapshot.snapshot_id for snapshot in known}
        if missing:
            raise StateError(
                f"the journal has no snapshot {', '.join(sorted(missing))}",
                hint="`mde-inventory status` names the last ones; old ones go after state.journal_retention_days.",
            )
        changing = [snapshot for snapshot in known if snapshot.first_sequence is not None]
        meant = [snapshot for snapshot in changing if selection.admits(snapshot)]
        stretches = [
            _stretch(changing, [snapshot for snapshot in meant if snapshot.epoch == epoch])
            for epoch in sorted({snapshot.epoch for snapshot in meant})
        ]
        beginning, retired = _beginning(self._database, known)
        return Scope(
            selection=selection,
            tenant_id=self._tenant_id,
            snapshots={snapshot.snapshot_no: snapshot for snapshot in meant},
            stretches=tuple(stretches),
            beginning=beginning,
            retired=retired,
            published_snapshot=self._journal.position().published_snapshot,
        )

    def read(self, within: Scope, after: Place | None, rows_max: int) -> tuple[list[dict[str, Any]], Place | None]:
        """Changes beyond a place, in order, as `SoftwareChange` mappings: so many at most, and what the time allows.

        Returns them, and the place to go on after; None once there are no more. None may be found, and more to come.

        Raises:
            StateError: changes just beyond the place were let go of meanwhile.
        """
        rows: list[tuple[Any, ...]] = []
        ends = time.monotonic() + HELD_SECONDS
        if after is not None:
            _check_kept(self._database, after)
        for stretch in within.stretches:
            if after is not None and after >= Place(stretch.epoch, stretch.upto):
                continue
            begin = stretch.after
            if after is not None and after > Place(stretch.epoch, begin):
                begin = after.sequence
            window = 2 * rows_max
            while begin < stretch.upto:
                upto, wanted = min(begin + window, stretch.upto), rows_max - len(rows)
                found = _rows(self._database, within, stretch, (begin, upto), f"ORDER BY sequence LIMIT {wanted}")
                rows += found
                begin = _sequence(found[-1]) if len(found) == wanted else upto
                if len(rows) == rows_max or time.monotonic() > ends:
                    return list(self._mappings(rows, within)), Place(stretch.epoch, begin)
                window *= WINDOW_FACTOR
        return list(self._mappings(rows, within)), None

    def newest(self, within: Scope, rows_max: int) -> tuple[list[dict[str, Any]], bool]:
        """The last so many changes, in order; and whether there may be others before them."""
        rows: list[tuple[Any, ...]] = []
        for stretch in reversed(within.stretches):
            end, window = stretch.upto, 2 * rows_max
            while end > stretch.after and len(rows) < rows_max:
                begin = max(end - window, stretch.after)
                tail = f"ORDER BY sequence DESC LIMIT {rows_max - len(rows)}"
                rows += _rows(self._database, within, stretch, (begin, end), tail)
                end, window = begin, window * WINDOW_FACTOR
        return list(self._mappings(rows[::-1], within)), len(rows) == rows_max

    def place_before(self, within: Scope, number: int) -> Place | None:
        """The place that the last so many changes come after; None where there are no more than those."""
        for stretch in reversed(within.stretches):
            end, window = stretch.upto, number
            while end > stretch.after:
                begin = max(end - window, stretch.after)
                there = _rows(self._database, within, stretch, (begin, end), "", "count(*)")[0][0]
                if there > number:
                    tail = f"ORDER BY sequence DESC LIMIT 1 OFFSET {number}"
                    return Place(
                        stretch.epoch, _rows(self._database, within, stretch, (begin, end), tail, "sequence")[0][0]
                    )
                number -= there
                end, window = begin, window * WINDOW_FACTOR
        return None

    def tally(self, within: Scope, after: Place | None = None) -> list[Tally]:
        """How many changes there are beyond a place, by type and reason."""
        found = []
        for stretch in within.stretches:
            begin = after.sequence if after and after.epoch == stretch.epoch else stretch.after
            if after and after >= Place(stretch.epoch, stretch.upto):
                continue
            rows = _rows(
                self._database,
                within,
                stretch,
                (max(begin, stretch.after), stretch.upto),
                "GROUP BY change_type, reason ORDER BY change_type, reason",
                "change_type, reason, count(*), min(sequence), max(sequence)",
            )
            found += [
                Tally(row[0], row[1], row[2], Place(stretch.epoch, row[3]), Place(stretch.epoch, row[4]))
                for row in rows
            ]
        return found

    def find(self, beginning: str) -> list[tuple[StagedSnapshot, dict[str, Any]]]:
        """The changes whose `eventId` begins so, with their snapshots, oldest first; `FOUND_MAX` at most."""
        # Only the place at first: a search by id looks at every change, and that needs one column of them.
        places = self._database.rows(
            "SELECT epoch, sequence FROM changes WHERE starts_with(event_id, $1) LIMIT $2", [beginning, FOUND_MAX]
        )
        found = []
        for place in sorted(places):
            (row,) = self._database.rows(f"SELECT {_COLUMNS} FROM changes WHERE epoch = $1 AND sequence = $2", place)
            snapshot = self._journal.numbered_snapshot(row[0])
            if snapshot is not None:
                found += [(snapshot, change) for change in self._journal.as_changes([row[1:]], snapshot)]
        return found

    def find_alerts(self, beginning: str) -> list[tuple[StagedSnapshot, dict[str, Any]]]:
        """The alerts whose `alertId` begins so, with their snapshots, oldest first; `FOUND_MAX` at most."""
        return self._alerts("starts_with(alert_id, $1)", [beginning])

    def alerts_of(self, snapshot: StagedSnapshot, event_id: str) -> list[dict[str, Any]]:
        """The alerts that a change raised."""
        found = self._alerts("event_id = $1 AND snapshot_no = $2", [event_id, snapshot.snapshot_no])
        return [alert for _, alert in found]

    def _alerts(self, condition: str, parameters: Sequence[object]) -> list[tuple[StagedSnapshot, dict[str, Any]]]:
        columns = ", ".join(("snapshot_no", *alert_columns(SOFTWARE).values()))
        rows = self._database.rows(
            f"SELECT {columns} FROM alerts WHERE {condition} ORDER BY snapshot_no, alert_no LIMIT {FOUND_MAX}",
            parameters,
        )
        found = []
        for row in rows:
            snapshot = self._journal.numbered_snapshot(row[0])
            if snapshot is not None:
                found += [(snapshot, alert) for alert in self._journal.as_alerts([row[1:]], snapshot)]
        return found

    def previous(self, snapshot: StagedSnapshot) -> StagedSnapshot | None:
        """The snapshot that one was compared with; None for a first one, or where the journal has forgotten it."""
        found = self._journal.snapshots(
            "snapshot_id = $1 AND snapshot_no < $2 ORDER BY snapshot_no DESC LIMIT 1",
            [snapshot.previous_snapshot_id, snapshot.snapshot_no],
        )
        return found[0] if found else None

    def _mappings(self, rows: Sequence[tuple[Any, ...]], within: Scope) -> Iterator[dict[str, Any]]:
        for number, group in groupby(rows, key=itemgetter(0)):
            yield from self._journal.as_changes((row[1:] for row in group), within.snapshots[number])

    def confirmed_at(self, snapshot: StagedSnapshot) -> int | None:
        """When Kafka confirmed a snapshot to its seal, milliseconds since 1970; None where that is not noted."""
        return self._journal.confirmed_at(snapshot.snapshot_no)


def _stretch(changing: Sequence[StagedSnapshot], meant: Sequence[StagedSnapshot]) -> Stretch:
    """From the first to the last of an epoch's snapshots that are meant, and whether others lie between them."""
    first, last = meant[0], meant[-1]
    between = [each for each in changing if first.snapshot_no <= each.snapshot_no <= last.snapshot_no]
    numbers = None if len(between) == len(meant) else tuple(each.snapshot_no for each in meant)
    return Stretch(first.epoch, (first.first_sequence or 1) - 1, last.sequence_after, numbers)


def _beginning(database: Database, known: Sequence[StagedSnapshot]) -> tuple[StagedSnapshot | None, bool]:
    """Where the journal begins, and whether something was before it."""
    first = database.rows("SELECT min(snapshot_no) FROM changes")[0][0]
    beginning = next((snapshot for snapshot in known if snapshot.snapshot_no == first), None)
    if beginning is None:
        return None, any(snapshot.counts.changes for snapshot in known) or bool(known and known[0].snapshot_no > 1)
    oldest = database.number("SELECT min(sequence) FROM changes WHERE snapshot_no = $1", [first])
    return beginning, oldest > 1 or known[0].snapshot_no > 1


def _check_kept(database: Database, place: Place) -> None:
    """Sequences have no gaps, and the oldest go first: where the next one is missing and later ones are not, it went.

    Where an epoch's last ones went and the next epoch is whole, that cannot be seen.
    """
    here = [place.epoch, place.sequence]
    if database.number("SELECT count(*) FROM changes WHERE epoch = $1 AND sequence = $2 + 1", here):
        return
    later = "epoch > $1 OR (epoch = $1 AND sequence > $2)"
    rest = database.rows(f"SELECT epoch, sequence FROM changes WHERE {later} ORDER BY epoch, sequence LIMIT 1", here)
    if rest and (rest[0][0] == place.epoch or rest[0][1] != 1):
        raise StateError(
            f"changes beyond sequence {place.sequence} of epoch {place.epoch} have left the journal before they were"
            " read",
            hint="They grew older than state.journal_retention_days. A later --since asks for what is still there.",
        )


def _rows(
    database: Database,
    within: Scope,
    stretch: Stretch,
    between: tuple[int, int],
    tail: str,
    columns: str = _COLUMNS,
) -> list[tuple[Any, ...]]:
    condition, bound = within.selection.condition()
    numbers = ""
    if stretch.numbers is not None:
        numbers, bound = " AND snapshot_no IN (SELECT unnest($numbers))", bound | {"numbers": list(stretch.numbers)}
    return database.rows(
        f"SELECT {columns} FROM changes WHERE epoch = $epoch AND sequence > $after AND sequence <= $upto{numbers}"
        f" AND {condition} {tail}",
        bound | {"epoch": stretch.epoch, "after": between[0], "upto": between[1]},
    )


def _sequence(row: tuple[Any, ...]) -> int:
    return int(row[1 + list(_CHANGE_COLUMNS).index("sequence")])
