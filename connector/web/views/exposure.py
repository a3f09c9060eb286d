"""How long software out of support stands on devices: totals, and the longest open first."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, Final

from connector.clock import moment_of
from connector.history.exposure import Exposure, Wanted
from connector.history.filters import parse_time
from connector.web.query import Query
from connector.web.visits import Facts, Visit

TOTALS_MAX: Final = 50
CSV_ROWS_MAX: Final = 50_000
CSV_NAMES: Final = (
    "inventory", "deviceId", "deviceName", "osPlatform", "rbacGroupName", "softwareVendor", "softwareName",
    "softwareVersion", "endOfSupportStatus", "endOfSupportDate", "since", "until", "ended", "seconds",
)  # fmt: skip


def exposure(visit: Visit, query: Query) -> Facts:
    """Totals of what is selected, and its intervals: those that are open, or all."""
    exposures = Exposure(visit.state, visit.now)
    summary, longest = exposures.examine(_wanted(visit, query), query.rows_max + 1)
    rows = [_with_times(row) for row in longest]
    return {
        "begins": exposures.begins,
        "open": summary["open"],
        "openDevices": summary["openDevices"],
        "longestSeconds": summary["longestSeconds"],
        "byProduct": summary["byProduct"][:TOTALS_MAX],
        "byGroup": summary["byGroup"][:TOTALS_MAX],
        "byWeek": summary["byWeek"],
        "intervals": rows[: query.rows_max],
        "more": len(rows) > query.rows_max,
        "all": query.is_set("all"),
    }


def exposure_rows(visit: Visit, query: Query) -> Facts:
    """The intervals alone, for a spreadsheet."""
    blocks = Exposure(visit.state, visit.now).intervals(_wanted(visit, query))
    return {"rows": [_with_times(row) for row in islice(chain.from_iterable(blocks), CSV_ROWS_MAX)]}


def _wanted(visit: Visit, query: Query) -> Wanted:
    older = query.text("older_than")
    return Wanted(
        query.filters().at(visit.now),
        is_open=not query.is_set("all"),
        older_than=visit.now - parse_time(older, visit.now, option="older_than") if older else None,
    )


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: moment_of(row[name]) for name in ("since", "until") if row[name] is not None}
