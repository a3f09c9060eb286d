from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import StateCorrupt, StateError, StateVersionUnknown
from connector.exports.fields import COLUMN_TYPES
from connector.exports.software import SOFTWARE
from connector.state import journal
from connector.state.engine import Engine
from connector.state.schema import MIGRATIONS, migrate
from connector.state.state import StateFile
from tests.support.bench import Bench, record
from tests.support.stored import stored_records


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty database file, open."""
    opened = Engine.open(tmp_path / "state.duckdb", memory_limit_mib=256)
    yield opened
    opened.close()


def columns(engine: Engine, table: str) -> dict[str, str]:
    """Names and types of a table's columns, in their order."""
    rows = engine.rows(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = $1 ORDER BY column_index", [table]
    )
    return dict(rows)


def begin(engine: Engine, version: int) -> None:
    """What the release with that schema version left."""
    for statement in (step for steps in MIGRATIONS[:version] for step in steps):
        engine.rows(statement)
    engine.rows("INSERT INTO meta VALUES ('schema_version', $1)", [str(version)])


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_a_file_of_any_version_comes_to_the_newest(version: int, engine: Engine, tmp_path: Path) -> None:
    """From nothing, and from every version there was: the tables hold every field, and know their version."""
    if version:
        begin(engine, version)
    migrate(engine, tmp_path / "state.duckdb", fresh=version == 0)
    types = {field.column: COLUMN_TYPES[field.kind] for field in SOFTWARE.fields}
    attributes = {field.column: types[field.column] for field in SOFTWARE.attributes}
    assert attributes.items() <= columns(engine, "inventory").items()
    assert types.items() <= columns(engine, "changes").items()
    before = ", ".join(f'"{field.name}" {COLUMN_TYPES[field.kind]}' for field in SOFTWARE.fields).replace('"', "")
    assert columns(engine, "changes")["before"].replace('"', "") == f"STRUCT({before})"
    assert sorted(columns(engine, "snapshots")) == sorted(journal.SNAPSHOT_COLUMNS)
    assert list(columns(engine, "position")) == list(journal.POSITION_COLUMNS)
    assert engine.rows("SELECT value FROM meta WHERE name = 'schema_version'") == [(str(len(MIGRATIONS)),)]


def test_what_an_older_file_holds_is_not_new_to_the_organisation(engine: Engine, tmp_path: Path) -> None:
    """Every version in its inventory counts as seen: by its earliest record or its last snapshot."""
    begin(engine, 1)
    engine.rows("INSERT INTO software VALUES (1, 'v', 'a', '1'), (2, 'v', 'b', '2')")
    for device, software, seen in ((1, 1, "2020-01-02T00:00:00Z"), (2, 1, "2020-01-01T00:00:00Z"), (1, 2, "long ago")):
        engine.rows(
            "INSERT INTO inventory BY NAME SELECT 'CPE' AS inventory, $1 AS device_no, $2 AS software_no,"
            " $3 AS software_first_seen_timestamp",
            [device, software, seen],
        )
    for number in (1, 2):
        engine.rows(
            "INSERT INTO snapshots BY NAME SELECT 'CPE' AS inventory, $1 AS snapshot_no, $2 AS generated_at",
            [number, 1_700_000_000_000 + number],
        )
    migrate(engine, tmp_path / "state.duckdb", fresh=False)
    assert engine.rows("SELECT * FROM first_seen ORDER BY software_name") == [
        ("v", "a", "1", 1_577_836_800_000, None),
        ("v", "b", "2", 1_700_000_000_002, None),
    ]
    assert engine.rows("SELECT alert_after FROM snapshots") == [(0,), (0,)]
    assert engine.rows("SELECT last_alert, published_alert FROM position") == [(0, 0)]


def test_no_table_has_a_key_an_index_or_a_constraint(engine: Engine, tmp_path: Path) -> None:
    """Files with those are the ones that would not open after a crash."""
    migrate(engine, tmp_path / "state.duckdb", fresh=True)
    assert engine.rows("SELECT * FROM duckdb_constraints()") == []
    assert engine.rows("SELECT * FROM duckdb_indexes()") == []


