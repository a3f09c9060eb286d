"""Fetches one complete, verified snapshot to disk, by whichever flavour of the export.

Chooses the flavour, names the snapshot, and ensures that every part of it can be read in one spelling. All parts or
nothing: if anything is raised, no part of the snapshot may be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Final

from connector import private_files
from connector.clock import Timer
from connector.config.tables import SourceConfig
from connector.errors import SourceUnreachable
from connector.exports.fields import Export
from connector.exports.software import SOFTWARE
from connector.model import Inventory, Method, Part, Snapshot, snapshot_id_of
from connector.source.devices import fetch_device_facts
from connector.source.files import Files, digest_of
from connector.source.folder import StagingFolder, Verified
from connector.source.http.api import Api, Call, Patience
from connector.source.http.hosts import Hosts
from connector.source.http.rate_limits import Limiter
from connector.source.http.tokens import Tokens
from connector.source.http.transport import Transport
from connector.source.lines import Page
from connector.source.pages import Pages, generation_of
from connector.source.progress import FetchCounter, NoProgress, Progress
from connector.source.repair import repair
from connector.source.session import FetchSession
from connector.telemetry import logger

log = logger(__name__)

PROBE_BYTES_MAX: Final = 2**20
PROBE_SECONDS_MAX: Final = 60.0
REJECTED_FILES_MAX: Final = 50
"""The newest rejected files are kept; older ones are removed."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What either flavour fetched; the attributes as those of `Snapshot`."""

    method: Method
    verified: list[Verified]
    generated_at: datetime
    digest: str
    generation_known: bool


