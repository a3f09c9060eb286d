"""Figures of one step, taken in a separate process, so that neither time nor memory is another step's."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any


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


def print_table(title: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people: text to the left, figures to the right."""
    cells = [[str(cell) for cell in row] for row in (names, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(names))]
    print(f"\n{title}\n")
    for row in cells:
        head, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(widths[0]), *rest]) if head else "")
    print(flush=True)


def _measured(step: Callable[..., Any], arguments: tuple[object, ...]) -> Figures:
    begun, before = time.perf_counter(), _cpu_seconds()
    result = step(*arguments)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Figures(_cpu_seconds() - before, time.perf_counter() - begun, peak_kib // 1024, result)


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
