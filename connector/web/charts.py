"""Where the shapes of a chart are; templates draw them as SVG, and a table beside them says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

SERIES_MAX: Final = 7
"""Versions with a colour of their own; the rest is one."""
WIDTH: Final = 720
HEIGHT: Final = 200
OTHER: Final = "others"
CELL: Final = 22
"""A day of a calendar with the gap beside it."""
LEVELS: Final = 4
BARS_MIN: Final = 20
"""A few bars are no wider than these many would be."""


@dataclass(frozen=True, slots=True)
class Series:
    """One layer of a stacked chart: its name, its colour, the outline of its area, and its newest number."""

    name: str
    colour: int
    path: str
    newest: int


@dataclass(frozen=True, slots=True)
class Stack:
    """A stacked chart, the lowest layer first."""

    series: tuple[Series, ...]
    most: int
    first_day: str
    last_day: str
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its place and size, and what it stands for."""

    left: float
    top: float
    width: float
    height: float
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a calendar: its place, how dark it is (0: nothing), and what it stands for."""

    left: float
    top: float
    level: int
    label: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days in columns of weeks, Monday first, with the name of each month above its first whole week."""

    days: tuple[Day, ...]
    months: tuple[tuple[float, str], ...]
    width: int
    height: int
    size: float = CELL - 3


def stack(rows: Sequence[Mapping[str, Any]]) -> Stack | None:
    """A chart of `devices` by `version` and `day`: each day is a step as wide as the time until the next one."""
    days = sorted({row["day"] for row in rows})
    if not days:
        return None
    numbers: dict[str, dict[str, int]] = {}
    for row in rows:
        numbers.setdefault(row["version"], {})[row["day"]] = row["devices"]
    ranked = sorted(numbers, key=lambda name: (-max(numbers[name].values()), name))
    shown = ranked[:SERIES_MAX]
    layers = {name: numbers[name] for name in shown}
    if rest := ranked[SERIES_MAX:]:
        layers[OTHER] = {day: sum(numbers[name].get(day, 0) for name in rest) for day in days}
    most = max(sum(layer.get(day, 0) for layer in layers.values()) for day in days) or 1
    edges = _edges(days)
    floor = dict.fromkeys(days, 0)
    series = []
    for colour, (name, layer) in enumerate(layers.items()):
        ceiling = {day: floor[day] + layer.get(day, 0) for day in days}
        path = _area([floor[day] / most for day in days], [ceiling[day] / most for day in days], edges)
        series.append(Series(name, colour, path, layer.get(days[-1], 0)))
        floor = ceiling
    return Stack(tuple(series), most, days[0], days[-1])


def bars(rows: Sequence[Mapping[str, Any]], label: str, kinds: Sequence[str], height: int) -> tuple[Bar, ...]:
    """A bar for each row, of the numbers of each kind one above the other; the highest takes the whole height."""
    most = max((sum(row[kind] for kind in kinds) for row in rows), default=0) or 1
    step = WIDTH / max(len(rows), BARS_MIN)
    drawn = []
    for number, row in enumerate(rows):
        bottom = float(height)
        for kind in kinds:
            tall = row[kind] / most * height
            bottom -= tall
            if tall:
                text = f"{row[label]}: {row[kind]:,} {kind}"
                drawn.append(Bar(number * step, bottom, max(step - 2, 0.5), tall, text, kind))
    return tuple(drawn)


def calendar(rows: Sequence[Mapping[str, Any]], label: str, number: str, today: str, days: int) -> Calendar:
    """The days after `today`: a row's day is the darker the larger its number is beside the largest."""
    begin = date.fromisoformat(today)
    monday = begin - timedelta(days=begin.weekday())
    numbers = {row[label]: int(row[number]) for row in rows}
    most = max(numbers.values(), default=0) or 1
    cells, months = [], []
    for offset in range((begin - monday).days + 1, (begin - monday).days + days + 1):
        day, week = monday + timedelta(days=offset), offset // 7
        worth = numbers.get(str(day), 0)
        text = f"{day}: {worth:,} {number}" if worth else f"{day}: none"
        cells.append(Day(week * CELL, CELL + day.weekday() * CELL, -(-worth * LEVELS // most), text))
        if day.day == 1:
            months.append((week * CELL if day.weekday() == 0 else (week + 1) * CELL, f"{day:%b}"))
    return Calendar(tuple(cells), tuple(months), round(cells[-1].left) + CELL, CELL * 8)


def _edges(days: Sequence[str]) -> list[float]:
    """Where the step of each day begins, and where the last one ends."""
    numbers = [date.fromisoformat(day).toordinal() for day in days]
    span = numbers[-1] + 1 - numbers[0]
    return [(number - numbers[0]) / span * WIDTH for number in (*numbers, numbers[-1] + 1)]


def _area(floors: Sequence[float], ceilings: Sequence[float], edges: Sequence[float]) -> str:
    """The outline of an area between two lines of steps."""
    there = [
        f"{'L' if number else 'M'}{edges[number]:.1f} {_y(level)}H{edges[number + 1]:.1f}"
        for number, level in enumerate(ceilings)
    ]
    back = [
        f"L{edges[number + 1]:.1f} {_y(floors[number])}H{edges[number]:.1f}"
        for number in range(len(floors) - 1, -1, -1)
    ]
    return "".join([*there, *back, "Z"])


def _y(level: float) -> str:
    return f"{HEIGHT * (1 - level):.1f}"
