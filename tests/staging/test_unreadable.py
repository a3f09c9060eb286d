"""Attributes and lines that cannot be read: nothing is changed, cleared or removed for them, and little is held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.exports.software import SOFTWARE
from connector.model import Snapshot, StagedSnapshot
from connector.poll.doubt import report_lasting_holds
from connector.source.repair import repair
from connector.staging import unreadable
from tests.source.test_repair import part_of
from tests.support.bench import Bench, brief
from tests.support.estate import snapshot_of
from tests.support.oracle import Record, Rules
from tests.support.stored import stored_records

ODD = {"RbacGroupId": "", "NumberOfWeaknesses": 2.5, "DiskPaths": "c:", "EndOfSupportStatus": None}


class Odd(Bench):
    """Snapshots of lines as they are written, repaired as a poll does it."""

    def poll(self, *lines: Record | bytes) -> StagedSnapshot:
        """Stage the next one."""
        return self.take(self.repaired(*lines))

    def repaired(self, *lines: Record | bytes) -> Snapshot:
        """The next snapshot, of one part."""
        self.number += 1
        folder = self.folder / f"{self.number}"
        folder.mkdir()
        texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        return snapshot_of([repair(part_of(folder, *texts), SOFTWARE, self.folder / "rejected").part], self.number)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Odd]:
    """Removals are believed at once, up to a share that is not reached."""
    with Odd(tmp_path, rules=Rules(max_removed_share=1.0, missing_device_snapshots=1)) as bench:
        yield bench


def line(device: str = "a", name: str = "p", **more: Any) -> Record:
    """A record as the files have it."""
    usual = {"RbacGroupId": 7, "NumberOfWeaknesses": 3, "DiskPaths": ["x"], "EndOfSupportStatus": "EOS Version"}
    return {"DeviceId": device, "SoftwareName": name, "SoftwareVersion": "1", **usual, **more}


def odd(device: str = "a", name: str = "p", **more: Any) -> bytes:
    """The same with four attributes that cannot be read, one of them half a character."""
    text = json.dumps(line(device, name, **{**ODD, **more}))
    return text.replace('"EndOfSupportStatus": null', '"EndOfSupportStatus": "\xff"').encode("latin-1")


def test_an_attribute_that_cannot_be_read_keeps_its_stored_value(bench: Odd) -> None:
    """No change and no alert, once or at each poll; what is readable beside it changes as ever."""
    bench.poll(line(), line("b"))
    before = list(stored_records(bench.state, bench.repaired(line()).inventory))
    staged = [bench.poll(odd(), line("b")), bench.poll(odd(), line("b"))]
    assert [snapshot.counts.changes for snapshot in staged] == [0, 0]
    assert [snapshot.counts.alerts for snapshot in staged] == [0, 0]
    assert list(stored_records(bench.state, staged[0].inventory)) == before
    assert unreadable.noted(bench.state, staged[0].inventory) == {
        "diskPaths": 1, "endOfSupportStatus": 1, "numberOfWeaknesses": 1, "rbacGroupId": 1,
    }  # fmt: skip
    (changed,) = bench.changes(bench.poll(odd(DeviceName="new"), line("b")))
    assert (changed["changedFields"], changed["rbacGroupId"], changed["diskPaths"]) == (["deviceName"], 7, ["x"])
    assert bench.poll(line(DeviceName="new"), line("b")).counts.changes == 0
    assert unreadable.noted(bench.state, staged[0].inventory) == {}


def test_what_is_null_after_it_could_not_be_read_is_a_change(bench: Odd) -> None:
    """Null is a value, and something that cannot be read is not: the digest tells them apart."""
    bench.poll(line())
    bench.poll(odd())
    (changed,) = bench.changes(bench.poll(line(RbacGroupId=None)))
    assert (changed["changedFields"], changed["before"]["rbacGroupId"]) == (["rbacGroupId"], 7)


def test_an_odd_attribute_of_every_record_holds_no_removal(bench: Odd) -> None:
    """From the first snapshot on: what is absent is removed, what is new is added, and nothing is held."""
    bench.poll(odd("a"), odd("a", "q"), odd("b"))
    bench.confirm_baseline()
    staged = bench.poll(odd("a"), odd("b"), odd("c"))
    assert brief(bench.changes(staged)) == [
        ("REMOVED", "UNINSTALLED", "a", "q", "1"),
        ("ADDED", "NEW_DEVICE", "c", "p", "1"),
    ]
    assert (staged.counts.held, staged.counts.rejected) == (0, 0)


def test_a_rejected_line_holds_the_removals_of_the_devices_that_it_names(bench: Odd) -> None:
    """And keeps its changes of version apart; of every other device nothing is in doubt."""
    fleet = [line(device, name) for device in "abc" for name in ("p", "q")]
    bench.poll(*fleet)
    broken = b'{"DeviceId":"b","SoftwareName":NaN}'
    staged = bench.poll(
        line("a"), line("b", SoftwareVersion="2"), broken, line("c"), line("c", "q", SoftwareVersion="2")
    )
    assert brief(bench.changes(staged)) == [
        ("REMOVED", "UNINSTALLED", "a", "q", "1"),
        ("ADDED", "INSTALLED", "b", "p", "2"),
        ("CHANGED", "UPGRADED", "c", "q", "2"),
    ]
    assert {key[:3] for key in bench.held()} == {("b", "", "p"), ("b", "", "q")}
    assert set(bench.held().values()) == {"REJECTED_LINES"}
    assert (staged.hold_reason, staged.counts.held, staged.counts.rejected) == ("REJECTED_LINES", 2, 1)


def test_a_rejected_line_that_names_no_device_holds_every_removal(bench: Odd) -> None:
    """It may be about any of them."""
    bench.poll(line("a"), line("a", "q"), line("b"))
    staged = bench.poll(line("a"), line("b"), b'{"SoftwareName":"q"')
    assert (staged.counts.removed, staged.counts.held, staged.hold_reason) == (0, 1, "REJECTED_LINES")


def test_a_missing_device_is_counted_unless_a_rejected_line_names_it(tmp_path: Path) -> None:
    """The snapshots that confirm that it is gone are those that cannot have it."""
    with Odd(tmp_path, rules=Rules(max_removed_share=1.0, missing_device_snapshots=2)) as bench:
        bench.poll(line("a"), line("b"), line("c"))
        broken = b'{"DeviceId":"b","SoftwareName":NaN}'
        first, second = bench.poll(line("a"), broken), bench.poll(line("a"), broken)
        third = bench.poll(line("a"))
        removed = [[change["deviceId"] for change in bench.changes(staged)] for staged in (first, second, third)]
    assert removed == [[], ["c"], []]


def test_a_hold_for_rejected_lines_keeps_its_beginning(bench: Odd, caplog: pytest.LogCaptureFixture) -> None:
    """How long it lasts can be seen, and each later snapshot says what to do."""
    broken = b'{"DeviceId":"a","SoftwareName":NaN}'
    bench.poll(line("a"), line("a", "q"))
    first = bench.poll(line("a"), broken)
    report_lasting_holds(bench.state, first)
    assert "one snapshot after another" not in caplog.text
    second = bench.poll(line("a"), broken)
    report_lasting_holds(bench.state, second)
    assert (first.counts.held, second.counts.held) == (1, 0)
    assert [hold.since_snapshot_id for hold in bench.state.journal.holds()] == [first.snapshot_id]
    assert "one snapshot after another" in caplog.text
    assert "held approve" in caplog.text
    assert bench.poll(line("a")).counts.removed == 1
