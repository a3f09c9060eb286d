"""A fleet of devices whose software evolves: a pure function of seed, device number and generation.

Software is installed, upgraded, downgraded, removed, and installed in several versions side by side; devices join,
leave, return and change their group. No state is kept per device, so a fleet of any size costs no memory, and any
generation can be computed at any time.

Every event repeats with its own period and a phase that is drawn for each device and product: whether something is
installed in generation n depends on where n falls in the period. So no generation depends on the one before.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from connector.errors import ConfigError
from connector.model import Inventory
from connector.simulator.fleet.tracks import Candidate, Catalogue, Track, make_catalogue

DEVICES_MAX: Final = 1_000_000
GENERATION_INTERVAL: Final = timedelta(hours=6)

GROUPS: Final[dict[str, tuple[tuple[int, str | None], ...]]] = {
    "w": ((3, "Workstations EMEA"), (4, "Workstations Americas"), (9, "Executives"), (0, "UnassignedGroup")),
    "s": ((12, "Servers"), (14, "Serveurs DMZ (Genève)"), (0, "UnassignedGroup")),
    "m": ((21, "macOS"), (9, "Executives"), (0, "UnassignedGroup")),
    "l": ((12, "Servers"), (17, "Linux"), (18, None)),
}
"""Device groups by kind of device; one has no name."""

_KINDS_OF_256: Final = "w" * 159 + "s" * 36 + "m" * 25 + "l" * 36
_PLATFORMS: Final = {
    "windows_10": "Windows10",
    "windows_11": "Windows11",
    "windows_server_2012_r2": "WindowsServer2012R2",
    "windows_server_2016": "WindowsServer2016",
    "windows_server_2019": "WindowsServer2019",
    "windows_server_2022": "WindowsServer2022",
    "windows_server_2025": "WindowsServer2025",
    "macos": "macOS",
}
_SITES: Final = ("ber", "par", "nyc", "sin", "lon", "gva")
_USERS: Final = ("a.martin", "b.schulz", "c.nguyen", "d.rossi", "e.novak", "f.garcia", "g.smith", "h.ito", "i.okafor")

# Lengths of cycles in generations, at churn 1: at least the first value, plus up to the spread.
_LIFE, _LIFE_SPREAD, _GAP = 1800, 1500, 2
_ABSENCE, _ABSENCE_SPREAD = 900, 900
_GROUP_PERIOD, _GROUP_SPREAD = 1800, 1500
_BRANCH_PERIOD: Final = 2600
_SILENT: Final = timedelta(days=30)
_LISTED: Final = timedelta(days=180)
_RENEWAL, _RENEWAL_SPREAD = 250, 1023


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is in one generation.

    Attributes:
        shelf: the software it chooses from, see `tracks.SHELVES`.
        platform: as in the API's `osPlatform`; None for some.
        born: the generation in which it first appeared; negative: before the fleet's start.
        user: the user name in its paths.
    """

    number: int
    incarnation: int
    device_id: str
    name: str | None
    shelf: str
    system: Candidate
    platform: str | None
    group_id: int
    group_name: str | None
    born: int
    user: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What Defender knows of a device itself, whether the export has it or not.

    Attributes:
        last_seen: when its sensor reported last.
    """

    device: Device
    last_seen: datetime
    is_onboarded: bool


@dataclass(frozen=True, slots=True)
class _Periods:
    """The lengths of the devices' cycles in generations, divided by the churn."""

    life: int
    life_spread: int
    absence: int
    absence_spread: int
    group: int
    group_spread: int
    branch: int
    renewal: int
    renewal_spread: int


Install = tuple[Track, int, int, int]
"""Track, release, the generation in which it arrived, and when within that generation, 0..63."""


