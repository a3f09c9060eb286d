"""State files as the released versions left them: how each was made, what is in it, and what comes next.

`tests/released/<schema version>.duckdb.gz` is the file, `<schema version>.json` what its own version read out of it.
`python -m tests.support.released` writes both for the schema version of the code that runs, before a step is added to
`MIGRATIONS` of `connector/state/schema.py`. It refuses to make one again: what a release wrote stays as it was written.

In it: both inventories, each with a baseline and later snapshots; a record that a snapshot had twice; devices that are
missing; a device group that is held; changes that Kafka has confirmed, and changes of two snapshots that are pending,
the first of them published in part.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from connector import config
from connector.assembly import Assembly
from connector.model import Checkpoint, Inventory, StagedSnapshot
from connector.staging import audit
from connector.staging.stage import stage_snapshot
from connector.state.journal import SNAPSHOT_COLUMNS, as_row
from connector.state.schema import MIGRATIONS
from connector.state.state import StateFile
from tests.support.bench import TENANT, plain_snapshot, staging_rules
from tests.support.oracle import Record, Rules
from tests.support.stored import missing_devices, stored_records

FOLDER: Final = Path(__file__).parents[1] / "released"
VERSIONS: Final = tuple(sorted(int(path.name.split(".")[0]) for path in FOLDER.glob("*.duckdb.gz")))
RULES: Final = Rules(max_removed_share=0.9, missing_device_snapshots=2)
TRANSACTIONAL_ID: Final = "mde-released"
WRITTEN_AT: Final = 1_790_000_000_000


def software(device: int, name: str, version: str = "1.0", **more: Any) -> Record:
    """A record of a device of the made-up estate, all attributes given; the seventh and eighth are in group 2."""
    return {
        "deviceId": f"{device:040x}",
        "deviceName": f"pc-{device}.example.com",
        "osPlatform": "Windows11",
        "rbacGroupId": 2 if device > 6 else 1,
        "rbacGroupName": "Büro" if device > 6 else "Servers",
        "softwareVendor": "contoso",
        "softwareName": name,
        "softwareVersion": version,
        "numberOfWeaknesses": 0,
        "diskPaths": [f"C:\\Program Files\\{name}\\{name}.exe"],
        "registryPaths": [f"HKLM\\SOFTWARE\\{name}"],
        "softwareFirstSeenTimestamp": "2026-01-02 03:04:05",
        "endOfSupportStatus": None,
        "endOfSupportDate": None,
        **more,
    }


def estate(*devices: int) -> list[Record]:
    """Four records of each device."""
    return [
        software(device, name, endOfSupportStatus=status, endOfSupportDate=date)
        for device in devices
        for name, status, date in (
            ("editor", None, None),
            ("player", "EOS Version", "2025-10-14"),
            ("reader", "Upcoming EOS Version", "2027-01-31"),
            ("😀 'quote\"", "None", None),
        )
    ]


def snapshots() -> list[tuple[Inventory, list[Record]]]:
    """What was staged, in this order."""
    baseline = estate(*range(1, 9))
    few = [line | {"softwareName": f"tool {line['softwareName']}"} for line in estate(1, 2)]
    second = [*without(estate(*range(1, 7)), 3, "reader"), software(3, "reader", "2.0"), software(4, "new")]
    third = [*without(second, 5), software(1, "later"), software(2, "later", numberOfWeaknesses=7)]
    return [
        (Inventory.CPE, [*baseline, baseline[0] | {"numberOfWeaknesses": 9}]),
        (Inventory.NON_CPE, few),
        (Inventory.CPE, second),
        (Inventory.CPE, third),
        (Inventory.NON_CPE, [*without(few, 1, "tool editor"), software(1, "tool more")]),
    ]


def without(lines: list[Record], device: int, name: str | None = None) -> list[Record]:
    """Lines without those of a device, or of one product on it."""
    return [line for line in lines if line["deviceId"] != f"{device:040x}" or (name and line["softwareName"] != name)]


def checkpoint(staged: StagedSnapshot, *, sequence: int | None = None) -> Checkpoint:
    """The checkpoint of a snapshot's seal, or of an earlier batch of it."""
    return Checkpoint(
        transactional_id=TRANSACTIONAL_ID,
        entra_tenant_id=TENANT,
        epoch=staged.epoch,
        sequence=staged.sequence_after if sequence is None else sequence,
        sealed=staged.snapshot_no if sequence is None else staged.snapshot_no - 1,
        snapshot_id=staged.snapshot_id,
        written_at=WRITTEN_AT,
        connector_version=staged.connector_version,
    )


