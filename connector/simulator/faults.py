"""Faults on request: which endpoint fails, how, how often, and after how many good responses.

Keeps the list of faults and counts them; `distort` and the web modules apply them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from connector.errors import ConfigError
from connector.model import Inventory


class Endpoint(StrEnum):
    """What a request is for."""

    TOKEN = "token"  # noqa: S105 - the name of an endpoint
    EXPORT = "export"
    PAGES = "pages"
    BLOB = "blob"
    MACHINES = "machines"


class FaultKind(StrEnum):
    """What goes wrong; each kind names the attributes of the fault that it uses."""

    # Instead of a response.
    STATUS = "status"
    """`status` and, if given, `retry_after`: any text, or `date` and seconds for an HTTP date that far ahead."""
    CONNECTION_RESET = "connection_reset"
    HANG = "hang"
    EMPTY_BODY = "empty_body"
    NO_CONTENT = "no_content"
    HTML_PAGE = "html_page"
    REDIRECT = "redirect"
    """To `url`."""
    EXPIRED_URL = "expired_url"
    BODY = "body"
    """200 with `text` as JSON."""

    # While the body is written.
    RESET_IN_BODY = "reset_in_body"
    TRUNCATED_BODY = "truncated_body"
    """Content-Length promises more than is sent."""
    SLOW_BODY = "slow_body"
    """One byte every `seconds`."""
    ENDLESS_BODY = "endless_body"
    """The body is followed by `size_bytes` of blanks; there is no Content-Length."""

    # The listing of the files.
    EMPTY_FILES = "empty_files"
    NULL_FILES = "null_files"
    FILES_ELSEWHERE = "files_elsewhere"
    """Every URL's scheme and host are replaced by `url`."""
    GENERATED_TIME = "generated_time"
    """`generatedTime` is `text`."""
    GROUP_MISSING = "group_missing"
    """The parts of one device group (`group_id`, or the first) are left out, also of the pages."""
    SHUFFLED_PARTS = "shuffled_parts"

    # The pages.
    NULL_VALUE = "null_value"
    NEXT_LINK_MISSING = "next_link_missing"
    NEXT_LINK_REPEATED = "next_link_repeated"
    NEXT_LINK_ENDLESS = "next_link_endless"
    """The link leads to the same records again, and differs from every link before."""
    NEXT_LINK_ELSEWHERE = "next_link_elsewhere"
    """The scheme and host of nextLink are replaced by `url`."""
    NEXT_LINK_OPAQUE = "next_link_opaque"
    """The page token has an undocumented form."""

    # Both.
    GENERATION_CHANGED = "generation_changed"
    """The fleet advances by a generation before the response, which is of the new one."""

    # Records, in files and pages.
    MALFORMED_LINE = "malformed_line"
    EXTRA_LINES = "extra_lines"
    """`lines` are added as they are."""
    DUPLICATE_ROWS = "duplicate_rows"
    """A `share` of the records appears twice."""
    CONFLICTING_ROWS = "conflicting_rows"
    """A `share` of the records appears again, as if its devices had moved to another group."""
    SHUFFLED_ROWS = "shuffled_rows"
    FEWER_RECORDS = "fewer_records"
    """A `share` of the records is left out."""
    ZERO_RECORDS = "zero_records"
    OTHER_CASE = "other_case"
    """Files in camelCase, pages in PascalCase."""
    OS_PLATFORM_CASE = "os_platform_case"
    """`OSPlatform` is written `OsPlatform`."""
    ARRAYS_NULL = "arrays_null"
    ARRAYS_ABSENT = "arrays_absent"
    ARRAYS_EMPTY = "arrays_empty"
    SHUFFLED_PATHS = "shuffled_paths"

    # A file's bytes.
    SHORT_GZIP = "short_gzip"
    """The gzip stream is cut, and Content-Length is right."""
    CRC_ERROR = "crc_error"
    TRAILING_RUBBISH = "trailing_rubbish"
    PLAIN_TEXT = "plain_text"
    CONTENT_ENCODING = "content_encoding"
    BYTE_ORDER_MARK = "byte_order_mark"
    SEVERAL_MEMBERS = "several_members"
    GZIP_BOMB = "gzip_bomb"
    """`size_bytes` of blanks in some kilobytes."""
    MISSING_LAST_NEWLINE = "missing_last_newline"
    LAST_LINE_CUT = "last_line_cut"


