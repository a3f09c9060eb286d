"""What is held, in lines for people."""

from __future__ import annotations

from typing import Any

import pytest

from connector.cli.lines import held

NOTHING = {"added": 0, "removed": 0, "changed": 0, "alerts": None}
PART: dict[str, Any] = {
    "inventory": "CPE",
    "reason": "KEYS_CHANGED",
    "field": None,
    "records": 991,
    "devices": 30,
    "share": 0.104,
    "since_snapshot_id": "cpe-20261127T030700Z",
    "since": "2026-11-27T03:08:00+00:00",
    "groups": None,
    "largest_groups": {},
    "largest_devices": {},
    "if_approved": NOTHING | {"added": 991, "removed": None},
    "if_it_returns": NOTHING | {"removed": 991, "added": None},
}


def test_removals_are_shown_with_where_they_are_and_what_follows() -> None:
    """How many, why, since when, the largest groups and devices, and the changes and alerts of an approval."""
    part = PART | {
        "reason": "SCOPE_LOST",
        "groups": 2,
        "largest_groups": {"Workstations": 900, "": 91},
        "largest_devices": {"lt-sin-00059.corp.example": 41, "lt-sin-00012": 40},
        "if_approved": NOTHING | {"removed": 991, "alerts": 320},
        "if_it_returns": NOTHING | {"added": 991, "alerts": 1},
    }
    assert [line.plain for line in held.describe([part])] == [
        "SCOPE_LOST CPE: 991 records on 30 devices (10.4%), since 2026-11-27 03:08 UTC",
        "  groups        Workstations (900), (no group) (91)",
        "  devices       lt-sin-00059 (41), lt-sin-00012 (40) and 28 more",
        "  if approved   991 REMOVED and 320 alerts",
        "  if it returns 991 ADDED and 1 alert after an approval; otherwise nothing",
    ]


@pytest.mark.parametrize(
    ("part", "approved", "undone"),
    [
        ({}, "991 ADDED and an unknown number of REMOVED", "an unknown number of ADDED and 991 REMOVED"),
        (
            {
                "reason": "MASS_CHANGE",
                "field": "osPlatform",
                "if_approved": NOTHING | {"changed": 991},
                "if_it_returns": NOTHING | {"changed": 991},
            },
            "991 CHANGED",
            "991 CHANGED",
        ),
    ],
)
def test_what_only_the_next_snapshot_tells_is_said_to_be_unknown(
    part: dict[str, Any], approved: str, undone: str
) -> None:
    """Values and additions are not kept: neither their alerts nor where they are is known."""
    _, *lines = (line.plain for line in held.describe([PART | part]))
    assert lines == [
        f"  if approved   {approved}, as the next snapshot has it; alerts are not known yet",
        f"  if undone     {undone} after an approval; otherwise nothing",
    ]


def test_a_decision_is_shown_with_who_why_and_what_it_was_about() -> None:
    """The filters as they are typed; what acts in a terminal is shown, and does not act."""
    part = {"inventory": "CPE", "reason": "SCOPE_LOST", "field": None, "since_snapshot_id": "cpe-1", "records": 991,
            "devices": 30, "snapshot_id": "cpe-2-approved-7"}  # fmt: skip
    value = part | {"reason": "MASS_CHANGE", "field": "osPlatform", "records": 1, "devices": 1, "snapshot_id": None}
    decision = {
        "decided_at": "2026-11-27T03:08:00+00:00",
        "action": "approve",
        "who": "root (sudo by alice)",
        "why": "retired\x1b[2J",
        "road": "command line",
        "choice": {"reason": ["SCOPE_LOST"], "inventory": "CPE", "group": ["Workstations Americas", "2"]},
        "records": 992,
        "parts": [part, value],
    }
    silent = decision | {"action": "discard", "who": "", "why": "", "road": "console", "choice": {}, "parts": []}
    assert [line.plain for line in held.describe_decided([decision, silent])] == [
        "2026-11-27 03:08 UTC approved 992 records, by root (sudo by alice) on the command line",
        "  why           retired\\x1b[2J",
        "  of it         --reason SCOPE_LOST --inventory CPE --group 'Workstations Americas' --group 2",
        "  CPE           SCOPE_LOST: 991 records on 30 devices, held since cpe-1; published as cpe-2-approved-7",
        "  CPE           MASS_CHANGE osPlatform: 1 record on 1 device, held since cpe-1",
        "2026-11-27 03:08 UTC discarded 992 records, by (unknown) on the console",
    ]
