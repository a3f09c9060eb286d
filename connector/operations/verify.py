"""What `state verify` finds: inside the state file, and between the file and Kafka's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector.assembly import Assembly
from connector.errors import EncodingError, SinkError
from connector.model import Check
from connector.operations.check import failing_as_check
from connector.operations.checkpoint import read_checkpoint
from connector.staging import audit
from connector.state.reconcile import Standing
from connector.state.state import StateFile
from connector.wording import counted

DIFFERS_HINT: Final = (
    "Move the file away. Then restore a copy, or rebuild it from Kafka with `mde-inventory state rebuild`."
)


def verify(assembly: Assembly, state: StateFile, *, offline: bool) -> Iterator[Check]:
    """Check the file by itself and, unless `offline`, compare it with Kafka's checkpoint.

    Kafka is only read: an instance that publishes is not fenced. The file stays open meanwhile, so that no poll moves
    one of the two.
    """
    problems = audit.verify(state)
    yield from (Check("state", fine=False, text=problem, hint=DIFFERS_HINT) for problem in problems)
    if not problems:
        unasked = "; Kafka was not asked" if offline else ""
        yield Check("state", fine=True, text=f"counts, keys and digests are as stored{unasked}")
    if not offline:
        yield from failing_as_check("kafka", lambda: [_compare_with_kafka(assembly, state)])


def _compare_with_kafka(assembly: Assembly, state: StateFile) -> Check:
    """Compare the checkpoint with the file. Raises where the table of checkpoint and file says to stop."""
    try:
        checkpoint = read_checkpoint(assembly)
    except (SinkError, EncodingError) as error:
        return Check("kafka", fine=False, text=f"not compared with Kafka's checkpoint: {error}", hint=error.hint)
    standing, position = state.journal.compare(checkpoint), state.journal.position()
    if checkpoint is None:
        return Check("kafka", fine=True, text=f"no checkpoint, as nothing is published; {position.pending:,} pending")
    pending = position.last_sequence - checkpoint.sequence if checkpoint.epoch == position.epoch else position.pending
    text = (
        f"checkpoint at epoch {checkpoint.epoch}, sequence {checkpoint.sequence}, snapshot {checkpoint.sealed},"
        f" which fits the file; {counted(pending, 'change')} pending"
    )
    if standing is Standing.WITHIN:
        text += "; Kafka has confirmed more than the file has noted, and the next poll notes it"
    return Check("kafka", fine=True, text=text)
