"""What a new epoch costs, in words, before anybody decides for it."""

from __future__ import annotations

from connector.assembly import Assembly
from connector.model import Inventory
from connector.wording import counted


def rebaseline_notice(assembly: Assembly, *, wait_seconds: float = 0.0) -> str:
    """What a new epoch means, with this file's figures and this configuration's baseline."""
    records, pending, held = 0, 0, 0
    if assembly.config.state.path.exists():
        with assembly.open_state(wait_seconds) as state:
            records = sum(state.journal.inventory_count(inventory) for inventory in Inventory)
            pending, held = state.journal.position().pending, state.journal.held_count()
    baseline = (
        "every record in it is published as BASELINE"
        if assembly.rules.emit_baseline
        else 'none of it is published (diff.baseline = "silent")'
    )
    return (
        f"A new epoch discards the stored inventory ({counted(records, 'record')}),"
        f" {counted(pending, 'pending change')} that will never be published, and {counted(held, 'held removal')}."
        f" The next poll takes its snapshot as the baseline: {baseline}, and nothing that was added, removed or changed"
        " since the last snapshot is reported as a change. Consumers see the epoch go up and sequence start at 1 again:"
        " they should discard the inventory that they built from earlier epochs, and take the baseline as the whole."
        " Earlier changes stay on the topics and in the journal."
    )
