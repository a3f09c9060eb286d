"""The release calendar of one fleet: the newest release of each product in a generation, and its weaknesses.

A pure function of seed, churn and generation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from connector.model import Inventory
from connector.simulator.fleet.catalogue import KINDS, Branch, Product, read_products

GENERATIONS_PER_DAY: Final = 4
"""The catalogue's cadences are in days of four generations, regardless of the fleet's interval."""

RELEASES_APART: Final = 1 << 24
"""`Track.number` times this, plus a release, identifies a version of a product by one integer."""

SHELVES: Final = {"w": "w", "s": "s", "m": "m", "rpm": "l", "deb": "l"}
"""The shelves that devices choose from, each with the kind whose shares count. Linux has RPM and Debian packages."""

_TABLES: Final = {Inventory.CPE: ("windows", "macos", "linux"), Inventory.NON_CPE: ("non_cpe",)}

_UNFIT: Final = {
    "rpm": re.compile(r"ubuntu|dfsg|build|deb|~2[24]\.04"),
    "deb": re.compile(r"\.el\d|module_el|el8ae"),
}
"""Versions that a shelf does not have."""

_WEAKNESSES_MAX: Final = 400
_FINDINGS: Final = 7
_DRAWS: Final = 256
_INCLUDED: Final = 1 << 16
_COPIES_MAX: Final = 4
_PERMANENT_SHARE: Final = 98
"""A product that this many of 100 devices have belongs to the system and is never removed."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One branch of a product, with its release calendar.

    Attributes:
        number: unique in the fleet.
        base: the newest release in generation 0, before the phase.
        cadence: generations between releases.
        phase: generations by which the calendar is shifted, in [0, cadence).
        ended: whether there are no further releases.
        severity: weaknesses found in a release for each later release; 0: none ever.
        findings: generations between further weaknesses found in all releases at once.
    """

    number: int
    product: Product
    branch: Branch
    base: int
    cadence: int
    phase: int
    ended: bool
    severity: int
    findings: int

    def newest(self, generation: int) -> int:
        """The newest release in a generation."""
        return self.base if self.ended else self.base + (generation + self.phase) // self.cadence

    def weaknesses(self, release: int, generation: int) -> int:
        """Known weaknesses of a release, the same on every device that has it."""
        findings = self.newest(generation) - release + (generation + self.phase) // self.findings % _FINDINGS
        return min(_WEAKNESSES_MAX, self.severity * max(0, findings))


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A product that a device of a kind may have.

    Attributes:
        threshold: how many of 65,536 devices have it.
        tracks: the branch a device has, by a draw of 0..255.
        path: the branches, oldest first.
        moves: whether devices move to the next branch of `path` after a time.
        renews: whether half of the devices remove it and install it again from time to time.
        copies: how many releases may be installed side by side.
        keeps_old: whether the old release remains for a while after an upgrade.
    """

    threshold: int
    tracks: tuple[Track, ...]
    path: tuple[Track, ...]
    moves: bool
    renews: bool
    copies: int
    keeps_old: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The software that devices may have, by inventory and shelf, and their operating systems, by kind."""

    software: Mapping[tuple[Inventory, str], tuple[Candidate, ...]]
    systems: Mapping[str, tuple[Candidate, ...]]


def make_catalogue(seed: int, *, churn: float, start: date) -> Catalogue:
    """Make the catalogue of a fleet, the same for the same seed, churn and start."""
    calendar = _Calendar(seed, churn, start)
    systems = {kind: calendar.candidates(read_products("systems"), kind, permanent=True) for kind in KINDS}
    products = {
        inventory: [product for table in tables for product in read_products(table)]
        for inventory, tables in _TABLES.items()
    }
    software = {
        (inventory, shelf): calendar.candidates(products[inventory], shelf)
        for inventory in Inventory
        for shelf in SHELVES
    }
    return Catalogue(software, systems)


class _Calendar:
    """Makes tracks and candidates, and numbers the tracks."""

    def __init__(self, seed: int, churn: float, start: date) -> None:
        self._seed = seed
        self._churn = churn
        self._start = start
        self._by_product: dict[int, tuple[Track, ...]] = {}
        self._track_count = 0

    def candidates(self, products: Iterable[Product], shelf: str, *, permanent: bool = False) -> tuple[Candidate, ...]:
        kind = SHELVES.get(shelf, shelf)
        unfit = _UNFIT.get(shelf)
        candidates: list[Candidate] = []
        for product in products:
            tracks = self._tracks_of(product) if product.shares.get(kind) else ()
            fit = tuple(track for track in tracks if unfit is None or not unfit.search(track.branch.versions[-1]))
            if fit:
                candidates += self._candidates_of(product, fit, product.shares[kind], permanent=permanent)
        return tuple(candidates)

    def _candidates_of(
        self, product: Product, tracks: tuple[Track, ...], share: int, *, permanent: bool
    ) -> list[Candidate]:
        renews = not permanent and share < _PERMANENT_SHARE
        if product.side_by_side:
            threshold = int(_INCLUDED * (1 - (1 - share / 100) ** 1.8))
            return [
                Candidate(
                    threshold=threshold,
                    tracks=(track,) * _DRAWS,
                    path=(track,),
                    moves=False,
                    renews=renews,
                    copies=_COPIES_MAX,
                    keeps_old=product.keeps_old,
                )
                for track in tracks
            ]
        # The shares are those of the product in the field; devices of this fleet have somewhat more of everything.
        threshold = _INCLUDED if permanent else int(_INCLUDED * (1 - (1 - share / 100) ** 2.7))
        moves = len(tracks) > 1
        return [Candidate(threshold, _spread(tracks), tracks, moves, renews, 1, product.keeps_old)]

    def _tracks_of(self, product: Product) -> tuple[Track, ...]:
        tracks = self._by_product.get(id(product))
        if tracks is None:
            tracks = tuple(self._make_track(product, position) for position in range(len(product.branches)))
            self._by_product[id(product)] = tracks
            self._track_count += len(tracks)
        return tracks

    def _make_track(self, product: Product, position: int) -> Track:
        branch = product.branches[position]
        name = f"{self._seed}/{product.key}/{sorted(product.shares)}/{position}"
        draw = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "big")
        ended = branch.end_of_support is not None and branch.end_of_support <= self._start
        cadence = self._scale(product.cadence_days * GENERATIONS_PER_DAY * (0.8 + (draw & 0xFF) / 640))
        return Track(
            number=self._track_count + position,
            product=product,
            branch=branch,
            base=len(branch.versions) - 1 if ended else max(0, len(branch.versions) - 2),
            cadence=cadence,
            phase=(draw >> 8 & 0xFFFF) % cadence,
            ended=ended,
            severity=(0, 0, 1, 1, 2, 3, 1, 5)[draw >> 24 & 7] + (1 if ended else 0),
            findings=self._scale(600 + (draw >> 27 & 0x3FF)),
        )

    def _scale(self, generations: float) -> int:
        return max(3, round(generations / self._churn))


def _spread(tracks: tuple[Track, ...]) -> tuple[Track, ...]:
    """Spread the tracks over the draws 0..255 by their weights."""
    total = sum(track.branch.weight for track in tracks)
    spread: list[Track] = []
    weight = 0
    for track in tracks:
        weight += track.branch.weight
        spread += [track] * (weight * _DRAWS // total - len(spread))
    return tuple(spread)
