"""Failed checks by their cause, so that a person reads one line for what one command mends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from connector.model import MISSING, Check
from connector.wording import counted

MISSING_HINT: Final = "Run `mde-inventory setup`, or have an administrator create them."


def check_as_json(check: Check) -> dict[str, Any]:
    """A finding as `check --json` prints it."""
    return {
        "name": check.name,
        "fine": check.fine,
        "text": check.text,
        "hint": check.hint,
        "cause": check.cause,
        "exit_code": 0 if check.fine else check.exit_code,
    }


def by_cause(checks: Iterable[Check]) -> Iterator[Check]:
    """The checks as they come; those that failed for a known cause follow, one check for each cause."""
    causes: dict[str, list[Check]] = {}
    for check in checks:
        if check.cause and not check.fine:
            causes.setdefault(check.cause, []).append(check)
        else:
            yield check
    for members in causes.values():
        yield members[0] if len(members) == 1 else _summary(members)


def _summary(members: Sequence[Check]) -> Check:
    """Several failed checks as one, under the name of what they are."""
    nouns = Counter(check.noun for check in members)
    things = " and ".join(counted(number, noun) for noun, number in nouns.items())
    worst = max(check.exit_code for check in members)
    first = members[0]
    if first.cause == MISSING:
        return Check("setup", fine=False, text=f"{things} are missing", hint=MISSING_HINT, exit_code=worst)
    return replace(first, name=f"{first.noun}s", text=f"{things}: {first.text}", exit_code=worst)
