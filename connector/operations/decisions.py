"""What a person decides about the state file: approve or discard what is held, begin a new epoch.

A decision is staged in the state file. Whoever publishes from that file publishes it: a `run` that lives, or else the
verb itself. Were the verb to publish beside a living `run`, Kafka would take it for an instance that took over, and
fence the `run` for good.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from typing import Final, NamedTuple

from connector.assembly import Assembly
from connector.errors import ConnectorError
from connector.model import Hold
from connector.operations.checkpoint import read_checkpoint
from connector.staging import derived, maintenance
from connector.staging.holds import EVERYTHING, Choice
from connector.state.decisions import Action, Signature
from connector.state.publisher_lock import Holder
from connector.wording import counted

WAIT_SECONDS: Final = 60.0
"""How long a decision waits for a poll to close the state file, unless the verb is given another time."""


class Decision(NamedTuple):
    """What came of a decision.

    Attributes:
        records: those that it is about; of an approval, the removals.
        publisher: the other process that publishes what was decided; None where this one did.
        outage: what kept this process from publishing it, if anything did; the next poll does.
        believed: records of which the next snapshot is believed, in its values or as its additions.
        remaining: records that are still held.
    """

    records: int
    publisher: Holder | None = None
    outage: ConnectorError | None = None
    believed: int = 0
    remaining: int = 0


def operator() -> str:
    """Who runs this process, as the audit line of a decision names them: the user, and who became it with sudo."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = f"uid {user}"  # as containers have it
    former = os.environ.get("SUDO_USER", "")
    return f"{name} (sudo by {former})" if former and former != name else name


def describe(action: Action, decision: Decision) -> str:
    """What came of a decision, in words."""
    if not (decision.records or decision.believed):
        return "nothing that is held matches" if decision.remaining else "nothing is held"
    parts = []
    if action is Action.DISCARD:
        parts.append(f"{counted(decision.records, 'record')} kept in the inventory")
    elif decision.records:
        parts.append(_publication(decision))
    if decision.believed:
        parts.append(f"{counted(decision.believed, 'record')} will be taken as the next snapshot has them")
    if decision.remaining:
        parts.append(f"{counted(decision.remaining, 'record')} still held")
    return "; ".join(parts)


def _publication(decision: Decision) -> str:
    """What became of the removals that were approved."""
    removals = counted(decision.records, "removal")
    if decision.outage is not None:
        return f"{removals} approved and staged; the next poll publishes them"
    if decision.publisher is None:
        return f"{removals} approved and published"
    when = "soon" if decision.publisher.lasts else "with its next poll"
    return f"{removals} approved and staged; {decision.publisher} publishes them {when}"


def approve_held(
    assembly: Assembly,
    choice: Choice = EVERYTHING,
    *,
    expected: Sequence[Hold] | None = None,
    signature: Signature | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Decision:
    """Approve what the guard holds: stage its removals, and publish them unless another process does.

    Args:
        assembly: the tenant.
        choice: what of it.
        expected: what was held when a person looked; None where nobody did.
        signature: who approves it, why, and by which road; by default, whoever runs this process.
        wait_seconds: how long to wait for a poll to close the state file.

    Raises:
        StateLocked: a poll still has the state file open; nothing was approved.
        HoldChanged: something else is held by now; nothing was approved.
        SinkFenced: another instance took over.
    """
    with assembly.publisher_lock("held approve").attempted() as other:
        approval = assembly.pipeline.approve_held(
            choice,
            expected=expected,
            signature=signature or Signature(operator()),
            publish=other is None,
            wait_seconds=wait_seconds,
        )
    return Decision(approval.removed, other, approval.outage, approval.believed, approval.remaining)


def discard_held(
    assembly: Assembly,
    choice: Choice = EVERYTHING,
    *,
    expected: Sequence[Hold] | None = None,
    signature: Signature | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Decision:
    """Keep what the guard holds as it is stored. Nothing is published. Arguments and errors as `approve_held`."""
    with assembly.open_state(wait_seconds) as state:
        discarded = derived.discard_held(
            state,
            now=assembly.clock(),
            choice=choice,
            expected=expected,
            signature=signature or Signature(operator()),
        )
        return Decision(discarded, remaining=state.journal.held_count())


def rebaseline(assembly: Assembly, *, wait_seconds: float = WAIT_SECONDS) -> int:
    """Begin a new epoch, beyond whatever Kafka knows. Returns its number.

    Beside a living `run`, Kafka's checkpoint is only read. The state file is open meanwhile, so that the `run`
    publishes nothing; a batch of its own that is in doubt belongs to the epoch that ends.

    Raises:
        StateLocked: a poll still has the state file open.
        SinkError: Kafka cannot be asked.
    """
    with assembly.publisher_lock("state rebaseline").attempted() as other:
        if other is None:
            return assembly.pipeline.rebaseline(wait_seconds=wait_seconds)
        with assembly.open_state(wait_seconds) as state:
            return maintenance.rebaseline(state, read_checkpoint(assembly))
