"""What staging must come to, worked out slowly and obviously, in plain Python over plain dicts.

Nothing here is shared with the SQL but the names of the documented properties and the order of two versions.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any, NamedTuple

from connector import __version__
from connector.diff.versions import version_reason
from connector.exports.fields import Kind
from connector.exports.software import SOFTWARE

Record = dict[str, Any]
Key = tuple[str, str, str, str]
Staged = tuple[str, str, Record | None, Record | None]
"""Change type, reason, the record before and the record now."""

KEY_NAMES = ("deviceId", "softwareVendor", "softwareName", "softwareVersion")
ATTRIBUTE_NAMES = tuple(item.name for item in SOFTWARE.fields if item.name not in KEY_NAMES)
HALF_AT_MOST = ("deviceName", "osPlatform", "softwareFirstSeenTimestamp", "endOfSupportStatus", "endOfSupportDate")
CHANGED_SHARES = {name: 0.5 if name in HALF_AT_MOST else 1.0 for name in ATTRIBUTE_NAMES}
OF_PRODUCTS = ("numberOfWeaknesses", "endOfSupportStatus", "endOfSupportDate")
DAY = timedelta(hours=24)
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "mde-inventory-connector")

BLANKS = re.compile(
    "[\t\n\f\r" + "".join(chr(code) for code in range(0x3001) if unicodedata.category(chr(code))[0] == "Z") + "]+"
)

MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[ T](?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d(:?\d\d)?)?",
    re.ASCII,
)


def moment_of(text: str) -> datetime | None:
    """The moment that a text means, in UTC; None where it means none. Digits beyond microseconds are cut off."""
    match = MOMENT.fullmatch(text)
    if not match:
        return None
    zone = (match["zone"] or "Z").replace(":", "")
    hours, minutes = (0, 0) if zone == "Z" else (int(zone[1:3]), int(zone[3:] or 0))
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone.startswith("-") else 1)
    try:
        day = datetime.strptime(match["date"], "%Y-%m-%d")  # noqa: DTZ007 - the zone is given below
        local = day.replace(
            hour=int(match["hour"]),
            minute=int(match["minute"]),
            second=int(match["second"] or 0),
            microsecond=int((match["fraction"] or "")[:6].ljust(6, "0")),
        )
        return local.replace(tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def normal_value(kind: Kind, value: Any) -> Any:
    """The normal form of an attribute's value."""
    if kind is Kind.TEXT_SET:
        return sorted({item for item in value or [] if item is not None})
    if kind is Kind.NUMBER:
        return value
    moment = moment_of(value) if kind in {Kind.DATE, Kind.TIMESTAMP} and value else None
    if moment is None:
        return value or None
    if kind is Kind.DATE:
        return f"{moment:%Y-%m-%d}".zfill(10)
    fraction = f"{moment:.%f}".rstrip("0").rstrip(".")
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}{fraction}Z"


def normal(record: Mapping[str, Any]) -> Record:
    """The normal form of a record with camelCase names, of which any may be missing."""
    return {
        item.name: (record.get(item.name) or "") if item.key else normal_value(item.kind, record.get(item.name))
        for item in SOFTWARE.fields
    }


def key_of(record: Mapping[str, Any]) -> Key:
    """The key of a normal record."""
    device, vendor, name, version = (record[part] for part in KEY_NAMES)
    return device, vendor, name, version


def by_key(lines: Iterable[Mapping[str, Any]]) -> dict[Key, Record]:
    """The records of a snapshot. Of several with one key, the first by all columns is kept, null last."""
    twins = defaultdict(list)
    for line in lines:
        record = normal(line)
        twins[key_of(record)].append(record)
    return {
        key: min(
            records, key=lambda record: [(record[item.name] is None, record[item.name]) for item in SOFTWARE.fields]
        )
        for key, records in twins.items()
    }


def alike(key: Key) -> Key:
    """A key without what nobody sees."""
    device, vendor, name, version = (
        unicodedata.normalize("NFC", BLANKS.sub(" ", part).strip(" ")).lower() for part in key
    )
    return device, vendor, name, version


