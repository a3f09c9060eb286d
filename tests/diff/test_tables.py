"""Relations of a comparison: what is put into one is counted there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from connector.diff.tables import Workspace
from connector.exports.software import SOFTWARE
from connector.model import Inventory
from connector.state.state import StateFile

ROWS = 400_000
ROOMS = ("diff", "staging")
SOURCES = Path(__file__).parents[2] / "connector"


@pytest.mark.parametrize("beginning", ["range(0, 0)", "range(0, 1) WHERE false"])
def test_a_relation_that_began_empty_is_searched_as_any_other_once_it_is_filled(beginning: str, tmp_path: Path) -> None:
    """However many rows several threads put into it: filters, joins and counts find them within the transaction."""
    with StateFile.open(tmp_path / "state.duckdb", memory_limit_mib=256, threads=2) as state:
        database = state.database
        with database.transaction(keep=False):
            workspace = Workspace(database, SOFTWARE, Inventory.CPE)
            columns = "SELECT range AS row_no, NULL::VARCHAR[] AS paths, NULL::STRUCT(a BIGINT) AS before"
            filled = workspace.make("filled", f"{columns} FROM {beginning}", grows=True)
            more = workspace.make("more", f"{columns} FROM range({ROWS})")
            database.rows(f"INSERT INTO {filled} SELECT * FROM {more}")
            counted = [
                workspace.count(f"{filled} WHERE row_no IS NOT NULL"),
                workspace.count(f"{filled} WHERE row_no >= {ROWS // 2}"),
                workspace.count(f"{filled} SEMI JOIN {more} USING (row_no)"),
                database.number(f"SELECT max(row_no) FROM {filled}"),
            ]
    assert counted == [ROWS, ROWS // 2, ROWS, ROWS - 1]


def test_what_rows_are_added_to_was_made_to_grow() -> None:
    """An INSERT into any other relation could be lost to the engine's statistics."""
    texts = [path.read_text(encoding="utf-8") for room in ROOMS for path in sorted((SOURCES / room).rglob("*.py"))]
    filled = {name for text in texts for name in re.findall(r"INSERT INTO \{(?:\w+\.)*(\w+)\}", text)}
    calls = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    growing = {
        name
        for call in calls
        if any(keyword.arg == "grows" for keyword in call.keywords)
        for name in (getattr(call.args[0], "value", None), getattr(call.args[0], "id", None))
    }
    assert (len(filled) > 5, filled - growing) == (True, set())
