"""How past changes look, at 80 and at 140 columns, and to programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from connector.cli import changes_table, output
from connector.history.explain import Setting, explain
from connector.history.replay import ReplayResult
from tests.support.bench import Bench, record, staging_rules
from tests.support.records import CHANGE, OBSERVED

HOSTILE = "\x1b]0;pwned\x07\u202ecod.exe"
OTHERS: list[dict[str, Any]] = [
    CHANGE | {"changeType": "ADDED", "reason": "INSTALLED", "before": None, "softwareName": "an" + "d" * 90 + "on"},
    CHANGE | {"changeType": "REMOVED", "reason": "DEVICE_MISSING", "before": None, "isEndOfSupport": False},
    CHANGE | {"deviceName": None, "softwareName": HOSTILE, "isEndOfSupport": False, "before": None},
    CHANGE | {"deviceName": "東京" * 20, "isEndOfSupport": False},
]


def test_changes_are_a_table_of_one_line_each(shown: Callable[[], list[str]]) -> None:
    """A narrow terminal lacks year and vendor; the beginning of the id is enough for `explain`."""
    table = changes_table.ChangesTable()
    table.print([CHANGE])
    table.print([OTHERS[1]])
    expected = {
        80: (
            "seen (UTC)    device       software                     why             event",
            "11-23 08:00 ~ reception-02 java_runtime® 8.0.3810.9 →…  EOS upgraded    6fa459ea",
            "11-23 08:00 - reception-02 java_runtime® 8.0.3910.13    device missing  6fa459ea",
        ),
        140: (
            "seen (UTC)           device        software                                       why              event",
            "2026-11-23 08:00  ~  reception-02  oracle/java_runtime® 8.0.3810.9 → 8.0.3910.13  EOS upgraded   "
            "  6fa459ea",
            "2026-11-23 08:00  -  reception-02  oracle/java_runtime® 8.0.3910.13               device missing "
            "  6fa459ea",
        ),
    }
    assert tuple(line.rstrip() for line in shown()) == expected[output.out.width]


def test_no_row_is_wider_than_the_terminal_or_drives_it(shown: Callable[[], list[str]]) -> None:
    """Long names are cut with a sign that says so, wide characters count twice, control characters are shown."""
    changes_table.ChangesTable().print([CHANGE, *OTHERS])
    lines = shown()
    assert len(lines) == 1 + 1 + len(OTHERS)
    assert max(cell_len(line) for line in lines) <= output.out.width
    assert len({cell_len(line.rstrip()) for line in lines[1:]}) == 1
    assert [sign in "".join(lines) for sign in ("\x1b", "\u202e", "\\x1b", "…")] == [False, False, True, True]


def test_an_explanation_marks_what_differs(shown: Callable[[], list[str]], tmp_path: Path) -> None:
    """Field names are never cut; the marks stand before the fields that differ, and before no other."""
    with Bench(tmp_path) as bench:
        bench.stage([record("d", "a", deviceName=f"pc{HOSTILE}", numberOfWeaknesses=3)])
        staged = bench.stage([record("d", "a", deviceName=f"pc{HOSTILE}", numberOfWeaknesses=4)])
        event_id = bench.changes(staged)[0]["eventId"]
        changes_table.print_explanation(explain(bench.state, event_id, Setting(tmp_path, 90)))
    lines = [line.rstrip() for line in shown()]
    assert [line.split() for line in lines if line.startswith("≠")] == [["≠", "numberOfWeaknesses", "3", "4"]]
    assert [any(line.split()[:1] == [name] for line in lines) for name in ("deviceId", "softwareFirstSeenTimestamp")]
    assert max(map(len, lines)) <= output.out.width
    text = "\n".join(lines)
    assert [word in text for word in (event_id, "pending", staged.snapshot_id, "ATTRIBUTES_CHANGED")] == [True] * 4
    assert ("\x1b" in text, "\u202e" in text) == (False, False)


def test_a_summary_is_explained_as_one(shown: Callable[[], list[str]], tmp_path: Path) -> None:
    """It has neither a change nor a device: what it counts is shown in their place."""
    with Bench(tmp_path) as bench:
        devices = [record(f"d{number}", "kept") for number in range(4)]
        bench.take(bench.snapshot(devices))
        bench.confirm_baseline()
        ended = [record(f"d{number}", "a", endOfSupportStatus="EOS Version") for number in range(3)]
        rules = staging_rules(bench.rules)
        rules = replace(rules, alerts=replace(rules.alerts, summarize_above=2))
        staged = bench.take(bench.snapshot(devices + ended), rules=rules)
        explanation = explain(bench.state, bench.alerts(staged)[-1]["alertId"], Setting(tmp_path, 90))
    assert (explanation["change"], explanation["alerts"][0]["summarizes"]) == (None, 3)
    changes_table.print_explanation(explanation)
    text = " ".join(" ".join(shown()).split())
    assert text.startswith("! many devices v/a 1 INSTALLED medium 3 alerts summarized, new here")
    assert "device those of 3 alerts rule a summary: its snapshot raised more alerts" in text


def test_a_replay_is_shown_with_its_counts_and_its_range(shown: Callable[[], list[str]]) -> None:
    """What was, or would be, replayed; and that an earlier run was resumed."""
    end = {"event_id": "x", "snapshot_id": "cpe-20261123T080000Z", "observed_at": None, "epoch": 1, "sequence": 1234}
    result = ReplayResult("mde.again", dry_run=True, resumed=False, begun_at=datetime(2026, 11, 23, tzinfo=UTC))
    changes_table.print_replay(result)
    result.dry_run, result.resumed, result.changes, result.types = False, True, 1234, {"REMOVED": 34, "ADDED": 1200}
    result.first = result.last = end
    changes_table.print_replay(result)
    assert " ".join(" ".join(shown()).split()) == (
        "would replay 0 changes to mde.again replayed 1,234 more changes to mde.again (resumed after an earlier run):"
        " 1,200 ADDED, 34 REMOVED first cpe-20261123T080000Z, sequence 1,234 of epoch 1 last"
        " cpe-20261123T080000Z, sequence 1,234 of epoch 1"
    )


def test_the_bar_of_a_replay_leaves_its_line_before_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one terminal, the result begins at the beginning of a line."""
    stream = io.StringIO()
    terminal = Console(file=stream, width=80, force_terminal=True, highlight=False, color_system=None)
    monkeypatch.setattr(output, "err", terminal)
    monkeypatch.setattr(output, "out", terminal)
    with changes_table.ReplayProgress() as progress:
        progress.show(3, 4)
        progress.end()
        output.print_line("replayed 4 changes")
    written = stream.getvalue()
    assert "replaying" in written
    assert written.endswith("\x1b[1A\x1b[2Kreplayed 4 changes\n")