class Fleet:
    """Devices and their software, generation by generation.

    Args:
        seed: the same seed gives the same fleet.
        devices: number of devices, 1 to 1,000,000; some are absent at any time.
        start: time of generation 0; seconds are dropped, since page tokens name generations to the minute.
        interval: simulated time between two generations, in whole minutes.
        churn: 1.0 changes about 1 % of the records from one generation to the next; 5.0 about five times as many.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        seed: int,
        devices: int,
        start: datetime,
        interval: timedelta = GENERATION_INTERVAL,
        churn: float = 1.0,
    ) -> None:
        _check(devices, start, interval, churn)
        self.seed = seed
        self.devices = devices
        self.start = start.astimezone(UTC).replace(second=0, microsecond=0)
        self.interval = interval
        self.churn = churn
        self.catalogue: Catalogue = make_catalogue(seed, churn=churn, start=self.start.date())
        lengths = (
            *(_LIFE, _LIFE_SPREAD, _ABSENCE, _ABSENCE_SPREAD, _GROUP_PERIOD, _GROUP_SPREAD),
            *(_BRANCH_PERIOD, _RENEWAL, _RENEWAL_SPREAD),
        )
        self._periods = _Periods(*(max(8, round(length / churn)) for length in lengths))

    def generated_at(self, generation: int) -> datetime:
        """The time of a generation, in UTC, whole minutes."""
        return self.start + generation * self.interval

    def devices_at(self, generation: int) -> Iterator[Device]:
        """The devices of a generation, ordered by number."""
        for number in range(self.devices):
            device = self.device(number, generation)
            if device is not None:
                yield device

    def device(self, number: int, generation: int) -> Device | None:
        """One device as it is in a generation; None while it is absent."""
        periods = self._periods
        cycles = self._draw(f"{number}/cycles", 1)[0]
        life = periods.life + (cycles & 0xFFFF) % periods.life_spread
        lived = generation + (cycles >> 16) % life
        if lived % life < _GAP and lived >= _GAP:
            return None
        absence = periods.absence + (cycles >> 32 & 0xFFFF) % periods.absence_spread
        absent = 1 + (cycles >> 48 & 7)
        if (generation + (cycles >> 20) % absence) % absence < min(absent, absence // 3):
            return None
        return self._incarnation(number, lived // life, generation, generation - lived % life + _GAP)

    def machines_at(self, generation: int) -> Iterator[Machine]:
        """What Defender knows of the devices themselves in a generation, ordered by number.

        A device that is absent from the export stays listed, and so does one that was replaced, for 180 days. Every
        second device that will be absent falls silent first, 30 days before it vanishes; the others leave at once, as
        a device does that is excluded.
        """
        for number in range(self.devices):
            yield from self._machines(number, generation)

    def _machines(self, number: int, generation: int) -> Iterator[Machine]:
        periods, month = self._periods, -(-_SILENT // self.interval)
        cycles = self._draw(f"{number}/cycles", 1)[0]
        life = periods.life + (cycles & 0xFFFF) % periods.life_spread
        lived = generation + (cycles >> 16) % life
        age = lived % life
        absence = periods.absence + (cycles >> 32 & 0xFFFF) % periods.absence_spread
        position = (generation + (cycles >> 20) % absence) % absence
        is_absent = position < min(1 + (cycles >> 48 & 7), absence // 3)
        falls_silent = bool(cycles >> 51 & 1)
        vanishes = generation - position + (0 if is_absent else absence)
        seen = min(generation, vanishes - month if falls_silent else vanishes)
        if age >= _GAP or lived < _GAP:
            device = self._incarnation(number, lived // life, generation, generation - age + _GAP)
            yield Machine(device, self.generated_at(seen), is_onboarded=falls_silent or not is_absent)
        if lived >= life and age <= _LISTED // self.interval:
            left = generation - age - 1
            device = self._incarnation(number, lived // life - 1, left, left - life + 1 + _GAP)
            yield Machine(device, self.generated_at(left), is_onboarded=False)

    def installs(self, device: Device, generation: int, inventory: Inventory) -> list[Install]:
        """What is installed on a device in a generation."""
        candidates = self.catalogue.software[inventory, device.shelf]
        if inventory is Inventory.CPE:
            candidates = (device.system, *candidates)
        draws = self._draw(f"{device.number}/{device.incarnation}/{inventory.value}", 2 * len(candidates))
        installed: list[Install] = []
        pairs = iter(draws)
        for candidate, x, y in zip(candidates, pairs, pairs, strict=False):
            if x & 0xFFFF < candidate.threshold:
                self._evolve(candidate, x >> 16, y, generation, device.born, installed)
        return installed

    def _evolve(
        self, candidate: Candidate, x: int, y: int, generation: int, born: int, installed: list[Install]
    ) -> None:
        """Append the releases of one candidate on one device, given its two draws (48 and 64 random bits).

        Appends to `installed` instead of yielding, and takes its draws as numbers: this is the hot loop.
        """
        periods = self._periods
        arrived = born
        if candidate.renews and x & 1:
            # Every second product comes and goes: installed for five sixths of its period, then absent.
            period = periods.renewal + (x >> 1 & 0xFFFF) % periods.renewal_spread
            position = (generation + (x >> 17)) % period
            if position >= period * 5 // 6:
                return
            arrived = max(arrived, generation - position)
        track = candidate.tracks[y & 0xFF]
        if candidate.moves:
            turns, since = divmod(generation + (y >> 8 & 0xFFFF) % periods.branch, periods.branch)
            if turns > 0:
                current = candidate.path.index(track)
                following = min(current + turns, len(candidate.path) - 1)
                if following > current:
                    track = candidate.path[following]
                    arrived = max(arrived, generation - since)
        offset = y >> 58
        release, came, before = _release(track, x >> 33, y >> 24, generation)
        installed.append((track, release, max(arrived, came), offset))
        copies = min(candidate.copies - 1, (0, 0, 1, 1, 1, 2, 2, 3)[y >> 55 & 7])
        if not copies and candidate.keeps_old and generation - came < 2 + (y >> 50 & 15):
            copies = 1
        for behind in range(1, copies + 1):
            if release - behind < 0:
                break
            installed.append((track, release - behind, max(arrived, before - (behind - 1) * track.cadence), offset))

    def _incarnation(self, number: int, incarnation: int, generation: int, born: int) -> Device:
        """The device that has a number now; a number is reused after its device has left for good."""
        periods = self._periods
        draw, other = self._draw(f"{number}/{incarnation}/device", 2)
        kind = _KINDS_OF_256[draw & 0xFF]
        systems = self.catalogue.systems[kind]
        system = _choose_system(systems, draw >> 8 & 0xFFFF)
        name = system.path[0].product.name
        if name == "windows_10" and generation + (other & 0xFFFF) % (2 * periods.branch) >= 2 * periods.branch:
            system, name = systems[1], "windows_11"
        groups = GROUPS[kind]
        period = periods.group + (other >> 16 & 0xFFFF) % periods.group_spread
        turns = (generation + (other >> 32 & 0xFFFF) % period) // period
        # Half of all devices are in their kind's first group, the others spread over all of them.
        home = 0 if draw >> 24 & 1 else (draw >> 25 & 0xFF) % len(groups)
        group_id, group_name = groups[(home + turns) % len(groups)]
        device_id = hashlib.sha1(f"{self.seed}/{number}/{incarnation}".encode(), usedforsecurity=False).hexdigest()
        site = _SITES[(draw >> 33 & 0xFF) % len(_SITES)]
        host = f"{_HOST_PREFIXES[kind]}-{site}-{number:05d}" + (f"-{incarnation}" if incarnation else "")
        return Device(
            number=number,
            incarnation=incarnation,
            device_id=device_id,
            name=None if draw >> 41 & 0x3F == 0 else f"{host}.corp.example",
            shelf=_LINUX_SHELVES.get(name, kind),
            system=system,
            platform=None if draw >> 47 & 0x3F == 0 else _PLATFORMS.get(name, "Linux"),
            group_id=group_id,
            group_name=group_name,
            born=born if incarnation else -(100 + (other >> 48 & 0xFF)),
            user=_USERS[(draw >> 53) % len(_USERS)],
        )

    def _draw(self, name: str, numbers: int) -> tuple[int, ...]:
        """Random 64-bit numbers that depend only on the seed and the name, on every platform and Python version."""
        stream = hashlib.shake_128(f"{self.seed}/{name}".encode()).digest(8 * numbers)
        return struct.unpack(f"<{numbers}Q", stream)


_LINUX_SHELVES: Final = {
    "enterprise_linux": "rpm",
    "linux_enterprise_server": "rpm",
    "ubuntu_linux": "deb",
    "debian_linux": "deb",
}
_HOST_PREFIXES: Final = {"w": "lt", "s": "srv", "m": "mac", "l": "lnx"}

_TRIAL: Final = 2
"""Generations after which a disappointing release is rolled back."""


def _release(track: Track, x: int, y: int, generation: int) -> tuple[int, int, int]:
    """The release a device has of a track, when it arrived, and when the one before it arrived.

    Draws: `x` 15 bits, `y` 26 bits. One device in nine never upgrades; after one upgrade in sixteen the device returns
    to the previous release for some generations, as people do when a release disappoints them.
    """
    long_ago = -(40 + (x & 0x7FFF) % 1200)
    if track.ended or (y & 7 == 0 and y & 0x38 != 0):
        return max(0, track.base - (y >> 6 & 3) // 2), long_ago, long_ago - track.cadence
    cadence = track.cadence
    lag = (x & 0x3FF) * cadence >> 9
    step, age = divmod(generation + track.phase - lag, cadence)
    release = track.base + step
    came = generation - age
    if y >> 8 & 15 == 0 and _TRIAL <= age < 2 * _TRIAL + (y >> 12 & 7) and age + 1 < cadence and release > 0:
        return release - 1, came + _TRIAL, came - cadence
    return (release, came, came - cadence) if release > 0 else (0, long_ago, long_ago)


def _choose_system(systems: tuple[Candidate, ...], draw: int) -> Candidate:
    """Choose an operating system by the systems' shares."""
    total = 0
    for system in systems:
        total += max(system.path[0].product.shares.values())
        if draw * 100 < total << 16:
            return system
    return systems[-1]


def _check(devices: int, start: datetime, interval: timedelta, churn: float) -> None:
    problems = {
        f"devices is {devices}": not 1 <= devices <= DEVICES_MAX,
        f"start {start} has no time zone": start.tzinfo is None,
        f"interval is {interval}": interval < timedelta(minutes=1) or interval % timedelta(minutes=1) != timedelta(0),
        f"churn is {churn}": not 0.01 <= churn <= 100,  # noqa: PLR2004 - the hint says so
    }
    present = [problem for problem, is_present in problems.items() if is_present]
    if present:
        raise ConfigError(
            f"a simulated fleet cannot be created: {', '.join(present)}",
            hint=f"Allowed: 1 to {DEVICES_MAX:,} devices, a start with a time zone, whole minutes between generations,"
            " churn 0.01 to 100.",
        )
