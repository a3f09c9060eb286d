"""Orders version strings.

The order is RPM's (rpmvercmp) with an epoch, since it also fits dotted Windows and macOS versions: an epoch before a
colon counts first, then runs of digits compare as numbers and runs of letters as text, a number is later than letters,
and a tilde comes before everything, even the end (`1.0~rc1` before `1.0`).
"""

from __future__ import annotations

import re
from typing import Final

from connector.model import Reason

_EPOCH: Final = re.compile(r"^([0-9]+):")
_SEGMENT: Final = re.compile(r"[0-9]+|[a-z]+|~")
_END: Final = (1, 0, "")

_DIGITS_MAX: Final = 18
"""A 64-bit integer holds these. Longer numbers are compared by length and text: int() of thousands of digits is slow,
and refuses more than 4,300."""


def version_reason(before: str, after: str) -> Reason:
    """UPGRADED, DOWNGRADED, or VERSION_CHANGED where there is no order (a version is empty, or both are equal)."""
    if not before or not after:
        return Reason.VERSION_CHANGED
    earlier, later = _order(before), _order(after)
    if earlier == later:
        return Reason.VERSION_CHANGED
    return Reason.UPGRADED if earlier < later else Reason.DOWNGRADED


def _order(version: str) -> tuple[tuple[int, int, str], ...]:
    text = version.lower()
    epoch = _EPOCH.match(text)
    segments = _SEGMENT.findall(text[epoch.end() :] if epoch else text)
    return (_rank(epoch.group(1) if epoch else "0"), *(_rank(segment) for segment in segments), _END)


def _rank(segment: str) -> tuple[int, int, str]:
    if segment == "~":
        return (0, 0, "")
    if not segment.isdigit():
        return (2, 0, segment)
    digits = segment.lstrip("0")
    return (3, int(digits or "0"), "") if len(digits) <= _DIGITS_MAX else (3, 10**_DIGITS_MAX + len(digits), digits)
