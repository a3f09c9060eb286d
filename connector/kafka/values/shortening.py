"""Shortens a record whose value is too large for the broker; never refuses or drops one that can be made to fit.

It works in steps that halve until the value fits: texts are cut to 64 KiB at first and to 64 bytes at last, which
leaves ids whole, arrays to their first items of four times that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

TEXT_BYTES_STEPS: Final = tuple(65_536 >> step for step in range(11))
"""What a text is cut to, step by step until the value fits: 64 KiB, which is what a SIEM's column holds, to 64."""
TEXTS_OF_ARRAY: Final = 4
"""An array keeps its first items, up to this many times the length of a text."""
ELLIPSIS: Final = "…"


class Fitting(NamedTuple):
    """A value that fits, and the sorted names of the fields that were shortened for it (`before.diskPaths`)."""

    value: bytes
    shortened: tuple[str, ...]


def write_fitting(
    write: Callable[[Mapping[str, Any], tuple[str, ...]], bytes], record: Mapping[str, Any], bytes_max: int
) -> Fitting | None:
    """Write a record, shortened only as far as it has to be; None where even the shortest form is too large.

    Args:
        write: writes a record, given also the names of the fields that were shortened.
        record: in full.
        bytes_max: the largest value.
    """
    value = write(record, ())
    if len(value) <= bytes_max:
        return Fitting(value, ())
    for text_bytes in TEXT_BYTES_STEPS:
        shorter, names = _shorten(record, text_bytes)
        value = write(shorter, names)
        if len(value) <= bytes_max:
            return Fitting(value, names)
    return None


def _shorten(record: Mapping[str, Any], text_bytes: int, path: str = "") -> tuple[dict[str, Any], tuple[str, ...]]:
    """The record with its long texts and arrays cut, and the sorted names of those that were."""
    shorter: dict[str, Any] = {}
    names: list[str] = []
    for name, value in record.items():
        if isinstance(value, dict):
            shorter[name], nested_names = _shorten(value, text_bytes, f"{path}{name}.")
            names += nested_names
            continue
        if isinstance(value, str):
            shorter[name] = _cut(value, text_bytes)
        elif isinstance(value, list):
            texts = [_cut(item, text_bytes) for item in value]
            shorter[name] = list(_take_first(texts, TEXTS_OF_ARRAY * text_bytes))
        else:
            shorter[name] = value
        if shorter[name] != value:
            names.append(path + name)
    return shorter, tuple(sorted(names))


def _cut(text: str, bytes_max: int) -> str:
    """The text, cut to `bytes_max` bytes; where it was cut, it ends in an ellipsis."""
    raw = text.encode()
    if len(raw) <= bytes_max:
        return text
    return raw[: bytes_max - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS


def _take_first(texts: Sequence[str], bytes_max: int) -> Iterator[str]:
    """The first texts whose bytes together are at most `bytes_max`."""
    left = bytes_max
    for text in texts:
        left -= len(text.encode())
        if left < 0:
            return
        yield text
