"""A tenant moves: its whole state is exported to a folder, and imported where its polls go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from connector.assembly import Assembly
from connector.errors import StateError
from connector.exports.software import SOFTWARE
from connector.operations.checkpoint import read_checkpoint
from connector.staging import restore
from connector.state import portable
from connector.state.portable import Manifest

NOTICE: Final = (
    "Polls go on here, where the exported state stopped. Stop whatever still polls this tenant from the other state"
    " file: whichever of the two publishes first makes the other one an old copy."
)


def check(assembly: Assembly, folder: Path) -> Manifest:
    """What a folder says of itself, where it can be this tenant's state file.

    Raises:
        StateError: there is a state file, or the folder is not as it was written, of another tenant, or of a newer
            connector.
    """
    restore.check_absent(assembly.config.state.path)
    manifest, tenant_id = portable.read(folder), assembly.config.source.tenant_id
    if manifest.tenant_id not in {None, tenant_id}:
        raise StateError(
            f"{folder} holds the inventory of tenant {manifest.tenant_id}, not of {tenant_id}",
            hint="Nothing was imported. Name the folder of this tenant.",
        )
    return manifest


def import_state(assembly: Assembly, folder: Path, *, offline: bool) -> Manifest:
    """Make the state file of an exported state, and of nothing less than all of it.

    Unless `offline`, Kafka's checkpoint is read: a state that is older than what was published, or of another epoch,
    would be refused by the next poll, and is refused here. An instance that publishes is not fenced.

    Raises:
        StateError: as `check`; or the state does not add up, or does not fit Kafka's checkpoint. Nothing is left
            behind.
        SinkError: Kafka cannot be asked.
    """
    manifest = check(assembly, folder)
    settings = assembly.config.state
    options: dict[str, Any] = {"memory_limit_mib": settings.memory_limit_mib, "threads": settings.threads}
    with (
        assembly.publisher_lock("state import"),
        restore.imported(settings.path, options, SOFTWARE, folder, manifest) as state,
    ):
        if not offline:
            state.journal.compare(read_checkpoint(assembly))
    return manifest
