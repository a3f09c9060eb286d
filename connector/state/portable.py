"""The whole state as a folder of plain files: what a tenant takes along to another machine, or into another state file.

A table is a Parquet file, and `manifest.json` says whose state it is, where it stands, and the rows and the SHA-256 of
each file. It is written last and the folder gets its name after that, so that what an interrupted export left is none.
A folder is loaded whole or not at all; migrations bring it up to date as they do a file of that schema version.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from connector import __version__, private_files
from connector.errors import StateCorrupt, StateError, StateVersionUnknown
from connector.state.engine import Engine
from connector.state.meta import recall
from connector.state.schema import MIGRATIONS, migrate
from connector.state.sql import Database, file_pattern, identifier, literal
from connector.state.state import StateFile

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 2**20
DAMAGED_HINT: Final = "Nothing was imported. Export it again, with `mde-inventory state export FOLDER`."
_NAME: Final = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class TableFile:
    """One table's file: its rows, and the SHA-256 of its bytes."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an exported state says of itself.

    Attributes:
        schema_version: of the state file.
        connector_version: of who wrote it.
        tenant_id: whose inventory it has; None while it has none.
        epoch: of the position.
        sequence: of the last staged change.
        published_sequence: of the last change that Kafka has.
        snapshot: number of the last staged snapshot.
        tables: by name.
    """

    schema_version: int
    connector_version: str
    tenant_id: str | None
    epoch: int
    sequence: int
    published_sequence: int
    snapshot: int
    tables: Mapping[str, TableFile]


def write(state: StateFile, folder: Path) -> Manifest:
    """Write the whole state to a new folder, which only this user can read.

    Raises:
        StateError: there is something of that name, or the folder cannot be made.
        StateFull: the disk is full.
    """
    if folder.exists() or folder.is_symlink():
        raise StateError(f"{folder} exists already", hint="Name a new folder.")
    with private_files.translate_errors(folder):
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.absolute().parent))
        try:
            manifest = _manifest_of(state.database, draft)
            with private_files.create(draft / MANIFEST) as file:
                file.write(json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2).encode() + b"\n")
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return manifest


def read(folder: Path) -> Manifest:
    """The manifest of an exported state, whose files are all there and as they were written.

    Raises:
        StateCorrupt: a file is missing or another, or it is no exported state.
        StateVersionUnknown: a newer connector wrote it.
    """
    try:
        values = json.loads(private_files.read(folder / MANIFEST, MANIFEST_BYTES_MAX))
        written_as, version = values.pop("format"), values["schema_version"]
        if written_as != FORMAT or not 0 < version <= len(MIGRATIONS):
            raise StateVersionUnknown(
                f"{folder} has format {written_as} and schema version {version}; this connector knows format {FORMAT}"
                f" and versions up to {len(MIGRATIONS)}",
                hint="Import it with the connector version that wrote it, or a newer one.",
            )
        values["tables"] = {name: TableFile(**file) for name, file in values["tables"].items()}
        manifest = Manifest(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateCorrupt(f"{folder} is no exported state: {error}", hint=DAMAGED_HINT) from error
    for name, file in manifest.tables.items():
        if not _NAME.fullmatch(name) or _digest(_path(folder, name)) != file.sha256:
            raise StateCorrupt(f"{_path(folder, name)} is not as it was written", hint=DAMAGED_HINT)
    return manifest


def load(database: Engine, path: Path, folder: Path, manifest: Manifest) -> None:
    """Fill an empty database with an exported state, and bring it up to date.

    Raises:
        StateCorrupt: it is not what its manifest says.
    """
    migrate(database, path, fresh=False, migrations=MIGRATIONS[: manifest.schema_version])
    if _tables(database) != sorted(manifest.tables):
        raise StateCorrupt(f"{folder} does not have the tables of its schema version", hint=DAMAGED_HINT)
    with database.transaction():
        for name, file in manifest.tables.items():
            _fill(database, name, _path(folder, name), file.rows)
    if _description(database) != {name: getattr(manifest, name) for name in _description(database)}:
        raise StateCorrupt(f"{folder / MANIFEST} says something else than the files beside it", hint=DAMAGED_HINT)
    database.checkpoint()
    migrate(database, path, fresh=False)


def _manifest_of(database: Database, draft: Path) -> Manifest:
    """Write all tables. Returns what there is to say of them."""
    tables = {}
    for name in _tables(database):
        path = _path(draft, name)
        rows = database.number(f"COPY (SELECT * FROM {name}) TO {literal(str(path))} (FORMAT parquet)")
        tables[name] = TableFile(rows, _digest(path))
    return Manifest(connector_version=__version__, tables=tables, **_description(database))


def _description(database: Database) -> dict[str, Any]:
    """Whose state it is and where it stands, as a manifest has it."""
    epoch, sequence, published_sequence, snapshot = database.rows(
        "SELECT epoch, last_sequence, published_sequence, last_snapshot FROM position"
    )[0]
    return {
        "schema_version": int(recall(database, "schema_version") or 0),
        "tenant_id": recall(database, "tenant_id"),
        "epoch": epoch,
        "sequence": sequence,
        "published_sequence": published_sequence,
        "snapshot": snapshot,
    }


def _fill(database: Database, table: str, path: Path, rows: int) -> None:
    """Put a file's rows into a table, in place of what a new one has."""
    source = f"read_parquet([{literal(file_pattern(path))}], hive_partitioning = false)"
    columns, written = (
        [row[:2] for row in database.rows(f"DESCRIBE SELECT * FROM {relation}")] for relation in (table, source)
    )
    if columns != written:
        raise StateCorrupt(f"{path} does not have the columns of its table", hint=DAMAGED_HINT)
    database.rows(f"DELETE FROM {table}")
    names = ", ".join(identifier(name) for name, _ in columns)
    if database.number(f"INSERT INTO {table} SELECT {names} FROM {source}") != rows:
        raise StateCorrupt(f"{path} has another number of rows than its manifest says", hint=DAMAGED_HINT)


def _tables(database: Database) -> list[str]:
    rows = database.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary")
    return sorted(name for (name,) in rows)


def _path(folder: Path, table: str) -> Path:
    return folder.absolute() / f"{table}.parquet"


def _digest(path: Path) -> str:
    """The SHA-256 of a file, which must not be a link; "" where there is none."""
    try:
        if path.is_symlink():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
