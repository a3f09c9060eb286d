"""KQL, judged by Microsoft's own parser: unknown columns, types and functions, and what a query uses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

JUDGE: Final = Path(__file__).with_name("check_kql.js")
KUSTO_TYPES: Final = {"boolean": "bool"}
"""What KQL calls a type that Azure Monitor has another name for."""


class Question(NamedTuple):
    """A query, and the tables that there are, as column and type."""

    name: str
    text: str
    tables: Mapping[str, Mapping[str, str]]


class Verdict(NamedTuple):
    """What is wrong with a query, its result as column and type, and what it uses."""

    wrong: list[str]
    result: dict[str, str]
    functions: set[str]
    operators: set[str]
    columns: set[str]
    tables: set[str]


def as_kusto(columns: Mapping[str, str]) -> dict[str, str]:
    """Columns with KQL's names of their types."""
    return {name: KUSTO_TYPES.get(kind, kind) for name, kind in columns.items()}


def judge(questions: Iterable[Question], kusto: Path) -> dict[str, Verdict]:
    """The verdict on each query, by its name; `kusto` is the package file of the language service."""
    asked = [
        {
            "name": name,
            "text": text,
            "tables": {
                table: f"({', '.join(f'{column}: {kind}' for column, kind in as_kusto(columns).items())})"
                for table, columns in tables.items()
            },
        }
        for name, text, tables in questions
    ]
    ran = subprocess.run(
        ["node", str(JUDGE), str(kusto.parent)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return {
        name: Verdict(
            answer["wrong"],
            answer["result"],
            *(set(answer[key]) for key in ("functions", "operators", "columns", "tables")),
        )
        for name, answer in json.loads(ran.stdout).items()
    }
