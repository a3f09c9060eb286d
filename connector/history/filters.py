"""The filters of `changes`, `replay` and the verbs of the past: as words, as values, and as conditions in SQL.

Times are those of the snapshot that showed the change (`observedAt`), from `since` on and before `until`. Patterns
know `*` and `?`, and ignore case. Values are always bound, never written into a statement.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, Final

from connector.errors import ConfigError
from connector.model import ChangeType, Inventory, Reason, StagedSnapshot
from connector.state.lists import patterns
from connector.state.lists.patterns import Bound

UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
TIME_HINT: Final = (
    "Use a date (2026-11-23), a time (2026-11-23T08:00, 2026-11-23T08:00+01:00; UTC unless a zone is given), or an age"
    " (90m, 24h, 7d, 2w)."
)
SOFTWARE_HINT: Final = "Use vendor/product or product, with * and ? as wildcards: oracle/jre, 'oracle/*', 'java*'."
DIGEST_CHARACTERS: Final = 16

_AGO: Final = re.compile(r"(\d{1,6})([mhdw])")
_MONTH: Final = re.compile(r"\d{4}-\d\d")


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters in the user's words.

    Attributes:
        since, until: times, see `parse_time`; "" for no limit. An `until` that is a date includes that day.
        devices: patterns of a device's id, its name, or its name without its domain; one of them has to match.
        software: patterns `vendor/product`, or of the product alone; one of them has to match.
        types, reasons: names of `ChangeType` and `Reason`.
        end_of_support: only changes whose record is out of support.
        snapshots: ids of snapshots.
        inventory: name of an `Inventory`; "" for both.
        groups: patterns of a device group's name, or its number; one of them has to match.
    """

    since: str = ""
    until: str = ""
    devices: tuple[str, ...] = ()
    software: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    end_of_support: bool = False
    snapshots: tuple[str, ...] = ()
    inventory: str = ""
    groups: tuple[str, ...] = ()

    def at(self, now: datetime) -> Selection:
        """The filters as values, with times such as `24h` counted back from `now`.

        Raises:
            ConfigError: a word is no valid value of its filter.
        """
        since = parse_time(self.since, now, option="--since") if self.since else None
        until = parse_time(self.until, now, option="--until", end=True) if self.until else None
        if since and until and since >= until:
            raise ConfigError(f"--since {self.since} is not before --until {self.until}", hint=TIME_HINT)
        return Selection(
            since=since,
            until=until,
            devices=tuple(patterns.stripped(text, "--device", "Give a device's name or id.") for text in self.devices),
            software=tuple(_product_patterns(text) for text in self.software),
            types=tuple(member(ChangeType, text, "--type", "change type") for text in self.types),
            reasons=tuple(member(Reason, text, "--reason", "reason") for text in self.reasons),
            end_of_support=self.end_of_support,
            snapshots=frozenset(self.snapshots),
            inventory=member(Inventory, self.inventory, "--inventory", "inventory") if self.inventory else None,
            groups=tuple(
                patterns.stripped(text, "--group", "Give the name or the number of a device group.")
                for text in self.groups
            ),
        )

    def digest(self, *more: str) -> str:
        """Hex digits that are the same for the same filters, in whatever order and case their words are given."""
        # Without groups, which no replay has, as earlier versions made it.
        lists = (self.devices, self.software, self.types, self.reasons, *([self.groups] if self.groups else []))
        parts = [
            *more,
            *(_canonical_time(text, end=end) for text, end in ((self.since, False), (self.until, True))),
            *(sorted({word.lower() for word in words}) for words in lists),
            self.end_of_support,
            sorted(set(self.snapshots)),
            self.inventory.upper(),
        ]
        return sha256(json.dumps(parts).encode()).hexdigest()[:DIGEST_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters as values. `upto_snapshot`: the highest snapshot number; None for no limit."""

    since: datetime | None = None
    until: datetime | None = None
    devices: tuple[str, ...] = ()
    software: tuple[tuple[str, str], ...] = ()
    types: tuple[ChangeType, ...] = ()
    reasons: tuple[Reason, ...] = ()
    end_of_support: bool = False
    snapshots: frozenset[str] = frozenset()
    inventory: Inventory | None = None
    upto_snapshot: int | None = None
    groups: tuple[str, ...] = ()

    def admits(self, snapshot: StagedSnapshot) -> bool:
        """Whether a snapshot may have changes that are asked for; decided from its row alone."""
        return (
            (self.since is None or snapshot.observed_at >= self.since)
            and (self.until is None or snapshot.observed_at < self.until)
            and (not self.snapshots or snapshot.snapshot_id in self.snapshots)
            and (self.inventory is None or snapshot.inventory is self.inventory)
            and (self.upto_snapshot is None or snapshot.snapshot_no <= self.upto_snapshot)
            and any(snapshot.counts.by_type[kind] for kind in self.types or tuple(ChangeType))
        )

    def condition(self) -> tuple[str, dict[str, object]]:
        """The filters that a change itself has to meet: an expression over `changes`, and its named parameters."""
        bind = Bound()
        parts = [
            *self._of_records(bind),
            patterns.any_of(f"change_type = {bind(kind.value)}" for kind in self.types),
            patterns.any_of(f"reason = {bind(reason.value)}" for reason in self.reasons),
            "is_end_of_support" if self.end_of_support else "",
        ]
        return patterns.all_of(parts), bind.parameters

    def record_condition(self) -> tuple[str, dict[str, object]]:
        """The filters by device, group and product alone: an expression over the columns of records, as `condition`."""
        bind = Bound()
        return patterns.all_of(self._of_records(bind)), bind.parameters

    def _of_records(self, bind: Bound) -> list[str]:
        return [
            patterns.any_of(patterns.is_device(pattern, bind) for pattern in self.devices),
            patterns.any_of(patterns.is_group(pattern, bind) for pattern in self.groups),
            patterns.any_of(_is_software(vendor, product, bind) for vendor, product in self.software),
        ]


def parse_time(text: str, now: datetime, *, option: str, end: bool = False) -> datetime:
    """A time in the user's words, in UTC.

    A date or a month stands for its beginning, or, with `end`, for its end.

    Raises:
        ConfigError: it is not a valid time.
    """
    try:
        if ago := _AGO.fullmatch(text.strip().lower()):
            return now - int(ago[1]) * UNITS[ago[2]]
        return _parse_absolute(text.strip(), end=end)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{option} {text}: not a valid time", hint=TIME_HINT) from error


def _parse_absolute(text: str, *, end: bool) -> datetime:
    if _MONTH.fullmatch(text):
        first = date.fromisoformat(f"{text}-01")
        return _midnight((first + timedelta(days=31)).replace(day=1) if end else first)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        time_of_day = datetime.fromisoformat(text)
        return time_of_day.replace(tzinfo=UTC) if time_of_day.tzinfo is None else time_of_day.astimezone(UTC)
    return _midnight(day + timedelta(days=1) if end else day)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _canonical_time(text: str, *, end: bool) -> str:
    """A time as it goes into a digest: the same for two ways of writing one time; unchanged where it is relative."""
    try:
        return _parse_absolute(text.strip(), end=end).isoformat()
    except (ValueError, OverflowError):
        return text.strip().lower()


def member(kind: Any, text: str, option: str, noun: str) -> Any:  # noqa: ANN401 - of one of several enumerations
    """The member of an enumeration that a word names, in any case, with `-` or `_`.

    Raises:
        ConfigError: there is none.
    """
    try:
        return kind(text.upper().replace("-", "_"))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: no such {noun}", hint=f"Use one of {', '.join(kind)}.") from error


def _product_patterns(text: str) -> tuple[str, str]:
    """Patterns of vendor and product; `*` where one is not given."""
    vendor, slash, product = patterns.stripped(text, "--software", SOFTWARE_HINT).partition("/")
    return (vendor or "*", product or "*") if slash else ("*", vendor)


def _is_software(vendor: str, product: str, bind: Bound) -> str:
    parts = [
        patterns.matches(column, pattern, bind)
        for column, pattern in (("software_name", product), ("software_vendor", vendor))
        if pattern != "*"
    ]
    return f"({' AND '.join(parts)})" if parts else "true"
