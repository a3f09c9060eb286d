"""How long software out of support stands on devices, the longest open first, and whose support ends next."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, Final

from connector.clock import moment_of
from connector.history.exposure import Exposure, Wanted
from connector.history.filters import parse_time
from connector.history.support_now import SupportNow
from connector.web.query import Query
from connector.web.visits import Facts, Visit

TOTALS_MAX: Final = 50
ENDING_DAYS: Final = 90
FOLD_MAX: Final = 150_000
"""Records and changes that are folded within the time of a visit, on a busy machine too."""
NOT_FOLDED: Final = {"fixed": None, "medianSecondsToFix": None}
CSV_ROWS_MAX: Final = 50_000
CSV_NAMES: Final = (
    "inventory", "deviceId", "deviceName", "osPlatform", "rbacGroupName", "softwareVendor", "softwareName",
    "softwareVersion", "endOfSupportStatus", "endOfSupportDate", "since", "until", "ended", "seconds",
)  # fmt: skip


def exposure(visit: Visit, query: Query, *, fold_max: int = FOLD_MAX) -> Facts:
    """Totals of what is selected, and its intervals: those that are open, or all; and whose support ends next.

    Where there is too much to fold in the time of a visit, and neither a device nor a product is named, it is what the
    inventory has now that is shown: `folded` is false then, and how long each has lasted is not known.
    """
    wanted, day = _wanted(visit, query), visit.now.date()
    now = SupportNow(visit.state, wanted.selection, day)
    exposures = Exposure(visit.state, visit.now)
    is_narrow = bool(wanted.selection.devices or wanted.selection.software)
    weight = _weight(visit)
    facts = _folded(exposures, wanted, query) if is_narrow or weight <= fold_max else _unfolded(now, query)
    ending, versions = now.ending(ENDING_DAYS, TOTALS_MAX)
    return facts | {
        "begins": exposures.begins,
        "weight": weight,
        "today": str(day),
        "endingDays": ENDING_DAYS,
        "ending": ending,
        "endingVersions": versions,
        "all": query.is_set("all"),
    }


def _folded(exposures: Exposure, wanted: Wanted, query: Query) -> Facts:
    summary, longest = exposures.examine(wanted, query.rows_max + 1)
    rows = [_with_times(row) for row in longest]
    return {
        "folded": True,
        "open": summary["open"],
        "openDevices": summary["openDevices"],
        "longestSeconds": summary["longestSeconds"],
        "byProduct": summary["byProduct"][:TOTALS_MAX],
        "byGroup": summary["byGroup"][:TOTALS_MAX],
        "byWeek": summary["byWeek"],
        "intervals": rows[: query.rows_max],
        "more": len(rows) > query.rows_max,
    }


def _unfolded(now: SupportNow, query: Query) -> Facts:
    totals = now.totals(query.rows_max + 1)
    unknown = {"since": None, "until": None, "ended": None, "seconds": None}
    return {
        "folded": False,
        "open": totals["open"],
        "openDevices": totals["openDevices"],
        "longestSeconds": None,
        "byProduct": [row | NOT_FOLDED for row in totals["byProduct"][:TOTALS_MAX]],
        "byGroup": [row | NOT_FOLDED for row in totals["byGroup"][:TOTALS_MAX]],
        "byWeek": [],
        "intervals": [row | unknown for row in totals["rows"][: query.rows_max]],
        "more": len(totals["rows"]) > query.rows_max,
    }


def _weight(visit: Visit) -> int:
    """How many rows a fold of everything reads: records, and changes of the journal."""
    return visit.state.database.number("SELECT (SELECT count(*) FROM inventory) + (SELECT count(*) FROM changes)")


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