class Source:
    """The export of one tenant.

    Args:
        config: `[source]`.
        tokens: for the API.
        transport: makes the requests.
        staging: the folder that snapshots are fetched to, created with mode 0700.
        limits: the file that records past calls.
        rejected: the folder of rejected lines.
        timer: clocks and waits; its stop ends a fetch within a second.
        progress: follows each fetch.
        patience: how long and how often a call is tried.
    """

    def __init__(  # noqa: PLR0913 - the seam to everything outside; only `assembly` creates one
        self,
        config: SourceConfig,
        *,
        tokens: Tokens,
        transport: Transport,
        staging: Path,
        limits: Path,
        rejected: Path,
        timer: Timer,
        progress: Progress | None = None,
        patience: Patience | None = None,
        export: Export = SOFTWARE,
    ) -> None:
        patience = patience or Patience()
        counter = FetchCounter(progress or NoProgress())
        api = Api(
            config.scope,
            tokens=tokens,
            transport=transport,
            limiter=Limiter(limits, timer),
            timer=timer,
            counter=counter,
            patience=patience,
        )
        self._session = FetchSession(
            export=export,
            config=config,
            api=api,
            hosts=Hosts(api_url=config.api_url, storage_suffix=config.storage_suffix, allowed=config.allowed_hosts),
            transport=transport,
            staging=StagingFolder(staging),
            timer=timer,
            counter=counter,
            backoff=patience.backoff,
        )
        self._rejected = rejected
        self._is_warned = False

    def fetch(
        self,
        inventory: Inventory,
        *,
        newer_than: datetime | None,
        again: bool = False,
        known_digest: str | None = None,
        is_taken: Callable[[str], bool] = lambda _: False,
    ) -> Snapshot | None:
        """Fetch one complete snapshot to disk.

        Args:
            inventory: which export.
            newer_than: the generation that is known already; None: fetch any.
            again: fetch that generation itself too, since what is known of it is in doubt.
            known_digest: of the content of the newest snapshot that is known; None: there is none.
            is_taken: whether a snapshot has that id already, so that this one needs another.

        Returns:
            The snapshot; None where its generation is known and is not newer, or where nothing says that it is newer
            and its content is the one that is known.

        Raises:
            SnapshotIncomplete: a part is missing, short, empty or corrupt, or the generation keeps changing.
            SourceUnavailable, SourceThrottled, SourceDenied, SourceMalformed: the API failed.
            StateError: the staging folder cannot be used; StateFull: no space.
            Stopped: asked to stop; complete files are kept for the next fetch.
        """
        with self._session.staging.lock(), self._session.counter.count_fetch():
            fetched = self._fetch(inventory, newer_than, again=again)
            if fetched is None:
                return None
            is_newer = fetched.generation_known and (newer_than is None or fetched.generated_at > newer_than)
            if not is_newer and fetched.digest == known_digest:
                self._session.staging.remove(tuple(file.part for file in fetched.verified))
                return None
            snapshot = self._make_snapshot(inventory, fetched, is_taken)
            if not self._session.config.device_facts:
                return snapshot
            # In the snapshot's own folder, which goes with it.
            facts = fetch_device_facts(self._session, snapshot.parts[0].path.parent)
            return replace(snapshot, device_facts=facts)

    def probe(self) -> str:
        """Make one cheap call, for `check`. Returns a line for people. Raises as `fetch` does."""
        endpoint = self._session.export.feeds[0].pages
        link = self._session.hosts.api(f"/api/machines/{endpoint.path}?pageSize=1")
        page = self._session.api.ask(Call(endpoint, link, PROBE_BYTES_MAX, PROBE_SECONDS_MAX), Page.read)
        generated_at = generation_of(page.next_link) if page.next_link else None
        generation = f"; newest generation {generated_at:%Y-%m-%d %H:%M} UTC" if generated_at else ""
        return f"{self._session.config.api_url} answers{generation}" + ("" if page.records else "; no records yet")

    def discard(self, snapshot: Snapshot) -> None:
        """Delete a snapshot's files, except files outside the staging folder."""
        self._session.staging.remove(snapshot.parts)

    def repair(self, snapshot: Snapshot) -> tuple[Snapshot, int]:
        """Read every part line by line and move the bad lines to the folder of rejected lines.

        Returns:
            The snapshot of the good lines, and the number of lines rejected in total.
        """
        parts = tuple(self._repair_part(snapshot.snapshot_id, part) for part in snapshot.parts)
        repaired = replace(snapshot, parts=parts)
        return repaired, repaired.rejected

    def _fetch(self, inventory: Inventory, newer_than: datetime | None, *, again: bool) -> _Fetched | None:
        """Fetch by the flavour that is configured, or by pages where `auto` finds no way to the file storage."""
        if self._session.config.method == Method.JSON.value:
            return self._fetch_pages(inventory, newer_than, again=again)
        try:
            return self._fetch_files(inventory, newer_than, again=again)
        except SourceUnreachable as error:
            if self._session.config.method == Method.FILES.value:
                raise
            if not self._is_warned:
                log.warning("the file storage cannot be reached; fetching JSON pages instead", error=error)
            self._is_warned = True
            return self._fetch_pages(inventory, newer_than, again=again)

    def _fetch_files(self, inventory: Inventory, newer_than: datetime | None, *, again: bool) -> _Fetched | None:
        fetched = Files(self._session).fetch(inventory, newer_than=newer_than, again=again)
        if fetched is None:
            return None
        generated_at, verified = fetched
        return _Fetched(Method.FILES, verified, generated_at, digest_of(verified), generation_known=True)

    def _fetch_pages(self, inventory: Inventory, newer_than: datetime | None, *, again: bool) -> _Fetched | None:
        walk = Pages(self._session).fetch(inventory, newer_than=newer_than, again=again)
        if walk is None:
            return None
        return _Fetched(
            Method.JSON,
            walk.verified,
            walk.generated_at or walk.begun_at,
            walk.content_digest,
            generation_known=walk.generated_at is not None,
        )

    def _make_snapshot(self, inventory: Inventory, fetched: _Fetched, is_taken: Callable[[str], bool]) -> Snapshot:
        plain = snapshot_id_of(inventory, fetched.generated_at)
        usual = plain if fetched.generation_known else f"{plain}-{fetched.digest[:8]}"
        name = _free_id(usual, fetched.digest if fetched.generation_known else "", is_taken)
        with private_files.translate_errors(self._rejected):
            self._rejected_path(name).unlink(missing_ok=True)  # of an earlier fetch of the same generation
        return Snapshot(
            inventory=inventory,
            method=fetched.method,
            snapshot_id=name,
            generated_at=fetched.generated_at,
            generation_known=fetched.generation_known,
            parts=tuple(self._make_readable(name, file) for file in fetched.verified),
            content_digest=fetched.digest,
            fetched_bytes=self._session.counter.fetched_bytes,
        )

    def _make_readable(self, name: str, verified: Verified) -> Part:
        """The part itself, or the repaired one where the reader could not read all of it in one spelling."""
        mixed = any(len(spelled) > 1 for spelled in verified.part.spellings.values())
        return self._repair_part(name, verified.part) if verified.odd or mixed else verified.part

    def _repair_part(self, name: str, part: Part) -> Part:
        private_files.make_folder(self._rejected)
        result = repair(part, self._session.export, self._rejected_path(name))
        with private_files.translate_errors(self._rejected):
            if not self._rejected_path(name).stat().st_size:
                self._rejected_path(name).unlink()
            for old in sorted(self._rejected.glob("*.ndjson"), key=_modified_at)[:-REJECTED_FILES_MAX]:
                old.unlink(missing_ok=True)
        if result.rejected:
            log.warning(
                "lines that cannot be read were set aside",
                part=part.name,
                rejected=result.rejected,
                file=str(self._rejected_path(name)),
            )
        return result.part

    def _rejected_path(self, name: str) -> Path:
        return self._rejected / f"{name}.ndjson"


def _free_id(plain: str, digest: str, is_taken: Callable[[str], bool]) -> str:
    """The plain id, or one with a digest of the content where that is taken, and with a number where that is too.

    Ids of events are made of it: two snapshots of one id would give two changes the same. Two generations may be of the
    same second, and one generation may be fetched twice with different content.
    """
    if is_taken(plain) and digest:
        plain = f"{plain}-{digest[:8]}"
    return next(name for name in chain([plain], (f"{plain}-{number}" for number in count(2))) if not is_taken(name))


def _modified_at(path: Path) -> float:
    return path.lstat().st_mtime
