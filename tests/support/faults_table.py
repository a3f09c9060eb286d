"""Counts the table of faults, and plays it: `python -m tests.support.faults_table [--run] [PYTEST_ARGUMENT ...]`.

Prints the cases and tests of each section of FAULTS.md; with `--run` every test that the table names is run, and each
case is printed with what came of it. A case has passed where all its tests have; one that needs a broker which is not
there is shown as not proven.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

TESTS = Path(__file__).parents[1]


class Case(NamedTuple):
    """One row: its section, what goes wrong, what comes of it, and its tests as `file.py::test_name`."""

    section: str
    what: str
    outcome: str
    tests: tuple[str, ...]


def cases() -> list[Case]:
    """Every row of the table, in order."""
    table, section = [], ""
    for line in (TESTS / "FAULTS.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and "::test_" in line:
            table.append(Case(section, cells[0], cells[1], tuple(re.findall(r"`([\w/]+\.py::test_\w+)`", line))))
    return table


def play(tests: list[str], arguments: list[str]) -> dict[str, str]:
    """Run tests; what came of each: passed, failed or skipped, the worst of its parameters."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        named = [str(TESTS / test) for test in tests]
        options = ["-p", "no:cacheprovider", "-q", f"--junitxml={report}", "-o", "junit_family=xunit1"]
        subprocess.run([sys.executable, "-m", "pytest", *options, *arguments, *named], check=False)
        outcomes: dict[str, str] = {}
        for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it
            file = Path(str(case.get("file"))).relative_to("tests")
            kinds = {child.tag for child in case}
            outcome = "failed" if kinds & {"failure", "error"} else "not proven" if "skipped" in kinds else "passed"
            name = f"{file.as_posix()}::{str(case.get('name')).partition('[')[0]}"
            outcomes[name] = min(outcome, outcomes.get(name, outcome), key=("failed", "not proven", "passed").index)
    return outcomes


def main() -> int:
    """Print the table, played or not."""
    arguments = sys.argv[1:]
    table = cases()
    tests = sorted({test for case in table for test in case.tests})
    outcomes = play(tests, [argument for argument in arguments if argument != "--run"]) if "--run" in arguments else {}
    if outcomes:
        for case in table:
            worst = min((outcomes.get(test, "not proven") for test in case.tests),
                        key=("failed", "not proven", "passed").index)  # fmt: skip
            print(f"{worst:10} {case.section}: {case.what} -> {case.outcome}  [{len(case.tests)} tests]")
    for section, count in Counter(case.section for case in table).items():
        print(f"{count:4} cases  {section}")
    print(f"{len(table):4} cases in all, {len(tests)} tests; {dict(Counter(outcomes.values())) or 'not run'}")
    return int("failed" in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
