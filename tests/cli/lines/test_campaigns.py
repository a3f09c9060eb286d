"""Campaigns as people see them, and what a dry run shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.cli import changes_table, output
from connector.cli.lines import campaigns
from connector.cli.lines.dry_run import DryRunLines
from connector.history.campaigns import fold
from connector.model import StagedSnapshot
from tests.support.bench import Bench, record
from tests.support.records import ALERT, CHANGE

GROUP = {"rbacGroupId": 7, "rbacGroupName": "Servers"}


def folded(folder: Path) -> tuple[StagedSnapshot, list[dict[str, Any]]]:
    """A snapshot with a campaign of each form, the widest first."""
    devices = [{"deviceId": f"d{number}", "deviceName": f"pc-{number}.example.com"} for number in range(9)]
    with Bench(folder) as bench:
        before = [
            *(record("", "chrome", f"143.{number % 2}") | device for number, device in enumerate(devices[:6])),
            *(record("", "firefox", "146.0") | device | {"numberOfWeaknesses": None} for device in devices[:5]),
            *(record("", "agent", f"7.{number % 2}") | device | GROUP for number, device in enumerate(devices[:4])),
            *(record("", "jre", "8") | device for device in devices[:2]),
            record("", "jdk", "9") | devices[0],
        ]
        after = [
            *(record("", "chrome", "143.110") | device for device in devices[:6]),
            *(record("", "firefox", "146.0") | device | {"numberOfWeaknesses": 2} for device in devices[:5]),
            *(record("", name, "1") | device for device in devices[6:] for name in ("a", "b")),
            *(record("", "jre", "8") | device | {"diskPaths": ["/x"]} for device in devices[:2]),
            record("", "jdk", "10") | devices[0],
        ]
        bench.take(bench.snapshot(before))
        bench.confirm_baseline()
        staged = bench.take(bench.snapshot(after))
        return staged, fold(bench.state, staged)[0]


def test_a_campaign_is_one_line(tmp_path: Path) -> None:
    """What happened and on how many devices; the group where they have one, and of one device its name."""
    _, widest = folded(tmp_path)
    vendor = widest[0]["softwareVendor"]
    assert [line.plain.replace(vendor, "v") for line in campaigns.lines(widest)] == [
        "~ v/chrome 2 versions → 143.110  upgraded on 6 devices",
        "~ v/firefox 146.0  weaknesses none → 2 on 5 devices",
        "- v/agent 2 versions  uninstalled on 4 devices of group Servers",
        "+ 6 records  new device on 3 devices",
        "~ v/jre 8  diskPaths on 2 devices",
        "~ v/jdk 9 → 10  upgraded on pc-0",
    ]


def test_a_table_shows_campaigns_as_rows(shown: Callable[[], list[str]], tmp_path: Path) -> None:
    """The number of devices stands for the device, and no row is wider than the terminal."""
    staged, widest = folded(tmp_path)
    changes_table.ChangesTable().print_campaigns(staged, widest[:4], 3)
    _, *rows = shown()
    assert max(map(len, rows)) <= output.out.width
    assert [" ".join(row.split()[2:5]) for row in rows] == [
        "~ 6 devices", "~ 5 devices", "- 4 devices", "+ 3 devices", "and 3 more",
    ]  # fmt: skip


def test_a_dry_run_on_a_terminal_is_limited(shown: Callable[[], list[str]], tmp_path: Path) -> None:
    """So many alerts, as many campaigns, and how many more there are; the next export begins again."""
    _, widest = folded(tmp_path)
    lines = DryRunLines(2)
    for event in (*[CHANGE] * 24, *[ALERT] * 4):
        lines.show(event)
    lines.end(widest)
    lines.show(ALERT)
    lines.end([])
    said = shown()
    assert [line[0] for line in said] == ["!", "!", "~", "~", " ", "!"]
    assert said[4] == "  and 13 more changes and 2 more alerts: --limit shows more"


def test_a_dry_run_elsewhere_shows_everything(shown: Callable[[], list[str]]) -> None:
    """A file or a pipe gets a line for each change and alert, in order."""
    lines = DryRunLines(None)
    for event in (*[CHANGE] * 50, *[ALERT] * 50):
        lines.show(event)
    lines.end([])
    assert "".join(line[0] for line in shown()) == "~" * 50 + "!" * 50
