"""A state file that an earlier version left, or that a version with other fields goes on with: no false event."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connector.kafka.mock import MockCluster
from connector.model import Checkpoint, Inventory, Topic
from connector.staging import audit
from connector.staging.stage import stage_snapshot
from connector.state.schema import MIGRATIONS
from connector.state.state import StateFile
from tests.state.test_state import attempt
from tests.support.bench import START, TENANT, brief, plain_snapshot, staging_rules
from tests.support.configured import tables
from tests.support.messages import values_on
from tests.support.oracle import Record
from tests.support.released import (
    RULES,
    TRANSACTIONAL_ID,
    VERSIONS,
    WRITTEN_AT,
    connector,
    expected,
    picture,
    snapshots,
    software,
    unpacked,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[MockCluster]:
    """A Kafka inside this process."""
    topics = [topic.name_under(f"upgrade{version}") for topic in Topic for version in VERSIONS]
    with MockCluster(topics) as cluster:
        yield cluster


def includes(actual: Any, wanted: Any) -> bool:
    """Whether everything that an earlier version read is read now; later versions may read more of it."""
    if isinstance(wanted, dict):
        return all(name in actual and includes(actual[name], value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return len(actual) == len(wanted) and all(map(includes, actual, wanted))
    return bool(actual == wanted)


def test_every_earlier_version_left_a_file() -> None:
    """Before a step is added to the schema, `tests.support.released` keeps a file of the version before it."""
    assert set(range(1, len(MIGRATIONS))) <= set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_every_released_version_opens_and_publishes_what_it_owes_and_the_true_difference(
    version: int, cluster: MockCluster, tmp_path: Path
) -> None:
    """All is read as its version read it; what was pending is published once; the next snapshot's changes follow.

    A device that was missing in the last snapshot, and is missing again, is removed; the group that is held stays so.
    """
    written, path = expected(version), unpacked(version, tmp_path)
    pending = [
        change for change in written["changes"] if change["sequence"] > written["position"]["published_sequence"]
    ]
    (_, lines), *_ = [snapshot for snapshot in reversed(snapshots()) if snapshot[0] is Inventory.CPE]
    following = [
        *(line | {"numberOfWeaknesses": 5} if line == software(1, "later") else line for line in lines),
        software(9, "editor"),
    ]
    with connector(path, cluster.bootstrap_servers, f"upgrade{version}") as assembly:
        assembly.sink.recover()
        assembly.sink.publish([], checkpoint_of(written))
        with assembly.open_state() as state:
            assert includes(picture(state), written)
            assembly.publisher.recover(state)
            assert assembly.publisher.drain(state) == len(pending) == 3
            published = values_on(assembly, Topic.CHANGES)
            assert [(change["eventId"], change["sequence"]) for change in published] == [
                (change["eventId"], change["sequence"]) for change in pending
            ]
            staged = stage_snapshot(
                state,
                plain_snapshot(tmp_path / "parts", following, 9),
                staging_rules(RULES),
                started_at=START,
                now=START,
            )
            changes = list(state.journal.changes(staged, after=0, limit=1000))
            assert sorted(brief(changes)) == [
                ("ADDED", "NEW_DEVICE", f"{9:040x}", "editor", "1.0"),
                ("CHANGED", "ATTRIBUTES_CHANGED", f"{1:040x}", "later", "1.0"),
                *(("REMOVED", "DEVICE_MISSING", f"{5:040x}", name, "1.0")
                  for name in ("editor", "player", "reader", "😀 'quote\"")),
            ]  # fmt: skip
            assert state.journal.held_count() == 8
            assert assembly.publisher.drain(state) == 6
            assert audit.verify(state) == []
        published = values_on(assembly, Topic.CHANGES)
    assert [change["sequence"] for change in published] == list(range(4, 13))
    assert Counter(change["eventId"] for change in published).most_common(1)[0][1] == 1


def checkpoint_of(written: dict[str, Any]) -> Checkpoint:
    """What Kafka had when that file was left."""
    position = written["position"]
    under_way = next(
        snapshot for snapshot in written["snapshots"] if snapshot["snapshot_no"] == position["published_snapshot"] + 1
    )
    return Checkpoint(
        transactional_id=TRANSACTIONAL_ID,
        entra_tenant_id=TENANT,
        epoch=position["epoch"],
        sequence=position["published_sequence"],
        sealed=position["published_snapshot"],
        snapshot_id=under_way["snapshot_id"],
        written_at=WRITTEN_AT,
        connector_version=under_way["connector_version"],
    )


# ---- other fields


@dataclass(frozen=True)
class Release:
    """The next version, as an edit of this one.

    Attributes:
        fields: what is replaced in `connector/exports/fields.py`, and by what.
        steps: added to the schema.
        lines: what the export's lines have in it: (name, value) of every record.
        change: the same for one record that then changes, and the changed fields that are reported.
    """

    fields: tuple[tuple[str, str], ...]
    steps: tuple[str, ...]
    lines: tuple[tuple[str, Any], ...]
    change: tuple[tuple[str, Any], ...]
    changed: list[list[str]]


OS_PLATFORM = (
    '    Field(\n        "osPlatform",\n        "os_platform",\n        Kind.TEXT,\n'
    '        "Operating system: Windows11, WindowsServer2022, Linux, macOS, …",\n'
    '        file_name="OSPlatform",\n        about="device",\n    ),\n'
)
NEW = '    Field("productCode", "product_code", Kind.TEXT, "New."),\n'
RELEASES = {
    "added": Release(
        fields=((OS_PLATFORM, OS_PLATFORM + NEW),),
        steps=(
            "ALTER TABLE inventory ADD COLUMN product_code VARCHAR",
            "ALTER TABLE changes ADD COLUMN product_code VARCHAR",
            'ALTER TABLE changes ADD COLUMN before."productCode" VARCHAR',
        ),
        lines=(("productCode", "cpe:x"),),
        change=(("productCode", "cpe:y"),),
        changed=[["productCode"]],
    ),
    "removed": Release(
        fields=((OS_PLATFORM, ""),),
        steps=(),
        lines=(("osPlatform", "Windows12"),),
        change=(("osPlatform", "Windows13"),),
        changed=[],
    ),
    "renamed": Release(
        fields=((OS_PLATFORM, OS_PLATFORM.replace("osPlatform", "platform").replace("os_platform", "platform")),),
        steps=(
            "ALTER TABLE inventory RENAME COLUMN os_platform TO platform",
            "ALTER TABLE changes RENAME COLUMN os_platform TO platform",
            'ALTER TABLE changes RENAME COLUMN before."osPlatform" TO "platform"',
        ),
        lines=(("platform", "Windows11"),),
        change=(("platform", "Linux"),),
        changed=[["platform"]],
    ),
}

TABLES = tables(
    source={"tenant_id": TENANT}, guard={"max_removed_share": 1, "min_removed": 1, "missing_device_snapshots": 1}
)
STAGE = """
import json, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from connector.config import from_values
from connector.model import Inventory, Method, Part, Snapshot
from connector.staging import audit
from connector.staging.stage import StagingRules, stage_snapshot
from connector.state.state import StateFile
rules = StagingRules.of(from_values(json.loads(sys.argv.pop(1)), {}, name="next"))
found = []
with StateFile.open(Path(sys.argv[1]), memory_limit_mib=256, threads=1) as state:
    for number, name in enumerate(sys.argv[2:]):
        text = Path(name).read_bytes()
        part = Part(path=Path(name), name=name, lines=text.count(b"\\n"), size_bytes=len(text), spellings={})
        at = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=number)
        snapshot = Snapshot(inventory=Inventory.CPE, method=Method.JSON, snapshot_id=f"s{number}", generated_at=at,
                            generation_known=True, parts=(part,), content_digest=f"{number}")
        staged = stage_snapshot(state, snapshot, rules, started_at=at, now=at)
        changes = list(state.journal.changes(staged, after=0, limit=1000))
        found.append(([change["changedFields"] for change in changes], audit.verify(state)))
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", RELEASES)
def test_a_release_with_a_field_added_removed_or_renamed_makes_no_false_event(kind: str, tmp_path: Path) -> None:
    """The next version, whose table of fields is another, goes on with a file of the first: what is the same is none.

    What then changes in such a field is a change, where the field is looked at; and the file adds up all the time.
    """
    release = RELEASES[kind]
    shutil.copytree(ROOT / "connector", tmp_path / "next" / "connector", ignore=shutil.ignore_patterns("__pycache__"))
    edit(tmp_path / "next" / "connector" / "exports" / "software.py", *release.fields)
    if release.steps:
        step = f"    ({', '.join(map(repr, release.steps))},),\n"
        edit(
            tmp_path / "next" / "connector" / "state" / "schema.py",
            ("\n)\n\n\ndef migrate", f"\n{step})\n\n\ndef migrate"),
        )
    stored = expected(1)["records"]["CPE"]
    same = [record | dict(release.lines) for record in stored]
    if kind == "renamed":
        same = [{name: value for name, value in record.items() if name != "osPlatform"} for record in same]
    other = [same[0] | dict(release.change), *same[1:]]
    done = subprocess.run(
        [sys.executable, "-c", STAGE, json.dumps(TABLES), str(unpacked(1, tmp_path)),
         *write_parts(tmp_path, same, other, other)],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "next")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[[], []], [release.changed, []], [[], []]]


def edit(path: Path, *replacements: tuple[str, str]) -> None:
    """Replace texts that occur once in a file."""
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def write_parts(folder: Path, *snapshots: list[Record]) -> list[str]:
    """A part file for each list of records, as pages are stored."""
    paths = [folder / f"part-{number}.json" for number in range(len(snapshots))]
    for path, records in zip(paths, snapshots, strict=True):
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return [str(path) for path in paths]


@pytest.mark.parametrize("options", [{"read_only": True}, {"scratch": True}])
def test_a_file_of_an_earlier_version_is_left_alone_by_what_only_reads(options: dict[str, Any], tmp_path: Path) -> None:
    """`status` and a dry run read it, or say what brings it up to date; not a byte of it is changed."""
    path = unpacked(1, tmp_path)
    before = path.read_bytes()
    error, pending = attempt(lambda: pending_in(path, options))
    assert path.read_bytes() == before
    if len(MIGRATIONS) == 1:
        assert pending == 3
    else:
        assert "poll` brings it up to date" in getattr(error, "hint", "")


def pending_in(path: Path, options: dict[str, Any]) -> int:
    """How many changes are pending."""
    with StateFile.open(path, memory_limit_mib=256, **options) as state:
        return state.journal.position().pending
