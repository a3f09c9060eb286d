"""What both flavours of the export work with, put together once by `source`. Owns nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.api import Api
    from connector.config import SourceConfig
    from connector.hosts import Hosts
    from connector.staging_folder import StagingFolder
    from connector.tally import Tally
    from connector.timing import Backoff, Timer
    from connector.transport import Transport


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