def test_ndjson_is_the_change_with_times_in_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, equal to the change but for the times; what could drive a terminal is escaped as JSON does."""
    hostile = CHANGE | {"deviceName": "\x9b2J\u202e東京\U000e0041"}
    changes_table.write_ndjson([CHANGE, hostile])
    lines = capsys.readouterr().out.splitlines()
    changes = [json.loads(line) for line in lines]
    times = {"observedAt": "2026-11-23T08:00:00Z", "emittedAt": "2026-11-23T08:12:34.321000Z"}
    assert (OBSERVED, changes) == (CHANGE["observedAt"], [CHANGE | times, hostile | times])
    assert [sign in lines[1] for sign in ("\x9b", "\u202e", "\U000e0041", "東京")] == [False, False, False, True]


@pytest.mark.parametrize("sign", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_csv_is_no_formula(sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A text that begins like one gets an apostrophe in front of it; numbers stay numbers; all else comes back."""
    changes_table.write_csv_heading()
    changes_table.write_csv([CHANGE | {"deviceName": sign, "numberOfWeaknesses": -5, "rbacGroupName": 'a,"b"\nc'}])
    heading, row = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    values = dict(zip(heading, row, strict=True))
    names = ("deviceName", "numberOfWeaknesses", "rbacGroupName")
    assert heading == list(changes_table.CSV_COLUMNS)
    assert [values[name] for name in names] == [
        f"'{sign}",
        "-5",
        'a,"b"\nc',
    ]
    assert json.loads(values["before"]) == CHANGE["before"]
    assert (values["isEndOfSupport"], values["observedAt"]) == ("true", "2026-11-23T08:00:00Z")
    assert set(heading) == set(CHANGE) - {"replayed"}


def test_csv_on_a_terminal_does_not_drive_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file gets the text as it is; a terminal sees its control characters."""
    written = []
    for terminal in (False, True):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        changes_table.write_csv([CHANGE | {"deviceName": HOSTILE}])
        written.append(capsys.readouterr().out)
    assert [HOSTILE in text for text in written] == [True, False]
    assert "\\x1b]0;pwned\\x07" in written[1]
