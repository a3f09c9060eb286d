"""The collaborators that one fetch shares, whichever flavour of the export it takes."""

from __future__ import annotations

from dataclasses import dataclass

from connector.clock import Backoff, Timer
from connector.config.tables import SourceConfig
from connector.exports.fields import Export
from connector.source.folder import StagingFolder
from connector.source.http.api import Api
from connector.source.http.hosts import Hosts
from connector.source.http.transport import Transport
from connector.source.progress import FetchCounter


@dataclass(frozen=True, slots=True)
class FetchSession:
    """What a fetch works with.

    Attributes:
        export: what is fetched.
        config: `[source]`.
        api: calls the export API.
        hosts: decides which hosts URLs may name.
        transport: downloads files, without a token.
        staging: where files are stored.
        timer: clocks and waits.
        counter: counts what arrives.
        backoff: how often a download or a listing is tried.
    """

    export: Export
    config: SourceConfig
    api: Api
    hosts: Hosts
    transport: Transport
    staging: StagingFolder
    timer: Timer
    counter: FetchCounter
    backoff: Backoff
