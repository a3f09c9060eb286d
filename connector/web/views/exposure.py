"""How long software out of support stands on devices, the longest open first, and whose support ends next."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, islice
from typing import Any, Final

from connector.clock import milliseconds_of, moment_of
from connector.history.exposure import Exposure, Wanted
from connector.history.filters import parse_time
from connector.history.support_now import EARLIEST, SupportNow
from connector.state.lists.paging import NUMBER, Listed, Place
from connector.web.query import Query, turn
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
    selection, weight = query.filters().at(visit.now), _weight(visit)
    is_folded = bool(selection.devices or selection.software) or weight <= fold_max
    after = _after(visit, query, is_folded=is_folded)
    moment = query.since_the_first_page(after, visit.now)
    beyond = after[1:] if after else None
    exposures, now = Exposure(visit.state, moment), SupportNow(visit.state, selection, moment.date())
    if is_folded:
        facts, listed = _folded(exposures, _wanted(moment, query), query.rows_max, beyond)
    else:
        facts, listed = _unfolded(now, query.rows_max, beyond)
    ending, versions = now.ending(ENDING_DAYS, TOTALS_MAX)
    return facts | {
        "intervals": listed.rows,
        **turn((milliseconds_of(moment), *listed.end) if listed.end else None),
        "begins": exposures.begins,
        "weight": weight,
        "today": str(moment.date()),
        "endingDays": ENDING_DAYS,
        "ending": ending,
        "endingVersions": versions,
        "all": query.is_set("all"),
    }


def _after(visit: Visit, query: Query, *, is_folded: bool) -> Place | None:
    """Where the page before ended: when the first was shown, and the place in the list."""
    order = Exposure(visit.state, visit.now).order if is_folded else EARLIEST
    return query.after((NUMBER, *order.kinds))


def _folded(exposures: Exposure, wanted: Wanted, rows_max: int, after: Place | None) -> tuple[Facts, Listed]:
    summary, listed = exposures.examine(wanted, rows_max, after)
    facts = {
        "folded": True,
        "open": summary["open"],
        "openDevices": summary["openDevices"],
        "longestSeconds": summary["longestSeconds"],
        "byProduct": summary["byProduct"][:TOTALS_MAX],
        "byGroup": summary["byGroup"][:TOTALS_MAX],
        "byWeek": summary["byWeek"],
    }
    return facts, Listed([_with_times(row) for row in listed.rows], listed.end)


def _unfolded(now: SupportNow, rows_max: int, after: Place | None) -> tuple[Facts, Listed]:
    totals, listed = now.totals(rows_max, after)
    unknown = {"since": None, "until": None, "ended": None, "seconds": None}
    facts = {
        "folded": False,
        "open": totals["open"],
        "openDevices": totals["openDevices"],
        "longestSeconds": None,
        "byProduct": [row | NOT_FOLDED for row in totals["byProduct"][:TOTALS_MAX]],
        "byGroup": [row | NOT_FOLDED for row in totals["byGroup"][:TOTALS_MAX]],
        "byWeek": [],
    }
    return facts, Listed([row | unknown for row in listed.rows], listed.end)


def _weight(visit: Visit) -> int:
    """How many rows a fold of everything reads: records, and changes of the journal."""
    return visit.state.database.number("SELECT (SELECT count(*) FROM inventory) + (SELECT count(*) FROM changes)")


def exposure_rows(visit: Visit, query: Query) -> Facts:
    """The intervals alone, for a spreadsheet."""
    blocks = Exposure(visit.state, visit.now).intervals(_wanted(visit.now, query))
    return {"rows": [_with_times(row) for row in islice(chain.from_iterable(blocks), CSV_ROWS_MAX)]}


def _wanted(now: datetime, query: Query) -> Wanted:
    older = query.text("older_than")
    return Wanted(
        query.filters().at(now),
        is_open=not query.is_set("all"),
        older_than=now - parse_time(older, now, option="older_than") if older else None,
    )


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: moment_of(row[name]) for name in ("since", "until") if row[name] is not None}