ENDING_KINDS: Final = frozenset(
    {
        FaultKind.STATUS,
        FaultKind.CONNECTION_RESET,
        FaultKind.HANG,
        FaultKind.EMPTY_BODY,
        FaultKind.NO_CONTENT,
        FaultKind.HTML_PAGE,
        FaultKind.REDIRECT,
        FaultKind.EXPIRED_URL,
        FaultKind.BODY,
        FaultKind.RESET_IN_BODY,
        FaultKind.TRUNCATED_BODY,
        FaultKind.SLOW_BODY,
        FaultKind.ENDLESS_BODY,
    }
)
"""A request meets at most one fault of these kinds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        endpoint: the endpoint that fails.
        kind: how it fails.
        inventory: for one inventory only; not for the token endpoint.
        part: for the n-th part only, counted from 0 in the order of the listing (blobs).
        times: how often; None: without end.
        after: how many good responses come first.
        headers: additional headers of the response.
        status, retry_after, url, text, share, seconds, group_id, size_bytes, lines: used as the kind says.
    """

    endpoint: Endpoint
    kind: FaultKind
    inventory: Inventory | None = None
    part: int | None = None
    times: int | None = 1
    after: int = 0
    status: int = 500
    retry_after: str | None = None
    url: str = "https://elsewhere.invalid"
    text: str = ""
    share: float = 0.5
    seconds: float = 1.0
    group_id: int | None = None
    size_bytes: int = 1 << 30
    lines: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Read a fault from JSON values, with the same names and enumerations by value.

        Raises:
            ConfigError: an unknown name or value.
        """
        names = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown or not {"endpoint", "kind"} <= set(values):
            raise ConfigError(
                f"not a fault: {', '.join(unknown) or 'endpoint and kind are needed'}",
                hint=f"A fault has endpoint and kind, and may have {', '.join(sorted(names - {'endpoint', 'kind'}))}.",
            )
        try:
            return cls(
                **{
                    **values,
                    "endpoint": Endpoint(values["endpoint"]),
                    "kind": FaultKind(values["kind"]),
                    "inventory": Inventory(values["inventory"]) if values.get("inventory") else None,
                    "lines": tuple(values.get("lines", ())),
                }
            )
        except (ValueError, TypeError) as error:
            kinds = ", ".join(FaultKind)
            raise ConfigError(
                f"not a fault: {error}", hint=f"Kinds: {kinds}; endpoints: {', '.join(Endpoint)}."
            ) from error


@dataclass(slots=True)
class _CountedFault:
    fault: Fault
    matched: int = 0
    applied: int = 0

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.applied >= self.fault.times


FAULTS_MAX: Final = 1_000


class Faults:
    """The faults that are set. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: list[_CountedFault] = []

    def add(self, *faults: Fault) -> None:
        """Add faults.

        Raises:
            ConfigError: there would be more than `FAULTS_MAX`.
        """
        with self._lock:
            self._counted = [counted for counted in self._counted if not counted.spent]
            if len(self._counted) + len(faults) > FAULTS_MAX:
                raise ConfigError(f"more than {FAULTS_MAX} faults", hint="Clear them first.")
            self._counted += [_CountedFault(fault) for fault in faults]

    def load(self, path: Path) -> None:
        """Add the faults of a JSON file: a list of objects.

        Raises:
            ConfigError: the file cannot be read, or is not such a list.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: cannot be read as JSON: {error}", hint="It must be a list of faults."
            ) from error
        self.add(*read_faults(values))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._counted.clear()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The faults that have not yet been applied as often as they should."""
        with self._lock:
            return tuple(counted.fault for counted in self._counted if not counted.spent)

    def take(self, endpoint: Endpoint, inventory: Inventory | None, part: int | None) -> tuple[Fault, ...]:
        """The faults that a request meets now; each is counted.

        Of those that leave no response to distort only the first is returned: the next request meets the second.
        """
        taken: list[Fault] = []
        with self._lock:
            for counted in self._counted:
                fault = counted.fault
                must_wait = fault.kind in ENDING_KINDS and any(other.kind in ENDING_KINDS for other in taken)
                if _concerns(fault, endpoint, inventory, part) and not must_wait and _count(counted):
                    taken.append(fault)
        return tuple(taken)


def read_faults(values: object) -> list[Fault]:
    """Read the faults of a parsed JSON list.

    Raises:
        ConfigError: it is not a list of faults.
    """
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ConfigError(
            "not a list of faults", hint='For instance [{"endpoint": "export", "kind": "status", "status": 429}].'
        )
    return [Fault.from_values(value) for value in values]


def dump_faults(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """Faults as JSON values, only with what differs from the defaults."""
    defaults = asdict(Fault(Endpoint.TOKEN, FaultKind.STATUS))
    required = {"endpoint", "kind"}
    return [
        {name: value for name, value in asdict(fault).items() if name in required or value != defaults[name]}
        for fault in faults
    ]


def _concerns(fault: Fault, endpoint: Endpoint, inventory: Inventory | None, part: int | None) -> bool:
    return fault.endpoint is endpoint and fault.inventory in (None, inventory) and fault.part in (None, part)


def _count(counted: _CountedFault) -> bool:
    """Count a request that a fault concerns. Returns whether the fault applies to it."""
    counted.matched += 1
    if counted.matched <= counted.fault.after or counted.spent:
        return False
    counted.applied += 1
    return True