def test_a_file_of_a_newer_version_is_refused(engine: Engine, tmp_path: Path) -> None:
    """It is left as it is: only a newer connector knows what it means."""
    begin(engine, len(MIGRATIONS))
    engine.rows("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(StateVersionUnknown, match="99") as raised:
        migrate(engine, tmp_path / "state.duckdb", fresh=False)
    assert "newer" in raised.value.hint


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE notes (text VARCHAR)"],
        ["CREATE TABLE meta (name VARCHAR, value VARCHAR)"],
        ["CREATE TABLE meta (name VARCHAR, value VARCHAR)", "INSERT INTO meta VALUES ('schema_version', 'x')"],
    ],
)
def test_a_database_of_somebody_else_is_refused(statements: list[str], engine: Engine, tmp_path: Path) -> None:
    """Whatever tables it has: none of ours is made beside them."""
    for statement in statements:
        engine.rows(statement)
    before = engine.rows("SELECT table_name FROM duckdb_tables()")
    with pytest.raises(StateCorrupt, match="not a state file"):
        migrate(engine, tmp_path / "state.duckdb", fresh=False)
    assert engine.rows("SELECT table_name FROM duckdb_tables()") == before


def test_an_older_file_is_not_brought_up_to_date_by_reading_it(engine: Engine, tmp_path: Path) -> None:
    """`status` and a dry run write nothing, and say what does."""
    begin(engine, len(MIGRATIONS))
    engine.rows("UPDATE meta SET value = '0' WHERE name = 'schema_version'")
    with pytest.raises(StateError, match="version 0") as raised:
        migrate(engine, tmp_path / "state.duckdb", fresh=False, read_only=True)
    assert "poll" in raised.value.hint


def test_a_file_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    """A process that is killed before its first commit leaves a file without a table."""
    Engine.open(tmp_path / "state.duckdb", memory_limit_mib=256).close()
    with StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256) as state:
        assert state.journal.position().epoch == 1


def test_a_step_that_fails_leaves_the_file_as_it_was(engine: Engine, tmp_path: Path) -> None:
    """A step is one transaction."""
    migrate(engine, tmp_path / "state.duckdb", fresh=True)
    steps = (*MIGRATIONS, ("ALTER TABLE inventory ADD COLUMN extra VARCHAR", "SELECT no_such_column FROM meta"))
    with pytest.raises(StateError):
        migrate(engine, tmp_path / "state.duckdb", fresh=False, migrations=steps)
    assert "extra" not in columns(engine, "inventory")
    assert engine.rows("SELECT value FROM meta WHERE name = 'schema_version'") == [(str(len(MIGRATIONS)),)]


def test_a_field_that_is_new_in_the_table_of_fields_makes_no_event(tmp_path: Path) -> None:
    """A release that reads one more property: what it finds is stored, and is no change of any record."""
    lines = [record("d", name, osPlatform="Linux") for name in ("a", "b")]
    with Bench(tmp_path) as bench:
        bench.stage(lines)
        # As an older release left it: it neither knew nor tracked the property.
        bench.state.database.rows("UPDATE inventory SET os_platform = NULL")
        bench.state.database.rows(
            "UPDATE meta SET value = replace(value, 'osPlatform ', '') WHERE name LIKE 'tracked %'"
        )
        bench.state.database.rows("UPDATE meta SET value = 'other fields' WHERE name = 'digest'")
        bench.state.database.rows("UPDATE contents SET engine = 'older'")
        assert bench.take(bench.snapshot(lines)).counts.changes == 0
        assert {row["osPlatform"] for row in stored_records(bench.state, bench.snapshot(lines).inventory)} == {"Linux"}
        changed = [lines[0], lines[1] | {"osPlatform": "macOS"}]
        assert bench.take(bench.snapshot(changed)).counts.changed == 1
