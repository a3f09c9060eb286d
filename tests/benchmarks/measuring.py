"""Figures of one step, taken in a separate process, so that neither time nor memory is another step's."""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, TextIO

LAUNCHER: Final = Path(__file__).with_name("launching.py")
YARDSTICK: Final = "zcat | wc -l"
UNPACK: Final = ("sh", "-c", 'zcat "$@" | wc -l', "sh")
"""Followed by the files. Nothing is written, and both processes count."""


class CommandFailed(Exception):
    """A command ended with another exit code than 0."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of processor and clock, peak resident memory of the whole process in MiB, and what the step returned."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: int
    result: Any


def measure(step: Callable[..., Any], *arguments: object) -> Figures:
    """Run a step (a function of a module) in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, step, arguments).result()


def best(measured: Iterable[Figures]) -> Figures:
    """The quickest of several by processor time, with the largest peak of memory: others use the machine too."""
    figures = sorted(measured, key=lambda figure: figure.cpu_seconds)
    return Figures(
        figures[0].cpu_seconds,
        min(figure.wall_seconds for figure in figures),
        max(figure.peak_mib for figure in figures),
        figures[0].result,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One measured command: seconds of wall clock and CPU, MiB at the peak, bytes that it wrote to files and pipes."""

    name: str
    wall_seconds: float
    cpu_seconds: float
    peak_mib: int
    written_bytes: int
    note: str = ""
    yardstick: Row | None = None

    def times_yardstick(self, figure: str) -> float | None:
        """How many times the yardstick beside it; None where there is none."""
        return None if self.yardstick is None else getattr(self, figure) / max(getattr(self.yardstick, figure), 0.001)


def read_whole(out: TextIO) -> str:
    """All that a process printed."""
    return out.read()


def measure_command(
    name: str,
    arguments: Sequence[str],
    *,
    note: str = "",
    yardstick: Row | None = None,
    read: Callable[[TextIO], str] = read_whole,
) -> tuple[Row, str]:
    """Run a command to its end. Returns its figures, and what it printed, or what `read` makes of it."""
    with TemporaryDirectory() as folder, (Path(folder) / "out").open("w+", encoding="utf-8") as out:
        path = Path(folder) / "report"
        subprocess.run([sys.executable, "-I", "-S", str(LAUNCHER), str(path), *arguments], stdout=out, check=True)
        out.seek(0)
        printed = read(out)
        report = json.loads(path.read_text(encoding="ascii"))
    exit_code = report.pop("exit_code")
    if exit_code:
        raise CommandFailed(f"{name} failed with exit code {exit_code}: {printed[-2000:]}")
    return Row(name, **report, note=note, yardstick=yardstick), printed


def measure_yardstick(paths: Iterable[Path]) -> Row:
    """Plain decompression of some files."""
    return measure_command(YARDSTICK, [*UNPACK, *map(str, paths)])[0]


COLUMNS: Final = ("step", "runs", "CPU s", "clock s", "CPU x zcat", "clock x zcat", "peak MiB", "written MB")


def medians(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """A line of `COLUMNS` for each name: medians, of memory the largest, and ratios to the yardstick beside each."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return [
        (
            name,
            str(len(same)),
            f"{median(row.cpu_seconds for row in same):.2f}",
            f"{median(row.wall_seconds for row in same):.2f}",
            *(_median_ratio(same, figure) for figure in ("cpu_seconds", "wall_seconds")),
            f"{max(row.peak_mib for row in same):,}",
            f"{median(row.written_bytes for row in same) / 1e6:,.0f}",
        )
        for name, same in by_name.items()
    ]


def print_table(title: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people: text to the left, figures to the right."""
    cells = [[str(cell) for cell in row] for row in (names, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(names))]
    print(f"\n{title}\n")
    for row in cells:
        head, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(widths[0]), *rest]) if head else "")
    print(flush=True)


def _median_ratio(rows: Sequence[Row], figure: str) -> str:
    ratios = [ratio for row in rows if (ratio := row.times_yardstick(figure)) is not None]
    return f"{median(ratios):.2f}" if ratios else ""


def _measured(step: Callable[..., Any], arguments: tuple[object, ...]) -> Figures:
    begun, before = time.perf_counter(), _cpu_seconds()
    result = step(*arguments)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Figures(_cpu_seconds() - before, time.perf_counter() - begun, peak_kib // 1024, result)


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
