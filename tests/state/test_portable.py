"""An exported state, at the level of its tables; `operations/test_moving.py` has whole tenants that move."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from connector.state import portable
from connector.state.engine import Engine
from connector.state.meta import recall, remember
from connector.state.schema import MIGRATIONS, migrate
from connector.state.state import StateFile


def test_a_state_of_an_earlier_schema_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """As its file would be: every version from the first on, with what was in it."""
    for version in range(1, len(MIGRATIONS) + 1):
        old, new, folder = (tmp_path / f"{name}-{version}" for name in ("old", "new", "exported"))
        with closing(Engine.open(old, memory_limit_mib=256, threads=1)) as database:
            migrate(database, old, fresh=True, migrations=MIGRATIONS[:version])
            remember(database, "tenant_id", "t")
            database.rows("UPDATE position SET epoch = 4, last_sequence = 17")
            database.rows("INSERT INTO devices VALUES (1, 'd\0\u2028')")
            manifest = portable.write(StateFile(database, old), folder)
        assert (manifest.schema_version, manifest.tenant_id, manifest.epoch, manifest.sequence) == (version, "t", 4, 17)
        assert portable.read(folder) == manifest
        with closing(Engine.open(new, memory_limit_mib=256, threads=1)) as database:
            portable.load(database, new, folder, manifest)
            assert recall(database, "schema_version") == str(len(MIGRATIONS))
            assert database.rows("SELECT epoch, last_sequence, last_alert FROM position") == [(4, 17, 0)]
            assert database.rows("SELECT * FROM devices") == [(1, "d\0\u2028")]
            assert database.number("SELECT count(*) FROM duckdb_tables()") == len(portable._tables(database))
