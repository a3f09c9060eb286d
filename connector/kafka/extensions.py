"""CloudEvents extensions: what a reader may route or filter by from the headers alone, without reading the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from connector.clock import iso_text_of
from connector.exports.identity import key_part

Header = tuple[str, bytes]

EPOCH_DIGITS: Final = 10
SEQUENCE_DIGITS: Final = 19
"""As many as the largest has, so that texts are in the order of the numbers."""

SEVERITY_NUMBERS: Final = {"low": b"9", "medium": b"13", "high": b"17"}
"""The first number of OpenTelemetry's ranges INFO, WARN and ERROR, which CloudEvents refers to."""


def extensions_of(record: Mapping[str, Any]) -> Iterator[Header]:
    """The extension headers of a change, an alert, a report or a record, as far as it has what they say."""
    if record.get("deviceName"):
        yield "ce_devicename", key_part(record["deviceName"]).encode()
    if "sequence" in record:
        yield "ce_sequence", sequence_texts(record["epoch"]) % record["sequence"]
    if "emittedAt" in record:
        yield "ce_recordedtime", iso_text_of(record["emittedAt"]).encode()
    if "snapshotId" in record:
        yield "ce_correlationid", key_part(record["snapshotId"]).encode()
    if "alertId" in record:
        yield from _extensions_of_alert(record)
    if record.get("replayed"):
        yield "ce_replayed", b"true"


@lru_cache(maxsize=16)
def sequence_texts(epoch: int) -> bytes:
    """What sequences of an epoch become a header by, with the operator `%`."""
    return b"%0*d.%%0%dd" % (EPOCH_DIGITS, epoch, SEQUENCE_DIGITS)


def _extensions_of_alert(alert: Mapping[str, Any]) -> Iterator[Header]:
    if alert["eventId"] is not None:
        yield "ce_causationid", alert["eventId"].encode()
    yield "ce_severitytext", alert["severity"].encode()
    if alert["severity"] in SEVERITY_NUMBERS:
        yield "ce_severitynumber", SEVERITY_NUMBERS[alert["severity"]]
