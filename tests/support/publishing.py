"""A sink whose checkpoints are plain JSON, for tests; and a process that publishes with it until it is killed.

`python -m tests.support.publishing BOOTSTRAP PREFIX WHERE` recovers, then publishes numbers in batches, beginning
after its checkpoint. WHERE is `for-ever`, `before-commit` (it stops there, with everything produced, and waits to be
killed) or a number to stop after.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from connector.kafka.sink import Sink
from connector.model import Checkpoint, Message

BATCH = 50
KEYS = 7
TENANT = "11111111-2222-3333-4444-555555555555"


def encode_checkpoint(checkpoint: Checkpoint, topic: str) -> Message:
    """A checkpoint as JSON."""
    return Message(topic, checkpoint.transactional_id.encode(), json.dumps(asdict(checkpoint)).encode())


def decode_checkpoint(value: bytes) -> Checkpoint:
    """The checkpoint in a JSON text."""
    return Checkpoint(**json.loads(value))


def make_sink(bootstrap_servers: str, prefix: str, **options: Any) -> Sink:
    """A sink of a prefix; its topics are `<prefix>.changes` and `<prefix>.checkpoints`.

    `client` adds to `[kafka.client]`, `before_checkpoint` is called when a checkpoint (no claim) is about to be
    produced; everything else goes to the sink.
    """
    before_checkpoint: Callable[[], None] | None = options.pop("before_checkpoint", None)

    def encode(checkpoint: Checkpoint) -> Message:
        if before_checkpoint is not None and checkpoint.claim is None:
            before_checkpoint()
        return encode_checkpoint(checkpoint, f"{prefix}.checkpoints")

    defaults: dict[str, Any] = {
        "transactional_id": prefix,
        "tenant_id": TENANT,
        "checkpoints_topic": f"{prefix}.checkpoints",
        "delivery": "exactly_once",
        "encode_checkpoint": encode,
        "decode_checkpoint": decode_checkpoint,
    }
    client = {"bootstrap.servers": bootstrap_servers, **options.pop("client", {})}
    return Sink(client, **{**defaults, **options})


def checkpoint_of(prefix: str, sequence: int) -> Checkpoint:
    """A checkpoint at a sequence."""
    return Checkpoint(prefix, TENANT, 1, sequence, 0, None, 1_700_000_000_000, "0.1.0")


def numbers(prefix: str, first: int, last: int) -> Iterator[Message]:
    """One message per number, spread over some keys."""
    for number in range(first, last + 1):
        yield Message(f"{prefix}.changes", b"device-%d" % (number % KEYS), b"%d" % number, (("n", b"%d" % number),))


def main(bootstrap_servers: str, prefix: str, where: str) -> None:
    """Publish until the end or a kill; a line on stdout after each step."""
    last_of_all = int(where) if where.isdigit() else None

    def before_checkpoint() -> None:
        if where == "before-commit":
            print("produced", flush=True)
            threading.Event().wait(120)

    sink = make_sink(bootstrap_servers, prefix, before_checkpoint=before_checkpoint)
    checkpoint = sink.recover()
    sequence = checkpoint.sequence if checkpoint else 0
    print(f"recovered {sequence}", flush=True)
    while last_of_all is None or sequence < last_of_all:
        upto = sequence + BATCH if last_of_all is None else min(sequence + BATCH, last_of_all)
        sink.publish(numbers(prefix, sequence + 1, upto), checkpoint_of(prefix, upto))
        sequence = upto
        print(f"published {sequence}", flush=True)
    sink.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
