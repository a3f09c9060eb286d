"""Serves the snapshots of `snapshots` as the simulator serves a fleet: over HTTPS, as files and as JSON pages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from connector.model import Inventory, Method
from connector.simulator import Fleet, Simulator
from connector.simulator.export import ExportGeneration, ExportPart, Exports
from tests.benchmarks.snapshots import APART, Size, write_parts


class MadeFleet(Fleet):
    """What the simulator wants to know of a fleet: only the times of its generations are ever asked for.

    Attributes:
        size: of each snapshot.
        touched: how far the fleet has come in each generation; see `snapshots`.
    """

    size: Size
    touched: Sequence[int]


class _MadeGeneration(ExportGeneration):
    """A generation that `snapshots` writes. One that has come no further than another has the same files."""

    _fleet: MadeFleet

    def _write(self, inventory: Inventory, method: Method) -> tuple[ExportPart, ...]:
        assert inventory is Inventory.CPE
        touched = self._fleet.touched[self.number]
        folder = self._folder.parent / f"{method}-{touched}"
        pages = method is Method.JSON
        return tuple(
            ExportPart(part.path, f"part-{number:05}-{self.number:04}.c000.json.gz", number, part.lines, part.blocks)
            for number, part in enumerate(write_parts(folder, self._fleet.size, touched, pages=pages))
        )

    def remove(self) -> None:
        """Delete the files, unless later generations have them too."""
        super().remove()
        touched = self._fleet.touched[self.number]
        if touched not in self._fleet.touched[self.number + 1 :]:
            for method in Method:
                shutil.rmtree(self._folder.parent / f"{method}-{touched}", ignore_errors=True)


class _MadeExports(Exports):
    """The generations of a `MadeFleet`."""

    fleet: MadeFleet

    def _make(self, number: int) -> ExportGeneration:
        return _MadeGeneration(self.fleet, number, self._folder / f"{number}", records_of_part_max=0)


def serve(size: Size, touched: Sequence[int]) -> Simulator:
    """A simulator of snapshots: one after the other, each as far as its number says. A context, as every simulator."""
    # No generation may be dated ahead of the clock.
    start = (datetime.now(UTC) - APART * (len(touched) + 1)).replace(second=0, microsecond=0)
    fleet = MadeFleet(seed=1, devices=5, start=start, interval=APART)
    fleet.size, fleet.touched = size, touched
    return Simulator(fleet, exports=_MadeExports)


def files_of(simulator: Simulator) -> list[Path]:
    """The files of the generation that is served."""
    return [part.path for part in simulator._exports.current.parts(Inventory.CPE, Method.FILES)]
