"""What `run` makes sure of: no other process publishes from its state files, and its secrets are the current ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from connector.assembly import Assembly
from connector.config import Config, load
from connector.errors import ConfigError, StateError, StateLocked
from connector.state.publisher_lock import RUN, PublisherLock
from connector.telemetry import logger

log = logger(__name__)

BRIEF_HOLDER_SECONDS: Final = 10.0
"""How long `run` waits at its start for a verb that publishes briefly, such as `held approve`."""


def take_locks(assemblies: Iterable[Assembly], stack: ExitStack) -> list[PublisherLock]:
    """Take the lock of every tenant's state file, until `stack` is closed.

    A lock file that cannot be made or locked is no reason to refuse the other tenants: the tenant's polls take the lock
    again, and fail with the same error while they cannot.

    Raises:
        StateLocked: another process publishes from one of the files.
    """
    locks = []
    for assembly in assemblies:
        lock = assembly.publisher_lock(RUN, wait_seconds=BRIEF_HOLDER_SECONDS)
        stack.callback(lock.release)
        try:
            lock.acquire()
        except StateLocked:
            raise
        except StateError as error:
            log.warning("the state file cannot be locked; its polls try again", error=error)
        locks.append(lock)
    return locks


class CurrentParts:
    """The parts that poll a tenant, made again once one of its secrets has changed: `run` lives longer than they do.

    Only secrets are read again, and the client certificate; for another key the process is restarted.

    Args:
        file: the tenant's configuration.
        assembly: its parts, closed by whoever made them.
        make: makes them from a changed configuration.
        hide: is given the new secrets before anything is done with them, for the logs.
    """

    def __init__(
        self,
        file: Path,
        assembly: Assembly,
        make: Callable[[Config], Assembly],
        hide: Callable[[Iterable[str]], None],
    ) -> None:
        self._file = file
        self._assembly = assembly
        self._make = make
        self._hide = hide
        self._certificate = _certificate_of(assembly.config)
        self._made = ExitStack()

    def __call__(self) -> Assembly:
        """The parts for the next poll.

        A secret that cannot be read now, as in the middle of its renewal, leaves them as they are.
        """
        config = self._assembly.config
        try:
            fresh = config.with_secrets_of(load(self._file))
            certificate = _certificate_of(fresh)
        except ConfigError as error:
            log.warning("the secrets cannot be read again; the last ones are used", error=error)
            return self._assembly
        if (fresh.secrets, certificate) == (config.secrets, self._certificate):
            return self._assembly
        self._hide(fresh.secrets)
        log.info("a secret has changed; the connections are made again with it")
        self._made.close()
        self._assembly.close()
        self._assembly, self._certificate = self._made.enter_context(self._make(fresh)), certificate
        return self._assembly

    def close(self) -> None:
        """Close the parts that were made here."""
        self._made.close()


def _certificate_of(config: Config) -> bytes:
    """The content of the client certificate's file; nothing where there is none to be read, which a login reports."""
    path = config.source.certificate_path
    with suppress(OSError):
        return path.read_bytes() if path else b""
    return b""
