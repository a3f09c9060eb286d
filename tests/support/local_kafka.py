"""`make kafka`: a Kafka broker and a schema registry to try the connector against, until Ctrl-C.

They are the ones that the tests use, from Maven Central or Docker. What they store is deleted at the end.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from tests.support.broker import ContainerBroker, Missing, Registry, session_broker, session_registry


def main() -> int:
    """Start both, print the configuration that reaches them, and wait for Ctrl-C or SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mde-kafka-")))
        try:
            broker = session_broker(folder / "kafka")
            stack.callback(broker.close)
            if isinstance(broker, ContainerBroker):
                registry = Registry(broker.registry_url, broker.origin)
            else:
                registry = session_registry(folder / "registry")
            stack.callback(registry.close)
            tables = (
                f"# {broker.origin}; {registry.origin}\n"
                f'[kafka.client]\n"bootstrap.servers" = "{broker.bootstrap_servers}"\n'
                f'[schema_registry]\nurl = "{registry.url}"'
            )
        except Missing as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(tables, flush=True)
        print(
            "A configuration for them and the simulator: .venv/bin/mde-inventory init --simulator"
            f" --bootstrap-servers {broker.bootstrap_servers} --schema-registry {registry.url}",
            file=sys.stderr,
        )
        print("Ctrl-C ends them.", file=sys.stderr)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
