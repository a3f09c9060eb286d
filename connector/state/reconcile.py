"""How Kafka's checkpoint stands to the state file: a total function, row by row the table of `docs/recovery.md`.

`Journal` reads what the decision needs and acts on it.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from connector import __version__
from connector.errors import CheckpointLost, StateBehindCheckpoint, StateError
from connector.model import Checkpoint, Position, StagedSnapshot


class Standing(StrEnum):
    """A row of the table: how the checkpoint stands to the state file."""

    EMPTY = "no checkpoint, empty file: the first snapshot begins epoch 1"
    CURRENT = "the checkpoint is the one noted, and nothing is pending: poll"
    WITHIN = "the checkpoint is within what is pending: resume after it"
    BEFORE = "no checkpoint of this epoch, or the one noted: publish what is pending from its beginning"
    AHEAD = "the checkpoint is ahead of the file"
    BEHIND = "the checkpoint is behind what the file knows as published"
    FOREIGN = "the checkpoint names a place that this file does not have"


def standing(
    position: Position,
    checkpoint: Checkpoint | None,
    *,
    tenant_id: str | None,
    sealed: StagedSnapshot | None,
    unsealed: StagedSnapshot | None,
    alert_upto: int,
) -> Standing:
    """How a checkpoint stands to the state file.

    Args:
        position: of the state file.
        checkpoint: Kafka's last one.
        tenant_id: whose inventory the file holds; None while it holds none.
        sealed: the file's snapshot of the number that the checkpoint gives as sealed, where the file has it.
        unsealed: the file's snapshot of the number after that, where the file has it.
        alert_upto: number of the last alert of `unsealed` that a change up to the checkpoint's sequence raised, or of
            the last before that snapshot.
    """
    if checkpoint is not None and tenant_id not in {None, checkpoint.entra_tenant_id}:
        return Standing.FOREIGN
    if checkpoint is None or checkpoint.epoch < position.epoch:
        return _without_checkpoint(position, checkpoint)
    there = (checkpoint.sequence, checkpoint.alert_sequence, checkpoint.sealed)
    published = (position.published_sequence, position.published_alert, position.published_snapshot)
    staged = (position.last_sequence, position.last_alert, position.last_snapshot)
    if checkpoint.epoch > position.epoch or _any_more(there, staged):
        return Standing.AHEAD
    if _any_more(published, there):
        return Standing.BEHIND
    if not _has_place(position, checkpoint, sealed, unsealed, alert_upto):
        return Standing.FOREIGN
    return Standing.WITHIN if there != published else Standing.CURRENT if position.drained else Standing.BEFORE


def stop_unless_fine(standing: Standing, position: Position, checkpoint: Checkpoint | None, path: Path) -> None:
    """Raise what the rows of the table say that stop.

    Raises:
        StateBehindCheckpoint: AHEAD.
        CheckpointLost: BEHIND.
        StateError: FOREIGN.
    """
    there = (
        f"Kafka's checkpoint (epoch {checkpoint.epoch}, sequence {checkpoint.sequence}, alert"
        f" {checkpoint.alert_sequence}, snapshot {checkpoint.sealed})"
        if checkpoint
        else "Kafka, which has no checkpoint,"
    )
    if standing is Standing.AHEAD:
        raise StateBehindCheckpoint(
            f"{there} is ahead of {path} (epoch {position.epoch}, sequence {position.last_sequence}, alert"
            f" {position.last_alert}, snapshot {position.last_snapshot})",
            hint="The state file is an old copy, or a new one. Restore the newest; or move it away and rebuild"
            " it from Kafka with `mde-inventory state rebuild`; or begin a new epoch with `mde-inventory state"
            " rebaseline`.",
        )
    if standing is Standing.BEHIND:
        raise CheckpointLost(
            f"{there} is behind what {path} knows as published (epoch {position.epoch}, sequence"
            f" {position.published_sequence}, alert {position.published_alert}, snapshot"
            f" {position.published_snapshot})",
            hint="Was the checkpoints topic deleted or restored, or transactional_id or topic_prefix changed (by a new"
            " version: see its changelog)? Undo that, or begin a new epoch with `mde-inventory state rebaseline`.",
        )
    if standing is Standing.FOREIGN:
        raise StateError(
            f"{there} does not fit {path}: another state file, or another copy of this one, was published from",
            hint="Restore the file that was, give every tenant its own transactional_id, or begin a new epoch"
            " with `mde-inventory state rebaseline`.",
        )


def standing_checkpoint(
    position: Position, newest: StagedSnapshot | None, *, transactional_id: str, tenant_id: str, written_at: int
) -> Checkpoint:
    """Kafka's checkpoint while nothing is pending, with a new time: it rides with what is published beside the changes.

    Args:
        position: of the state file, drained.
        newest: the snapshot that the last batch belonged to.
        transactional_id: whose checkpoint it is.
        tenant_id: the same.
        written_at: milliseconds since 1970.
    """
    return Checkpoint(
        transactional_id=transactional_id,
        entra_tenant_id=tenant_id,
        epoch=position.epoch,
        sequence=position.published_sequence,
        alert_sequence=position.published_alert,
        sealed=position.published_snapshot,
        snapshot_id=newest.snapshot_id if newest else None,
        written_at=written_at,
        connector_version=__version__,
    )


def _without_checkpoint(position: Position, checkpoint: Checkpoint | None) -> Standing:
    """No checkpoint of this epoch: well where nothing of this epoch is known as published."""
    if position.published_sequence or position.published_alert or position.published_snapshot > position.epoch_snapshot:
        return Standing.BEHIND
    return Standing.EMPTY if checkpoint is None and position.drained and position.epoch == 1 else Standing.BEFORE


def _any_more(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    return any(mine > other for mine, other in zip(left, right, strict=True))


def _has_place(
    position: Position,
    checkpoint: Checkpoint,
    sealed: StagedSnapshot | None,
    unsealed: StagedSnapshot | None,
    alert_upto: int,
) -> bool:
    """Whether sequence, alert, seal and snapshot of a checkpoint fit together in this file.

    They do not where another copy of the file went on, staged other snapshots, and published them.
    """
    if checkpoint.sealed == position.epoch_snapshot:
        begin, name = (0, 0), None
    elif sealed is not None and sealed.epoch == position.epoch:
        begin, name = (sealed.sequence_after, sealed.alert_after), sealed.snapshot_id
    else:
        return False
    there = (checkpoint.sequence, checkpoint.alert_sequence)
    if there == begin:
        return name in {None, checkpoint.snapshot_id}
    if unsealed is None or checkpoint.snapshot_id != unsealed.snapshot_id:
        return False
    # Alerts ride with their changes; those without one follow the last change, and the very last rides with the seal.
    end = (unsealed.sequence_after, unsealed.alert_after)
    alerts_end = unsealed.alert_after if checkpoint.sequence == unsealed.sequence_after else alert_upto
    return begin < there < end and alert_upto <= checkpoint.alert_sequence <= alerts_end