def picture(state: StateFile) -> dict[str, Any]:
    """What a version reads out of its file; the file is what Kafka's last checkpoint says."""
    return {
        "position": asdict(state.journal.position()),
        "records": {inventory.value: stored_records(state, inventory) for inventory in Inventory},
        "snapshots": [
            dict(zip(SNAPSHOT_COLUMNS, as_row(staged), strict=True)) for staged in state.journal.recent_snapshots(100)
        ],
        "changes": [
            change
            for staged in reversed(state.journal.recent_snapshots(100))
            for change in state.journal.changes(staged, after=0, limit=1000)
        ],
        "holds": [asdict(hold) for hold in state.journal.holds()],
        "missing_devices": missing_devices(state),
        "problems": audit.verify(state),
    }


def write(path: Path, parts: Path) -> dict[str, Any]:
    """Stage the snapshots into a new file, and return what is in it."""
    with StateFile.open(path, memory_limit_mib=256, threads=1) as state:
        for number, (inventory, lines) in enumerate(snapshots()):
            snapshot = plain_snapshot(parts, lines, number, inventory)
            staged = stage_snapshot(
                state,
                snapshot,
                staging_rules(RULES),
                started_at=snapshot.generated_at + timedelta(minutes=1),
                now=snapshot.generated_at + timedelta(minutes=2),
            )
            if number < 3:
                state.journal.confirm(checkpoint(staged))
            elif number == 3:
                state.journal.confirm(checkpoint(staged, sequence=staged.sequence_after - 1))
        return picture(state)


def unpacked(version: int, folder: Path) -> Path:
    """A copy of the file of a version, in a folder."""
    path = folder / "state.duckdb"
    path.write_bytes(gzip.decompress((FOLDER / f"{version}.duckdb.gz").read_bytes()))
    path.chmod(0o600)
    return path


def expected(version: int) -> dict[str, Any]:
    """What the version itself read out of its file."""
    contents: dict[str, Any] = json.loads((FOLDER / f"{version}.json").read_text(encoding="utf-8"))
    return contents


def connector(path: Path, bootstrap_servers: str, prefix: str) -> Assembly:
    """The connector of that file's tenant, whose transactional id the file's changes were published under."""
    tables: dict[str, Any] = {
        "source": {"tenant_id": TENANT, "client_id": "client", "client_secret": "not used here"},
        "state": {"path": str(path)},
        "kafka": {
            "topic_prefix": prefix,
            "transactional_id": TRANSACTIONAL_ID,
            "client": {"bootstrap.servers": bootstrap_servers},
        },
        "schema_registry": {"url": "mock://released", "auto_register": True},
    }
    return Assembly(config.from_values(tables, {}, name="test"), kafka_seconds_max=5)


def main() -> None:
    """Make the file of this version."""
    version = len(MIGRATIONS)
    packed = FOLDER / f"{version}.duckdb.gz"
    if packed.exists():
        sys.exit(f"{packed.name} exists already, and a released file is never made again")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.duckdb"
        contents = write(path, Path(folder) / "parts")
        packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    text = json.dumps(contents, ensure_ascii=False, indent=1)
    (FOLDER / f"{version}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
