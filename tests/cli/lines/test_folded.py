"""Changes that are weakness counts alone, folded for people; and what a dry run shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connector.cli import changes_table, output
from connector.cli.lines.dry_run import DryRunLines
from connector.cli.lines.folded import Folded, fold
from tests.support.records import ALERT, CHANGE

NARROW = 80


def count(device: int, before: int | None, after: int, product: str = "firefox", **more: Any) -> dict[str, Any]:
    """A device on which the weaknesses of a product alone changed."""
    record = CHANGE | {
        "reason": "ATTRIBUTES_CHANGED",
        "changedFields": ["numberOfWeaknesses"],
        "deviceId": f"d{device}",
        "softwareVendor": "v",
        "softwareName": product,
        "softwareVersion": "146.0",
    }
    return record | {"numberOfWeaknesses": after, "before": record | {"numberOfWeaknesses": before}} | more


def test_counts_alone_are_one_line_for_each_version_and_step() -> None:
    """On how many devices, the widest first; whatever changed with something else beside it is not folded."""
    folded = Folded()
    taken = [
        folded.take(change)
        for change in (
            *(count(number, 0, 2) for number in range(12)),
            *(count(number, None, 2, "edge") for number in range(3)),
            count(13, 0, 3),
            count(14, 0, 2, changedFields=["diskPaths", "numberOfWeaknesses"]),
            CHANGE,
            CHANGE | {"changeType": "ADDED", "changedFields": []},
        )
    ]
    assert taken == [True] * 16 + [False] * 3
    assert [line.plain for line in folded.lines()] == [
        "~ v/firefox 146.0  weaknesses 0 → 2 on 12 devices",
        "~ v/edge 146.0  weaknesses none → 2 on 3 devices",
        "~ v/firefox 146.0  weaknesses 0 → 3 on 1 device",
    ]
    assert [line.plain for line in folded.lines(1)][1:] == ["  and 4 more changes of weakness counts alone"]


def test_counts_stand_after_the_other_changes_of_their_snapshot() -> None:
    """No change is lost, and none goes over to another snapshot."""
    other = {"snapshotId": "cpe-2"}
    changes = [count(1, 0, 1), CHANGE, count(2, 0, 1), CHANGE | other, count(3, 1, 2) | other]
    items = list(fold(changes))
    assert [len(item[1]) if isinstance(item, tuple) else item["snapshotId"] for item in items] == [
        CHANGE["snapshotId"], 2, "cpe-2", 1,
    ]  # fmt: skip


def test_a_table_shows_them_as_rows(shown: Callable[[], list[str]]) -> None:
    """The number of devices stands for the device, and no row is wider than the terminal."""
    changes_table.ChangesTable().print([CHANGE, *(count(number, 0, 2) for number in range(12))], folds=True)
    lines = [" ".join(line.split()) for line in shown()]
    narrow = output.out.width == NARROW
    assert lines[2:] == [
        "11-23 08:00 ~ 12 devices firefox 146.0 weaknesses 0→2"
        if narrow
        else "2026-11-23 08:00 ~ 12 devices v/firefox 146.0 weaknesses 0 → 2"
    ]


def test_a_dry_run_on_a_terminal_is_limited(shown: Callable[[], list[str]]) -> None:
    """So many changes and alerts, the folded counts, and how many more there are; the next export begins again."""
    lines = DryRunLines(2)
    for event in (*[CHANGE] * 3, *(count(number, 0, 2) for number in range(5)), *[ALERT] * 4):
        lines.show(event)
    lines.end()
    lines.show(CHANGE)
    lines.end()
    assert [line[0] for line in shown()] == ["~", "~", "!", "!", "~", " ", "~"]
    assert shown()[4:6] == [
        "~ v/firefox 146.0  weaknesses 0 → 2 on 5 devices",
        "  and 1 more change and 2 more alerts: --limit shows more",
    ]


def test_a_dry_run_elsewhere_shows_everything(shown: Callable[[], list[str]]) -> None:
    """A file or a pipe gets a line for each change and alert, in order."""
    lines = DryRunLines(None)
    for event in (*[CHANGE] * 50, *(count(number, 0, 2) for number in range(5)), *[ALERT] * 50):
        lines.show(event)
    lines.end()
    assert "".join(line[0] for line in shown()) == "~" * 55 + "!" * 50