def continued(current: dict[Key, Record], stored: Mapping[Key, Record]) -> dict[Key, Record]:
    """A snapshot's records, those that look like an absent one under its key.

    What else is new on a device whose id was written in another way is new on the stored device.
    """
    new, gone = sorted(current.keys() - stored.keys()), defaultdict(list)
    for key in sorted(stored.keys() - current.keys()):
        gone[alike(key)].append(key)
    names = {key: gone[alike(key)].pop(0) for key in new if gone[alike(key)]}
    devices: dict[str, str] = {}
    for key, name in names.items():
        if key[0] != name[0]:
            devices[key[0]] = min(name[0], devices.get(key[0], name[0]))
    for key in new:
        if key not in names and key[0] in devices:
            name = (devices[key[0]], *key[1:])
            if name not in {*stored, *current, *names.values()}:
                names[key] = name
    return {
        names.get(key, key): record | dict(zip(KEY_NAMES, names.get(key, key), strict=True))
        for key, record in current.items()
    }


@dataclass(frozen=True)
class Rules:
    """What the model needs of the configuration."""

    max_removed_share: float = 0.15
    min_removed: int = 100
    missing_device_snapshots: int = 2
    pair_versions: bool = True
    fold_lookalikes: bool = False
    ignore_fields: frozenset[str] = frozenset()
    emit_baseline: bool = False
    min_changed: int = 100
    max_added_share: float = 0.5
    min_added: int = 100
    changed_shares: Mapping[str, float] = field(default_factory=lambda: CHANGED_SHARES)


class Additions(NamedTuple):
    """Additions that are held: why, how many, and since which generation."""

    reason: str
    records: int
    since: datetime
    approved: bool = False


@dataclass(frozen=True)
class Part:
    """What a decision is about: what is held for one of these reasons, in one of these groups, on one of these devices.

    Without any, everything; values and additions that are held have neither groups nor devices.
    """

    reasons: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()

    def has(self, record: Record, reason: str) -> bool:
        """Whether a held record belongs to it."""
        return (
            (not self.reasons or reason in self.reasons)
            and (not self.groups or str(record["rbacGroupId"]) in self.groups)
            and (not self.devices or record["deviceId"] in self.devices)
        )

    def has_doubt(self, reason: str) -> bool:
        """Whether values or additions that are held for a reason belong to it."""
        return not (self.groups or self.devices) and (not self.reasons or reason in self.reasons)


ALL = Part()


@dataclass(frozen=True)
class Outcome:
    """What staging one snapshot came to."""

    changes: list[Record]
    held: int
    hold_reason: str | None
    records: int
    devices: int
    duplicates: int
    completing: frozenset[Key] = frozenset()
    """Keys of what completes a young baseline."""


