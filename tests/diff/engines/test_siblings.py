"""The next exports through the same comparison: the shape of `Export` is held against them before they are built."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from connector.diff.engines import Comparer
from connector.diff.engines.duckdb import DuckDBComparer
from connector.diff.tables import Difference, Workspace
from connector.exports.fields import COLUMN_TYPES, ApiEndpoint, Export, Feed, Field, Kind
from connector.exports.software import SOFTWARE
from connector.model import Inventory, Part
from connector.state.engine import Engine
from tests.support.estate import snapshot_of

COMPARER: Comparer = DuckDBComparer()

VULNERABILITIES = Export(
    name="vulnerabilities",
    fields=(
        Field("deviceId", "device_id", Kind.TEXT, "Device.", key=True),
        Field("softwareVendor", "software_vendor", Kind.TEXT, "Vendor.", key=True),
        Field("softwareName", "software_name", Kind.TEXT, "Product.", key=True),
        Field("softwareVersion", "software_version", Kind.TEXT, "Version.", key=True),
        Field("cveId", "cve_id", Kind.TEXT, "CVE; null: the software is there, and has none.", key=True),
        Field("cvssScore", "cvss_score", Kind.TEXT, "Score."),
        Field("vulnerabilitySeverityLevel", "severity", Kind.TEXT, "Severity."),
        Field("diskPaths", "disk_paths", Kind.TEXT_SET, "Paths."),
        Field("lastSeenTimestamp", "last_seen_timestamp", Kind.TIMESTAMP, "Last seen.", volatile=True),
    ),
    device="deviceId",
    version=None,
    feeds=(
        Feed(
            Inventory.CPE,
            pages=ApiEndpoint("SoftwareVulnerabilitiesByMachine", 30, 1000),
            files=ApiEndpoint("SoftwareVulnerabilitiesExport", 5, 20),
        ),
    ),
    record_types={},
)
"""As documented in part: five key parts of which one is null at times, and a time that moves at every generation."""

CONFIGURATIONS = Export(
    name="configurations",
    fields=(
        Field("deviceId", "device_id", Kind.TEXT, "Device.", key=True),
        Field("configurationId", "configuration_id", Kind.TEXT, "Control.", key=True),
        Field("configurationImpact", "configuration_impact", Kind.NUMBER, "Impact."),
        Field("isApplicable", "is_applicable", Kind.TEXT, "Applicable."),
        Field("isCompliant", "is_compliant", Kind.TEXT, "Compliant."),
        Field("timestamp", "timestamp", Kind.TIMESTAMP, "Assessed.", volatile=True),
    ),
    device="deviceId",
    version=None,
    feeds=(),
    record_types={},
)
"""As documented in part: a subject of one field."""


class Store:
    """An empty store of an export, and what is compared with it."""

    def __init__(self, folder: Path, export: Export) -> None:
        self.folder = folder
        self.export = export
        self.number = 0
        self.engine = Engine.open(folder / f"{export.name}.duckdb", memory_limit_mib=256, threads=1)
        for table, first, fields in (
            ("devices", "device_no INTEGER, device_id VARCHAR", ()),
            ("software", "software_no INTEGER", export.subject),
            (
                "inventory",
                "inventory VARCHAR, device_no INTEGER, software_no INTEGER, digest UBIGINT,"
                " line_1 BIGINT, line_2 BIGINT",
                export.attributes,
            ),
        ):
            columns = "".join(f", {field.column} {COLUMN_TYPES[field.kind]}" for field in fields)
            self.engine.rows(f"CREATE TABLE {table} ({first}{columns})")
        self.engine.rows("CREATE TABLE meta (name VARCHAR, value VARCHAR)")
        self.workspace = Workspace(self.engine, export, Inventory.CPE)

    def read(self, *records: dict[str, Any]) -> Difference:
        """Compare the next snapshot; the first becomes the baseline. What differs is not stored."""
        self.number += 1
        text = "".join(json.dumps(record) + "\n" for record in records).encode()
        path = self.folder / f"{self.export.name}-{self.number}.json"
        path.write_bytes(text)
        names = {name: (name,) for record in records for name in record}
        spellings = {name.lower(): spelled for name, spelled in names.items()}
        snapshot = snapshot_of([Part(path, path.name, len(records), len(text), spellings)], self.number)
        tracked = self.export.tracked()
        if self.number == 1:
            return COMPARER.take_baseline(self.workspace, snapshot, tracked=tracked)
        return COMPARER.compare(self.workspace, snapshot, tracked=tracked, known=tracked, folds=False)

    def subjects(self, relation: str, *, condition: str = "true") -> list[tuple[Any, ...]]:
        """What the rows of a relation are about, in order."""
        columns = self.export.subject_columns
        return self.engine.rows(
            f"SELECT {columns} FROM (SELECT software_no FROM {relation} WHERE {condition})"
            f" JOIN software USING (software_no) ORDER BY ALL"
        )


@pytest.fixture
def vulnerabilities(tmp_path: Path) -> Iterator[Store]:
    """Of vulnerabilities."""
    store = Store(tmp_path, VULNERABILITIES)
    yield store
    store.engine.close()


def vulnerability(cve: str | None, **attributes: Any) -> dict[str, Any]:
    """A row of one product on one device."""
    software = {"deviceId": "d", "softwareVendor": "v", "softwareName": "n", "softwareVersion": "1"}
    return software | {"cveId": cve, "cvssScore": 7.5, "lastSeenTimestamp": "2026-11-23 08:00:00"} | attributes


def test_a_key_with_a_null_part_is_a_key_and_what_moves_every_time_is_no_difference(vulnerabilities: Store) -> None:
    """Software without a CVE is a record beside those with one; a last-seen time alone changes nothing."""
    rows = [vulnerability(None), vulnerability("CVE-1"), vulnerability("CVE-2")]
    baseline = vulnerabilities.read(*rows)
    assert (baseline.records, baseline.devices, baseline.duplicates) == (3, 1, 0)
    moved = [row | {"lastSeenTimestamp": "2026-11-23 14:00:00"} for row in rows]
    difference = vulnerabilities.read(*moved)
    assert (difference.records, difference.duplicates) == (3, 0)
    assert [vulnerabilities.workspace.count(relation) for relation in difference[:5]] == [0, 0, 0, 0, 0]


def test_what_comes_goes_and_changes_is_found_by_the_whole_key(vulnerabilities: Store) -> None:
    """Another CVE of the same product is another record; a severity that changes is a change of its record."""
    vulnerabilities.read(vulnerability(None), vulnerability("CVE-1", vulnerabilitySeverityLevel="High"))
    difference = vulnerabilities.read(
        vulnerability("CVE-1", vulnerabilitySeverityLevel="Critical"), vulnerability("CVE-2")
    )
    arrivals = difference.arrivals
    assert vulnerabilities.subjects(arrivals, condition="previous_row IS NULL") == [("v", "n", "1", "CVE-2")]
    assert vulnerabilities.subjects(arrivals, condition="previous_row IS NOT NULL") == [("v", "n", "1", "CVE-1")]
    assert vulnerabilities.subjects(difference.absent) == [("v", "n", "1", "")]


def test_a_subject_of_one_field_is_compared_by_the_same_statements(tmp_path: Path) -> None:
    """Secure configuration: booleans and numbers as they come; becoming compliant is a change of the record."""
    store = Store(tmp_path, CONFIGURATIONS)
    row = {"deviceId": "d", "configurationId": "scid-1", "configurationImpact": 8, "isCompliant": False}
    store.read(row, row | {"configurationId": "scid-2"})
    difference = store.read(row | {"isCompliant": True, "timestamp": "2026-11-23T08:00:00Z"})
    changed = store.engine.rows(f"SELECT configuration_id, is_compliant FROM {difference.arrivals}")
    assert (changed, store.subjects(difference.absent)) == ([("scid-1", "true")], [("scid-2",)])
    store.engine.close()


DOCUMENTED: dict[str, Sequence[str]] = {
    "arrivals": (*(field.column for field in SOFTWARE.fields), "digest", "device_no", "software_no", "previous_row"),
    "earlier": ("previous_row", *(field.column for field in SOFTWARE.fields), "device_no", "software_no"),
    "absent": ("previous_row", "device_no", "software_no"),
    "quiet": ("previous_row",),
    "rewritten": ("previous_row", "digest"),
}
"""What `Comparer` promises of each relation."""


def test_relations_have_the_columns_and_types_that_the_seam_promises(tmp_path: Path) -> None:
    """Whether there is a difference or none: a second engine is held to the same table."""
    types = {field.column: COLUMN_TYPES[field.kind] for field in SOFTWARE.fields}
    types |= {"digest": "UBIGINT", "device_no": "INTEGER", "software_no": "INTEGER", "previous_row": "BIGINT"}
    store = Store(tmp_path, SOFTWARE)
    row = {"deviceId": "d", "softwareVendor": "v", "softwareName": "n", "softwareVersion": "1"}
    for rows in ([row], [row, row | {"softwareVersion": "2"}]):
        difference = store.read(*rows)
        for name, columns in DOCUMENTED.items():
            described = store.engine.rows(f"DESCRIBE SELECT * FROM {getattr(difference, name)}")
            assert {column: kind for column, kind, *_ in described} == {column: types[column] for column in columns}
    store.engine.close()
