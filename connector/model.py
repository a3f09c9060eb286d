"""The nouns that pass between modules. Owns no behaviour beyond names and derived values; imports no outside library.

Words: a *record* is one (device, vendor, product, version) with its attributes; a *snapshot* is one complete export
of a *generation*; the *inventory* is the stored current records; a *change* is one difference, numbered by
*sequence*; *pending* changes are staged and not yet confirmed by Kafka; a *batch* is one Kafka transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from connector.clock import moment_of

LINE_BYTES_MAX: Final = 16 * 2**20
"""Longest line of a snapshot that is read; real ones are some kilobytes."""

UNREADABLE_MARK: Final = "#unreadable"
"""The property of a repaired line that names the attributes whose value could not be read; they are null there."""

SAMPLE_WHOLE_BYTES: Final = 2**20
"""So much of a part's beginning is inspected line by line for how it spells its properties; of the rest, a sample."""


class BrokerToken(NamedTuple):
    """A token that logs a client in to Kafka's brokers; `expires_at` in seconds since 1970."""

    text: str
    expires_at: float


class Inventory(StrEnum):
    """Which of the two exports: software with a product code (CPE), or without."""

    CPE = "CPE"
    NON_CPE = "NON_CPE"

    @property
    def label(self) -> str:
        """The lower-case form that snapshot ids begin with."""
        return self.value.lower()


def snapshot_id_of(inventory: Inventory, generated_at: datetime) -> str:
    """What the snapshot of a generation is called: `cpe-20261123T080000Z`."""
    return f"{inventory.label}-{generated_at:%Y%m%dT%H%M%SZ}"


class Method(StrEnum):
    """How a snapshot was fetched: gzip files behind pre-signed URLs, or JSON pages."""

    FILES = "files"
    JSON = "json"


class ChangeType(StrEnum):
    """What a change is. Debezium's letters: BASELINE = r, ADDED = c, CHANGED = u, REMOVED = d."""

    BASELINE = "BASELINE"
    ADDED = "ADDED"
    REMOVED = "REMOVED"
    CHANGED = "CHANGED"


class Reason(StrEnum):
    """Why a change was published."""

    FIRST_SNAPSHOT = "FIRST_SNAPSHOT"
    INSTALLED = "INSTALLED"
    NEW_DEVICE = "NEW_DEVICE"
    UNINSTALLED = "UNINSTALLED"
    DEVICE_MISSING = "DEVICE_MISSING"
    UPGRADED = "UPGRADED"
    DOWNGRADED = "DOWNGRADED"
    VERSION_CHANGED = "VERSION_CHANGED"
    ATTRIBUTES_CHANGED = "ATTRIBUTES_CHANGED"
    APPROVED = "APPROVED"
    MOVED = "MOVED"
    CATALOGUE = "CATALOGUE"
    AGED_OUT = "AGED_OUT"


class AlertType(StrEnum):
    """What an end-of-support alert says."""

    INSTALLED = "INSTALLED"
    REACHED = "REACHED"
    UPCOMING = "UPCOMING"
    DATE_THRESHOLD = "DATE_THRESHOLD"
    CLEARED = "CLEARED"


class SnapshotStatus(StrEnum):
    """What a snapshot report says of its snapshot."""

    STARTED = "STARTED"
    COMPLETE = "COMPLETE"
    HELD = "HELD"
    FAILED = "FAILED"
    STALE = "STALE"


class Topic(StrEnum):
    """The topics; the value is what follows `kafka.topic_prefix` and a dot."""

    CHANGES = "changes"
    ALERTS = "alerts"
    SNAPSHOTS = "snapshots"
    CHECKPOINTS = "checkpoints"
    INVENTORY = "inventory"
    CAMPAIGNS = "campaigns"

    def name_under(self, prefix: str) -> str:
        """The topic's full name under a prefix: `mde.software` gives `mde.software.changes`."""
        return f"{prefix}.{self.value}"


