"""What a user would otherwise write to find what changed between two snapshots, each as a command of its own.

They compare the documented fields by their exact keys, read the same files, and print how many records were added,
removed and changed. None of them verifies a file, holds a removal, raises an alert or publishes. What they have of the
snapshot before is prepared by commands that are not measured, where a tool would keep it.

Their libraries are the dependency group `bench`, in an environment of their own: `make bench-rivals`. None of them is
imported here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PYTHON_VARIABLE: Final = "MDE_BENCH_PYTHON"
"""Names the Python that has the libraries, where it is not the one of `make bench-rivals`."""
ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv" / "rivals" / "bin" / "python"
SCRIPTS: Final = Path(__file__).with_name("rival_scripts")

KEYS: Final = ("DeviceId", "SoftwareVendor", "SoftwareName", "SoftwareVersion")
FIELDS: Final = (
    *KEYS, "DeviceName", "OSPlatform", "RbacGroupId", "RbacGroupName", "NumberOfWeaknesses", "DiskPaths",
    "RegistryPaths", "SoftwareFirstSeenTimestamp", "EndOfSupportStatus", "EndOfSupportDate",
)  # fmt: skip
Commands = list[list[str]]


@dataclass(frozen=True, slots=True)
class Rival:
    """One way to do it.

    Attributes:
        commands: given a folder, the files before and the files now: what prepares it, then what is measured.
        needs: modules that its Python must have.
        programs: that must be installed.
    """

    commands: Callable[[Path, Sequence[Path], Sequence[Path]], Commands]
    needs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def missing(self) -> str:
        """What is not installed; empty where nothing is missing."""
        programs = [program for program in self.programs if shutil.which(program) is None]
        modules = [module for module in self.needs if not _has(module)]
        return ", ".join(f"{name} is not installed" for name in (*programs, *modules))


def _python() -> str:
    """The Python that has the libraries."""
    given = os.environ.get(PYTHON_VARIABLE)
    return given or (str(ENVIRONMENT) if ENVIRONMENT.exists() else sys.executable)


def _has(module: str) -> bool:
    found = subprocess.run([_python(), "-c", f"import {module}"], capture_output=True, check=False)
    return found.returncode == 0


def _script(name: str) -> Callable[[Path, Sequence[Path], Sequence[Path]], Commands]:
    """A script that gets a folder, the files before, `--`, and the files now."""

    def commands(folder: Path, before: Sequence[Path], now: Sequence[Path]) -> Commands:
        return [[_python(), str(SCRIPTS / name), str(folder), *map(str, before), "--", *map(str, now)]]

    return commands


def _dlt(folder: Path, before: Sequence[Path], now: Sequence[Path]) -> Commands:
    """Loads the snapshot before, then merges the one of now."""
    script = [_python(), str(SCRIPTS / "dlt_scd2.py"), str(folder)]
    return [[*script, *map(str, before)], [*script, *map(str, now)]]


def _lines(folder: Path, before: Sequence[Path], now: Sequence[Path]) -> Commands:
    """Sorted lines of the documented fields; those before are kept from the last time."""
    select = "[" + ",".join(f".{name}" for name in FIELDS) + "]"
    sort = f"jq -c '{select}' | LC_ALL=C sort -S 512M"
    old, new = folder / "before", folder / "now"
    compare = f'zcat "$@" | {sort} > {new} && LC_ALL=C comm -3 {old} {new} | wc -l'
    return [
        ["sh", "-c", f'zcat "$@" | {sort} > {old}', "sh", *map(str, before)],
        ["sh", "-c", compare, "sh", *map(str, now)],
    ]


RIVALS: Final = {
    "pandas merge": Rival(_script("pandas_merge.py"), needs=("pandas",)),
    "Polars join": Rival(_script("polars_join.py"), needs=("polars",)),
    "dict diff with orjson": Rival(_script("orjson_dict.py"), needs=("orjson",)),
    "jq -c | sort | comm": Rival(_lines, programs=("jq", "sort", "comm")),
    "dlt SCD2 into DuckDB": Rival(_dlt, needs=("dlt", "duckdb")),
}