@dataclass
class Model:
    """An inventory as it must be after each snapshot, with what is held and which devices are missing."""

    tenant_id: str
    inventory: dict[Key, Record] | None = None
    inventory_name: str = "CPE"
    held: dict[Key, str] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    believed: list[tuple[datetime, int]] = field(default_factory=list)
    known: frozenset[str] | None = None
    young: bool = True
    distrusted: dict[str, tuple[str, int]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    additions: Additions | None = None
    current: dict[Key, Record] = field(default_factory=dict)
    completing: set[Key] = field(default_factory=set)
    sequence: int = 0
    previous_snapshot_id: str | None = None
    generated_at: datetime = datetime.min  # noqa: DTZ901 - a time before all others
    last_seen: Mapping[str, datetime] = field(default_factory=dict)

    def stage(
        self,
        snapshot_id: str,
        lines: Sequence[Record],
        rules: Rules,
        *,
        rejected: int = 0,
        elsewhere: Collection[Key] = (),
        left: Collection[Key] = (),
    ) -> Outcome:
        """Take one snapshot in. Its id ends in the time of its generation.

        `elsewhere` are the keys that the other inventory has, now or in a snapshot of it that comes next; `left` those
        that it had until after the last snapshot of this one, or has still.
        """
        self.generated_at = generation_of(snapshot_id)
        current = by_key(lines)
        if rules.fold_lookalikes:
            current = continued(current, self.inventory or {})
        tracked = frozenset(ATTRIBUTE_NAMES) - rules.ignore_fields
        staged: list[Staged] = []
        held, reason = 0, None
        self.completing = set()
        if self.inventory is None:
            if rules.emit_baseline:
                staged = [("BASELINE", "FIRST_SNAPSHOT", None, record) for record in current.values()]
            self.inventory = dict(current)
        else:
            others = set(elsewhere), set(left)
            staged, held, reason = self._compare(current, rules, tracked, rejected=rejected, others=others)
        self.known = tracked
        outcome = Outcome(
            changes=self._numbered(snapshot_id, staged),
            held=held,
            hold_reason=reason,
            records=len(current),
            devices=len({key[0] for key in current}),
            duplicates=len(lines) - len(current),
            completing=frozenset(self.completing),
        )
        self.previous_snapshot_id = snapshot_id
        return outcome

    def approve(self, snapshot_id: str, part: Part = ALL) -> list[Record]:
        """A person approves what is held, or a part of it."""
        assert self.inventory is not None
        chosen = [key for key, why in self.held.items() if part.has(self.inventory[key], why)]
        staged: list[Staged] = [("REMOVED", "APPROVED", self.inventory.pop(key), None) for key in chosen]
        self.held = {key: why for key, why in self.held.items() if key not in chosen}
        if chosen and not self.held:
            self.believed = []
        self.believe(part)
        changes = self._numbered(snapshot_id, staged)
        self.previous_snapshot_id = snapshot_id
        return changes

    def believe(self, part: Part = ALL) -> None:
        """A person approves held values and additions, as the next snapshot has them."""
        believed = {name for name, (why, _) in self.distrusted.items() if part.has_doubt(why)}
        self.settled |= believed
        self.distrusted = {name: why for name, why in self.distrusted.items() if name not in believed}
        if self.additions and part.has_doubt(self.additions.reason):
            self.additions = self.additions._replace(approved=True)

    def discard(self, part: Part = ALL) -> None:
        """A person says that what is held is missing data, or a part of it."""
        assert self.inventory is not None
        chosen = {key for key, why in self.held.items() if part.has(self.inventory[key], why)}
        for device in {key[0] for key in chosen}:
            self.missing.pop(device, None)
        self.held = {key: why for key, why in self.held.items() if key not in chosen}
        self.distrusted = {name: why for name, why in self.distrusted.items() if not part.has_doubt(why[0])}
        if self.additions and not self.additions.approved and part.has_doubt(self.additions.reason):
            self.additions = None

    def _compare(
        self,
        current: dict[Key, Record],
        rules: Rules,
        tracked: frozenset[str],
        *,
        rejected: int,
        others: tuple[set[Key], set[Key]],
    ) -> tuple[list[Staged], int, str | None]:
        stored = self.inventory
        assert stored is not None
        known = tracked & (self.known if self.known is not None else tracked)
        current, doubted, doubt = self._trusted(current, known, rules)
        added = [key for key in current if key not in stored]
        pairs = {} if rejected else self._pairs(added, [key for key in stored if key not in current])
        elsewhere, left = others
        waiting, begun, is_approved = self._waiting(current, pairs, rules, others=others)
        pairs = {come: gone for come, gone in pairs.items() if come not in waiting}
        added = [key for key in added if key not in waiting]
        self.current = current = {key: record for key, record in current.items() if key not in waiting}
        arrived = [*added, *(key for key in current if key in stored and _differ(stored[key], current[key], tracked))]
        removals, held, reason = self._removals(
            current, arrived, set(pairs.values()), rules, rejected=rejected, elsewhere=elsewhere, approved=is_approved
        )

        if not waiting and not is_approved:
            self.completing = self._completing(set(added) - left, pairs, rules)
        staged = self._arrivals(current, arrived, pairs, rules, known, completing=self.completing, left=left)
        if not rules.pair_versions:
            staged += [("REMOVED", "UNINSTALLED", stored[gone], None) for gone in pairs.values()]
        staged += [("REMOVED", why, stored[key], None) for key, why in removals]

        for key in [*pairs.values(), *(key for key, _ in removals)]:
            del stored[key]
        stored.update({key: current[key] for key in arrived})
        began = self.additions.reason if self.additions and begun else None
        return staged, held + doubted + begun, reason or doubt or began

    def _arrivals(
        self,
        current: dict[Key, Record],
        arrived: list[Key],
        pairs: dict[Key, Key],
        rules: Rules,
        known: frozenset[str],
        *,
        completing: set[Key],
        left: set[Key],
    ) -> list[Staged]:
        """The changes that are no removals."""
        stored = self.inventory or {}
        staged: list[Staged] = []
        devices = {key[0] for key in stored}
        for key in arrived:
            before, after = stored.get(key), current[key]
            if before is not None:
                if _differ(before, after, known):
                    staged.append(("CHANGED", "ATTRIBUTES_CHANGED", before, after))
            elif key in pairs and rules.pair_versions:
                step = version_reason(pairs[key][3], key[3])
                staged.append(("CHANGED", step.value, stored[pairs[key]], after))
            elif key in completing:
                if rules.emit_baseline:
                    staged.append(("BASELINE", "FIRST_SNAPSHOT", None, after))
            elif key in left:
                staged.append(("ADDED", "MOVED", None, after))
            else:
                staged.append(("ADDED", "INSTALLED" if key[0] in devices else "NEW_DEVICE", None, after))
        return staged

    def _removals(
        self,
        current: dict[Key, Record],
        arrived: list[Key],
        paired: set[Key],
        rules: Rules,
        *,
        rejected: int,
        elsewhere: set[Key],
        approved: bool,
    ) -> tuple[list[tuple[Key, str]], int, str | None]:
        """As `_judge`: nothing where keys changed, everything where a person approved that they did."""
        if self.additions is not None and self.additions.reason == "KEYS_CHANGED":
            absent = {key for key in self.inventory or {} if key not in current and key not in paired}
            self.held = {key: why for key, why in self.held.items() if key in absent}
            return [], 0, None
        if not approved:
            return self._judge(current, arrived, paired, rules, rejected=rejected, elsewhere=elsewhere)
        rules = replace(rules, max_removed_share=1.0, missing_device_snapshots=1)
        removals, held, reason = self._judge(current, arrived, paired, rules, rejected=rejected, elsewhere=elsewhere)
        self.believed = []
        return [(key, why if why == "MOVED" else "APPROVED") for key, why in removals], held, reason

    def _waiting(
        self, current: dict[Key, Record], pairs: dict[Key, Key], rules: Rules, *, others: tuple[set[Key], set[Key]]
    ) -> tuple[set[Key], int, bool]:
        """The additions that are not believed, how many are newly held, and whether a change of keys was approved."""
        stored, was, (elsewhere, left) = self.inventory or {}, self.additions, others
        self.additions = None
        if was and was.approved:
            return set(), 0, was.reason == "KEYS_CHANGED"
        new = {key for key in current if key not in stored}
        gone = {key for key in stored if key not in current}
        lasting = was is not None and was.reason == "KEYS_CHANGED"
        emptied = self._emptied(new, gone, Fraction("0.1") if lasting else Fraction("0.9"))
        additions = new - {key for key in pairs if 3 not in emptied or key[3]} - left
        share = Fraction(str(rules.max_added_share))
        many = len(additions) > (Fraction("0.1") if lasting else share) * len(stored)
        many = many and len(additions) >= (10 if lasting else rules.min_added)
        if len(additions) < 10 or not (emptied or many):
            return set(), 0, False
        absent = len(gone - set(pairs.values()) - elsewhere - set(self.held))
        if emptied or 2 * absent >= len(additions):
            reason = "KEYS_CHANGED"
        elif len(additions) >= rules.min_added and len(additions) > share * len(stored) and not self.young:
            reason = "MASS_ADDITION"
        else:
            return set(), 0, False
        is_same = was is not None and was.reason == reason
        if was and is_same and reason == "MASS_ADDITION" and 2 * len(additions) >= was.records:
            return set(), 0, False
        self.additions = Additions(reason, len(additions), was.since if was and is_same else self.generated_at)
        return additions, 0 if is_same else len(additions), False

    def _emptied(self, new: set[Key], gone: set[Key], share: Fraction) -> list[int]:
        """The parts of the key that most new records lack, where those that have them are nearly all gone."""
        parts = []
        for part in (1, 2, 3):
            lost, had = (sum(key[part] != "" for key in keys) for keys in (gone, self.inventory or {}))
            lacking = sum(key[part] == "" for key in new)
            if lacking >= 10 and 2 * lacking >= len(new) and lost >= 10 and lost >= share * had:
                parts.append(part)
        return parts

    def _trusted(
        self, current: dict[Key, Record], judged: frozenset[str], rules: Rules
    ) -> tuple[dict[Key, Record], int, str | None]:
        """The snapshot with the stored values of what is not believed in it, how much is newly held, and why."""
        stored, was = self.inventory or {}, self.distrusted
        both = [(stored[key], current[key]) for key in current if key in stored]
        self.distrusted = {}
        for name in sorted(judged - self.settled):
            had = [pair for pair in both if pair[0][name] not in (None, [])]
            lost = [after for before, after in had if after[name] in (None, [])]
            changed = [after for before, after in both if before[name] != after[name]]
            about = "softwareVendor softwareName" if name in OF_PRODUCTS else "deviceId"
            spread = {tuple(after[part] for part in about.split()) for after in changed}
            reason = was.get(name, ("", 0))[0]
            if len(lost) >= 10 and len(lost) >= (0.1 if reason == "EMPTIED_FIELD" else 0.9) * len(had):
                self.distrusted[name] = "EMPTIED_FIELD", len(lost)
            elif (reason == "MASS_CHANGE" and len(changed) >= 10 and len(changed) > 0.1 * len(both)) or (
                len(changed) >= max(rules.min_changed, 1)
                and len(changed) > rules.changed_shares[name] * len(both)
                and len(spread) >= 10
            ):
                self.distrusted[name] = "MASS_CHANGE", len(changed)
        believed = {
            key: record
            | {
                name: stored[key][name]
                for name, (reason, _) in self.distrusted.items()
                if key in stored and (reason == "MASS_CHANGE" or record[name] in (None, []))
            }
            for key, record in current.items()
        }
        new = sorted(
            (reason, name) for name, (reason, _) in self.distrusted.items() if was.get(name, ("", 0))[0] != reason
        )
        self.settled = set()
        return believed, sum(self.distrusted[name][1] for _, name in new), max(new, default=(None,))[0]

    def _completing(self, added: set[Key], pairs: dict[Key, Key], rules: Rules) -> set[Key]:
        """What a baseline lacked that no ordinary snapshot has confirmed yet."""
        new = added - set(pairs)
        stored = len(self.inventory or {})
        if self.young and new and 5 * len(new) > stored and len(new) >= rules.min_removed:
            return new
        self.young = False
        return set()

    def _pairs(self, added: list[Key], absent: list[Key]) -> dict[Key, Key]:
        """Versions that came, each with the one that went."""
        pairs = {}
        come_of: dict[tuple[str, ...], list[Key]] = defaultdict(list)
        gone_of: dict[tuple[str, ...], list[Key]] = defaultdict(list)
        for keys, of in ((added, come_of), (absent, gone_of)):
            for key in keys:
                of[key[:3]].append(key)
        for key in added:
            come, gone = come_of[key[:3]], gone_of[key[:3]]
            gone = [other for other in gone if other not in self.held] or gone
            if len(come) == len(gone) == 1:
                pairs[key] = gone[0]
        return pairs

    def _judge(
        self,
        current: dict[Key, Record],
        arrived: list[Key],
        paired: set[Key],
        rules: Rules,
        *,
        rejected: int,
        elsewhere: set[Key],
    ) -> tuple[list[tuple[Key, str]], int, str | None]:
        """Which absent records are removed, and how many are newly held, and why."""
        stored = self.inventory
        assert stored is not None
        present = {key[0] for key in current}
        absent = [key for key in stored if key not in current and key not in paired]
        gone_devices = {key[0] for key in stored} - present
        self.missing = {device: self.missing.get(device, 0) + (0 if rejected else 1) for device in gone_devices}
        self.held = {
            key: why
            for key, why in self.held.items()
            if key in absent
            and (
                rejected > 0
                if why == "REJECTED_LINES"
                else key[0] in gone_devices or (why == "MASS_REMOVAL" and key not in elsewhere)
            )
        }

        seen_groups = {_group(current[key] if key in set(arrived) else stored[key]) for key in current}
        lost = [
            key
            for key in absent
            if key[0] in gone_devices and _group(stored[key]) not in seen_groups | {None} and key not in self.held
        ]
        self.held |= dict.fromkeys(lost, "SCOPE_LOST")

        due = [
            (key, "MOVED" if key in elsewhere else "UNINSTALLED" if key[0] in present else "DEVICE_MISSING")
            for key in absent
            if key not in self.held and (key[0] in present or self.missing[key[0]] >= rules.missing_device_snapshots)
        ]
        doubted = [key for key, why in due if why != "MOVED"]
        reason = None
        if due and rejected:
            reason, doubted = "REJECTED_LINES", [key for key, _ in due]
        elif doubted and self._is_mass(len(doubted), rules):
            reason = "MASS_REMOVAL"
        else:
            self.believed.append((self.generated_at, len(doubted)))
            doubted = []
        self.held |= {key: str(reason) for key in doubted}
        removals = self._aged(self._explained([(key, why) for key, why in due if key not in doubted], current))
        return removals, len(lost) + len(doubted), reason or ("SCOPE_LOST" if lost else None)

    def _is_mass(self, gone: int, rules: Rules) -> bool:
        """Whether that number of removals is too many, with those of the day before."""
        day_before = sum(records for at, records in self.believed if self.generated_at - at < DAY)
        total = len(self.inventory or {}) + day_before
        together = gone + day_before + list(self.held.values()).count("MASS_REMOVAL")
        if gone + day_before < rules.min_removed and 2 * together <= total:
            return False
        return together > Fraction(str(rules.max_removed_share)) * total

    def _explained(self, removals: list[tuple[Key, str]], current: dict[Key, Record]) -> list[tuple[Key, str]]:
        """The removals, with CATALOGUE for a version that left nearly all of its present devices for no other."""
        products = {key[:3] for key in current}
        gone = {key for key, why in removals if why == "UNINSTALLED" and key[:3] not in products}
        left = Counter(key[1:] for key in gone)
        had = Counter(key[1:] for key in self.inventory or {} if key[0] not in self.missing)
        dropped = {version for version, devices in left.items() if devices >= 10 and devices >= 0.9 * had[version]}
        return [(key, "CATALOGUE" if key in gone and key[1:] in dropped else why) for key, why in removals]

    def _aged(self, removals: list[tuple[Key, str]]) -> list[tuple[Key, str]]:
        """The removals, with AGED_OUT for those that say less on devices that were silent for 30 days."""
        seen = {device.lower(): moment for device, moment in self.last_seen.items()}
        now = self.generated_at.replace(tzinfo=UTC)
        silent = {device for device, moment in seen.items() if now - moment >= timedelta(days=30)}
        less = {"UNINSTALLED", "DEVICE_MISSING"}
        return [(key, "AGED_OUT" if key[0].lower() in silent and why in less else why) for key, why in removals]

    def _numbered(self, snapshot_id: str, staged: list[Staged]) -> list[Record]:
        """The changes as they are published, in order: per device, product by product, removals first."""

        def place(change: Staged) -> tuple[Any, ...]:
            device, vendor, name, version = key_of(change[3] or change[2] or {})
            return device, vendor, name, change[0] != "REMOVED", version

        changes = []
        for change_type, reason, before, after in sorted(staged, key=place):
            self.sequence += 1
            record = after or before or {}
            changed = change_type == "CHANGED"
            changes.append(
                record
                | {
                    "eventId": event_id(self.tenant_id, snapshot_id, change_type, self.inventory_name, *key_of(record)),
                    "changeType": change_type,
                    "reason": reason,
                    "changedFields": [
                        item.name
                        for item in SOFTWARE.fields
                        if changed and before and before[item.name] != record[item.name]
                    ],
                    "before": before if changed else None,
                    "isEndOfSupport": " ".join((record["endOfSupportStatus"] or "").split()).lower()
                    in {"eos version", "eos software"},
                    "entraTenantId": self.tenant_id,
                    "inventory": self.inventory_name,
                    "snapshotId": snapshot_id,
                    "previousSnapshotId": self.previous_snapshot_id,
                    "epoch": 1,
                    "sequence": self.sequence,
                    "replayed": False,
                    "connectorVersion": __version__,
                }
            )
        return changes


def fold(log: dict[Key, Record], changes: Iterable[Record]) -> dict[Key, Record]:
    """What a consumer has who applies the published changes in order. Refuses changes that do not fit what it has."""
    for change in changes:
        record = {item.name: change[item.name] for item in SOFTWARE.fields}
        if change["changeType"] == "REMOVED":
            assert log.pop(key_of(record)) == record
            continue
        if change["changeType"] == "CHANGED":
            assert log.pop(key_of(change["before"])) == change["before"]
        assert key_of(record) not in log
        log[key_of(record)] = record
    return log


def event_id(*parts: str) -> str:
    """A UUID of version 5, of the parts with their lengths."""
    return str(uuid.uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts)))


def generation_of(snapshot_id: str) -> datetime:
    """The time in a snapshot's id, such as `cpe-20261123T080000Z`; the earliest time there is where it has none."""
    match = re.search(r"\d{8}T\d{6}", snapshot_id)
    return datetime.strptime(match[0], "%Y%m%dT%H%M%S") if match else datetime.min  # noqa: DTZ007, DTZ901 - always UTC


def _differ(before: Record, after: Record, names: frozenset[str]) -> bool:
    return any(before[name] != after[name] for name in names)


def _group(record: Record) -> Any:
    return record["rbacGroupName"] if record["rbacGroupId"] is None else f"#{record['rbacGroupId']}"