@dataclass(frozen=True, slots=True)
class Listing:
    """What the API offers right now: which generation, and where its files are.

    `generated_at` is None where the API does not tell it (JSON pages without a readable page token). `urls` are
    pre-signed and secret: never logged, never shown.
    """

    inventory: Inventory
    method: Method
    generated_at: datetime | None
    urls: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One verified file of a snapshot on disk: one JSON object a line.

    Attributes:
        path: where it is; `.json.gz` is gzip with one member, `.json` is plain UTF-8; never a byte order mark.
        name: the remote file's name without its query, or `page-N`; for people, never used as a path.
        lines: number of lines that are not blank.
        size_bytes: decompressed size.
        spellings: the documented property names seen in it, by their lower-case form: `{"deviceid": ("DeviceId",)}`.
        rejected: lines of the remote file that could not be read and were set aside; they are not in `lines`.
        rejected_devices: the devices that those lines are about, as far as they name them.
        nameless: how many of those lines do not say what devices they are about.
        unreadable: values of attributes that could not be read, counted by the name of the field; each is null, and
            marked by `UNREADABLE_MARK`.
        repaired: it was rewritten, line by line.
        index: where each of its lines begins, and its digest (`packed.LineIndex`); None where that is not known.
    """

    path: Path
    name: str
    lines: int
    size_bytes: int
    spellings: Mapping[str, tuple[str, ...]]
    rejected: int = 0
    rejected_devices: frozenset[str] = frozenset()
    nameless: int = 0
    unreadable: Mapping[str, int] = field(default_factory=dict)
    repaired: bool = False
    index: Path | None = None

    @property
    def sampled(self) -> bool:
        """Whether `spellings` comes from a sample of the lines: some may spell a property in another way."""
        return self.size_bytes > SAMPLE_WHOLE_BYTES and not self.repaired


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One complete, verified export on disk.

    Attributes:
        snapshot_id: `cpe-20261123T080000Z`, the same through both flavours; where the generation is unknown, the
            time of the walk and 8 digits of a digest of the content.
        generated_at: time of the generation, or of the walk where the API does not say (`generation_known`).
        content_digest: hex SHA-256, over the lines of a walk through pages, or over the files as they came; shows a
            repeat where the generation is unknown.
        fetched_bytes: bytes that came over the network for it, in this process.
        device_facts: a file of what Defender knows of the devices, one line each; None where that is not known.
    """

    inventory: Inventory
    method: Method
    snapshot_id: str
    generated_at: datetime
    generation_known: bool
    parts: tuple[Part, ...]
    content_digest: str
    fetched_bytes: int = 0
    device_facts: Path | None = None

    @property
    def lines(self) -> int:
        """Number of lines that are not blank, over all parts."""
        return sum(part.lines for part in self.parts)

    @property
    def rejected(self) -> int:
        """Number of lines that could not be read and were set aside, over all parts."""
        return sum(part.rejected for part in self.parts)

    @property
    def rejected_devices(self) -> frozenset[str]:
        """The devices that the rejected lines are about, as far as they name them."""
        return frozenset().union(*(part.rejected_devices for part in self.parts))

    @property
    def nameless(self) -> int:
        """How many of the rejected lines do not say what devices they are about."""
        return sum(part.nameless for part in self.parts)

    @property
    def unreadable(self) -> dict[str, int]:
        """Values of attributes that could not be read, counted by the name of the field."""
        counts: Counter[str] = Counter()
        for part in self.parts:
            counts.update(part.unreadable)
        return dict(sorted(counts.items()))

    @property
    def is_repaired(self) -> bool:
        """Whether a part was rewritten, line by line."""
        return any(part.repaired for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """Decompressed size of all parts."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where Kafka is: changes of `epoch` up to `sequence` and alerts up to `alert_sequence` are published.

    Attributes:
        sealed: ordinal of the last snapshot whose report was published, counted over the whole state file; all before
            it are sealed too.
        snapshot_id: the snapshot that the last batch belonged to.
        claim: instance id, in a claim only: a message that marks where an instance began, and no position.
        written_at: milliseconds since 1970.
        alert_sequence: number of the last alert published; 0 before the first.
        inventory_whole: whether the inventory topic is the inventory as of this checkpoint.
        replay_begun_at: when the replay began whose checkpoint this is, milliseconds since 1970; its `sealed` is the
            last snapshot that it reaches to. None for what polls publish.
        replay_finished: the replay has come to its end, and said so.
    """

    transactional_id: str
    entra_tenant_id: str
    epoch: int
    sequence: int
    sealed: int
    snapshot_id: str | None
    written_at: int
    connector_version: str
    claim: str | None = None
    alert_sequence: int = 0
    inventory_whole: bool = False
    replay_begun_at: int | None = None
    replay_finished: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where the state file is.

    Attributes:
        epoch: 1 at first; a rebaseline begins the next.
        last_sequence: of the newest change staged in this epoch; 0 before the first.
        last_snapshot: number of the newest staged snapshot, counted over all epochs; 0 before the first.
        published_sequence: changes of this epoch up to here are confirmed by Kafka.
        published_snapshot: snapshots up to here are sealed in Kafka, or were given up by a rebaseline.
        epoch_snapshot: number of the last snapshot before this epoch; 0 in the first.
        published_at: when Kafka last confirmed something, milliseconds since 1970; None before the first time.
        last_alert: number of the newest alert staged in this epoch; 0 before the first.
        published_alert: alerts of this epoch up to here are confirmed by Kafka.
    """

    epoch: int
    last_sequence: int
    last_snapshot: int
    published_sequence: int
    published_snapshot: int
    epoch_snapshot: int
    published_at: int | None
    last_alert: int
    published_alert: int

    @property
    def pending(self) -> int:
        """Changes staged and not yet confirmed."""
        return self.last_sequence - self.published_sequence

    @property
    def drained(self) -> bool:
        """Whether nothing is left to publish, neither a change nor a seal."""
        return not self.pending and self.published_snapshot == self.last_snapshot


@dataclass(frozen=True, slots=True)
class Counts:
    """What is counted of one snapshot; the names are columns of `snapshots` too.

    Attributes:
        records, devices: distinct ones in the snapshot.
        stored: records in the inventory after it; more than `records` where absences are not believed yet.
        baselined, added, removed, changed: its changes, by type.
        alerts: end-of-support alerts staged with it.
        held: records that the guard began to hold with this snapshot: removals, values of a field, additions.
        duplicates: lines beyond the first of their key.
        rejected: lines that could not be read.
    """

    records: int = 0
    devices: int = 0
    stored: int = 0
    baselined: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    alerts: int = 0
    held: int = 0
    duplicates: int = 0
    rejected: int = 0

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> Counts:
        """The counts of a `SnapshotReport`."""
        return cls(**{name: report[_REPORTED.get(name, name)] for name in cls.__dataclass_fields__})

    def as_report(self) -> dict[str, int]:
        """The counts by the names that a `SnapshotReport` gives them."""
        return {_REPORTED.get(name, name): getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def by_type(self) -> dict[ChangeType, int]:
        """The number of changes of each type."""
        return {kind: getattr(self, name) for kind, name in CHANGE_COUNTS.items()}

    @property
    def changes(self) -> int:
        """Changes of all types."""
        return sum(self.by_type.values())


CHANGE_COUNTS: Final[Mapping[ChangeType, str]] = {
    ChangeType.BASELINE: "baselined",
    ChangeType.ADDED: "added",
    ChangeType.REMOVED: "removed",
    ChangeType.CHANGED: "changed",
}
"""The count of each type of change."""

_REPORTED: Final = {"baselined": "baseline"}
"""Counts that a `SnapshotReport` calls something else."""


@dataclass(frozen=True, slots=True)
class StagedSnapshot:
    """One row of `snapshots`: a staged snapshot and its counts. Times are milliseconds since 1970, in UTC.

    An approval of held removals is its own row, with the generation of the snapshot before it.

    Attributes:
        snapshot_no: counts from 1 over the whole state file.
        generated_at: time of the generation, or of the walk where the API does not say (`generation_known`).
        baseline: whether it is the first of its inventory in this epoch.
        first_sequence, last_sequence: of its changes; None where it has none.
        sequence_after: of the epoch's last change once this snapshot is staged.
        alert_after: number of the epoch's last alert once this snapshot is staged; its own are the `alerts` up to it.
    """

    snapshot_no: int
    epoch: int
    inventory: Inventory
    snapshot_id: str
    previous_snapshot_id: str | None
    method: str
    generated_at: int
    generation_known: bool
    content_digest: str
    started_at: int
    staged_at: int
    baseline: bool
    counts: Counts
    hold_reason: str | None
    first_sequence: int | None
    last_sequence: int | None
    sequence_after: int
    connector_version: str
    alert_after: int

    @property
    def alert_before(self) -> int:
        """Number of the epoch's last alert before this snapshot."""
        return self.alert_after - self.counts.alerts

    @property
    def status(self) -> SnapshotStatus:
        """HELD where the guard began to hold something, else COMPLETE."""
        return SnapshotStatus.HELD if self.counts.held else SnapshotStatus.COMPLETE

    @property
    def observed_at(self) -> datetime:
        """`generated_at` as a moment in UTC."""
        return moment_of(self.generated_at)

    def facts(self, names: Iterable[str]) -> dict[str, Any]:
        """Some of its columns and counts by name, for people and programs: times are moments in UTC."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__} | asdict(self.counts)
        values |= {name: moment_of(values[name]) for name in ("generated_at", "started_at", "staged_at")}
        values["inventory"] = self.inventory.value
        return {name: values[name] for name in names}


@dataclass(frozen=True, slots=True)
class Hold:
    """Removals, values of one field, or additions that are held for one reason since one snapshot.

    Attributes:
        share: `records` as a share of the inventory's records; of additions it may be more than 1.
        is_of_removals: whether the records are in the inventory, and their absence is not believed.
        field: whose values are held; None for removals and additions.
    """

    inventory: Inventory
    reason: str
    records: int
    devices: int
    share: float
    since_snapshot_no: int
    since_snapshot_id: str
    since: int
    is_of_removals: bool
    field: str | None = None


class Message(NamedTuple):
    """One encoded Kafka message. A `value` of None is a tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `check`, `setup` or `state verify`: what was checked, and whether it is fine.

    Attributes:
        name: what was checked: `config`, `token`, a topic, a subject.
        fine: whether it is.
        text: the fact.
        hint: what to do about it; where it is fine, what would be better.
        exit_code: of the command, if it is not fine.
        noun: what the thing that was checked is called where several of them failed.
        cause: why it failed, without its name; what failed for the same cause is shown together.
    """

    name: str
    fine: bool
    text: str
    hint: str = ""
    exit_code: int = 1
    noun: str = ""
    cause: str = ""


MISSING: Final = "missing"
"""The cause of a failed check of what `setup` makes."""
