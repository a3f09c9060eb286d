"""What both flavours of the export work with, put together once by `source`. Owns nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from connector.clock import Backoff, Timer
from connector.config.tables import SourceConfig
from connector.source.folder import StagingFolder
from connector.source.http.api import Api
from connector.source.http.hosts import Hosts
from connector.source.http.transport import Transport
from connector.source.progress import Tally


@dataclass(frozen=True, slots=True)
class Gear:
    """The parts a fetch needs.

    Attributes:
        config: `[source]`.
        api: makes calls.
        hosts: which hosts URLs may name.
        transport: downloads files; no token goes with them.
        staging: where files go.
        timer: clocks and waits.
        tally: told what comes.
        backoff: how often one thing is tried.
    """

    config: SourceConfig
    api: Api
    hosts: Hosts
    transport: Transport
    staging: StagingFolder
    timer: Timer
    tally: Tally
    backoff: Backoff
