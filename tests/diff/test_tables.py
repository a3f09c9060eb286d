"""Relations of a comparison: what is put into one is counted there."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.diff.tables import Workspace
from connector.exports.software import SOFTWARE
from connector.model import Inventory
from connector.state.state import StateFile

ROWS = 400_000


@pytest.mark.parametrize("beginning", ["range(0, 0)", "range(0, 1) WHERE false"])
def test_a_relation_that_began_empty_is_searched_as_any_other_once_it_is_filled(beginning: str, tmp_path: Path) -> None:
    """However many rows several threads put into it: filters, joins and counts find them within the transaction."""
    with StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256, threads=2) as state:
        database = state.database
        with database.transaction(keep=False):
            workspace = Workspace(database, SOFTWARE, Inventory.CPE)
            columns = "SELECT range AS row_no, NULL::VARCHAR[] AS paths, NULL::STRUCT(a BIGINT) AS before"
            filled = workspace.make("filled", f"{columns} FROM {beginning}")
            more = workspace.make("more", f"{columns} FROM range({ROWS})")
            database.rows(f"INSERT INTO {filled} SELECT * FROM {more}")
            counted = [
                workspace.count(f"{filled} WHERE row_no IS NOT NULL"),
                workspace.count(f"{filled} WHERE row_no >= {ROWS // 2}"),
                workspace.count(f"{filled} SEMI JOIN {more} USING (row_no)"),
                database.number(f"SELECT max(row_no) FROM {filled}"),
            ]
    assert counted == [ROWS, ROWS // 2, ROWS, ROWS - 1]
