"""A tenant that moves to another state file, with real polls before and after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.errors import StateBehindCheckpoint, StateCorrupt, StateError, StateVersionUnknown
from connector.model import Topic
from connector.operations.moving import import_state
from connector.state import portable
from connector.state.state import StateFile
from tests.support.polled import PolledTenant, open_tenant


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[PolledTenant]:
    """A tenant with two snapshots, both published."""
    with open_tenant(tmp_path) as opened:
        opened.poll()
        opened.advance()
        opened.poll()
        yield opened


def exported(tenant: PolledTenant, folder: Path) -> Path:
    """The tenant's whole state, in a folder of its own."""
    with tenant.assembly() as assembly, assembly.read_state() as state:
        portable.write(state, folder)
    return folder


def moved(tenant: PolledTenant, folder: Path, path: Path, *, offline: bool = False) -> None:
    """The tenant has another state file from now on, made of an exported state."""
    tenant.path = path
    with tenant.assembly() as assembly:
        import_state(assembly, folder, offline=offline)


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a state file."""
    with StateFile.open(path, memory_limit_mib=256, read_only=True) as state:
        names = [name for (name,) in state.database.rows("SELECT table_name FROM duckdb_tables()")]
        return {name: sorted(state.database.rows(f"SELECT * FROM {name}"), key=repr) for name in sorted(names)}


def test_a_tenant_moves_without_an_event(tenant: PolledTenant, tmp_path: Path) -> None:
    """Every row of the state is there again; the same generation is no event, and the next one goes on counting."""
    folder, old = exported(tenant, tmp_path / "it's a=b [1]"), tenant.path
    before = tenant.published(Topic.CHANGES)
    moved(tenant, folder, tmp_path / "elsewhere" / "state.duckdb")
    assert tables(tenant.path) == tables(old)
    assert tenant.poll().outcome == "unchanged"
    assert tenant.published(Topic.CHANGES) == before
    tenant.advance()
    result = tenant.poll()
    changes = tenant.published(Topic.CHANGES)
    assert result.published == len(changes) - len(before) > 0
    assert [change["sequence"] for change in changes] == list(range(1, len(changes) + 1))
    assert len({change["eventId"] for change in changes}) == len(changes)


def test_what_was_pending_is_published_from_where_it_was_imported(tenant: PolledTenant, tmp_path: Path) -> None:
    """Kafka was away as the state was exported: the next poll elsewhere publishes the backlog, once."""
    tenant.advance()
    away = {"kafka": {"client": {"bootstrap.servers": "127.0.0.1:1"}}}
    with tenant.assembly(**away) as assembly:
        assembly.kafka_seconds_max = 0.2
        (staged,) = assembly.pipeline.poll()
    assert staged.pending
    folder = exported(tenant, tmp_path / "exported")
    moved(tenant, folder, tmp_path / "elsewhere" / "state.duckdb")
    tenant.poll()
    changes = tenant.published(Topic.CHANGES)
    assert [change["sequence"] for change in changes] == list(range(1, len(changes) + 1))
    assert len(changes) >= staged.pending


def test_what_a_newer_connector_exported_is_refused(tenant: PolledTenant, tmp_path: Path) -> None:
    """Its tables may mean something else."""
    folder = exported(tenant, tmp_path / "exported")
    manifest = json.loads((folder / portable.MANIFEST).read_bytes())
    (folder / portable.MANIFEST).write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(StateVersionUnknown):
        moved(tenant, folder, tmp_path / "newer" / "state.duckdb")
    assert not tenant.path.exists()


def spoil_file(folder: Path) -> None:
    """One bit of a table is another."""
    content = bytearray((folder / "inventory.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "inventory.parquet").write_bytes(content)


def lose_file(folder: Path) -> None:
    """A table is missing."""
    (folder / "devices.parquet").unlink()


def lose_manifest(folder: Path) -> None:
    """As of an export that was stopped."""
    (folder / portable.MANIFEST).unlink()


def other_epoch(folder: Path) -> None:
    """The manifest says another epoch than the tables."""
    path = folder / portable.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"epoch": 2}))


def forget_table(folder: Path) -> None:
    """The manifest has one table fewer."""
    path = folder / portable.MANIFEST
    values = json.loads(path.read_bytes())
    del values["tables"]["held"]
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("spoil", [spoil_file, lose_file, lose_manifest, other_epoch, forget_table])
def test_what_is_not_as_it_was_written_is_refused(
    tenant: PolledTenant, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Whatever it is that differs: nothing is imported, and no draft is left behind."""
    folder = exported(tenant, tmp_path / "exported")
    spoil(folder)
    with pytest.raises(StateCorrupt) as raised:
        moved(tenant, folder, tmp_path / "elsewhere" / "state.duckdb")
    assert raised.value.hint
    assert {path.name for path in tenant.path.parent.glob("*")} <= {"state.duckdb.lock"}


def test_another_tenants_state_and_a_second_state_file_are_refused(tenant: PolledTenant, tmp_path: Path) -> None:
    """Each with what to do; the state file that is there stays as it is."""
    folder = exported(tenant, tmp_path / "exported")
    before = tenant.path.read_bytes()
    with pytest.raises(StateError, match="exists"):
        moved(tenant, folder, tenant.path)
    assert tenant.path.read_bytes() == before
    other = {"tenant_id": "22222222-2222-4222-8222-222222222222"}
    tenant.path = tmp_path / "elsewhere" / "state.duckdb"
    with tenant.assembly(source=other) as assembly, pytest.raises(StateError, match="holds the inventory of tenant"):
        import_state(assembly, folder, offline=False)
    assert not tenant.path.exists()
    with tenant.assembly() as assembly, pytest.raises(StateError):
        portable.read(tmp_path / "nowhere")
    shutil.rmtree(folder)


def test_a_state_that_kafka_is_ahead_of_is_refused(tenant: PolledTenant, tmp_path: Path) -> None:
    """An older export, and one of an epoch that has ended: the next poll would refuse them, so nothing is imported."""
    folder, old = exported(tenant, tmp_path / "exported"), tenant.path
    tenant.advance()
    tenant.poll()
    with pytest.raises(StateBehindCheckpoint):
        moved(tenant, folder, tmp_path / "elsewhere" / "state.duckdb")
    assert not tenant.path.exists()
    tenant.path = old
    with tenant.assembly() as assembly:
        assembly.pipeline.rebaseline()
    tenant.poll()
    with pytest.raises(StateBehindCheckpoint, match="epoch 2"):
        moved(tenant, folder, tmp_path / "elsewhere" / "state.duckdb")
    assert not tenant.path.exists()
    moved(tenant, folder, tmp_path / "elsewhere" / "state.duckdb", offline=True)
    assert isinstance(tenant.fail(), StateBehindCheckpoint)


def test_an_export_overwrites_nothing(tenant: PolledTenant, tmp_path: Path) -> None:
    """A folder that is there is refused; what is written is for its owner alone, and has no draft beside it."""
    folder = exported(tenant, tmp_path / "exported")
    with pytest.raises(StateError, match="exists already"):
        exported(tenant, folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("exported")] == ["exported"]
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
