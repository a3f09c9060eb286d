"""How long the pages of the console take, and their JSON: alone, and while a poll has or wants the state file.

Two generations are staged as polls stage them. The rest of the journal is written with SQL: a hundred generations six
hours apart, each of which changed the number of weaknesses of as many records. Then every page is asked for in turn,
through the server, a moment after the one before; and again while a process stages the next generation. A
page that cannot be read then is shown as it was read last ("busy").
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from urllib.parse import urlencode

import duckdb

from connector.config import ConsoleConfig
from connector.exports.software import SOFTWARE
from connector.model import Snapshot
from connector.staging.stage import stage_snapshot
from connector.state.state import StateFile
from connector.web import Console
from connector.web.pages import PAGES
from connector.web.visits import PAUSE_SECONDS, Visits
from tests.benchmarks.measuring import measure, print_table
from tests.benchmarks.snapshots import Size, write_snapshot
from tests.benchmarks.staging import PART_RECORDS, RULES, stage
from tests.support.console import Client, assembly_of

ROUNDS: Final = 10
GENERATIONS: Final = 100
BEGIN: Final = datetime(2026, 11, 24, 2, tzinfo=UTC)
"""Of the third generation."""
NOW: Final = BEGIN + timedelta(hours=6 * GENERATIONS + 1)
MEMORY_LIMIT_MIB: Final = 1024
WAIT_SECONDS: Final = 60.0
"""How long the poll waits for the file."""


@dataclass
class Times:
    """What was measured of an address: seconds of each answer, bytes of the last, and how many were of which kind."""

    seconds: list[float] = field(default_factory=list)
    size_bytes: int = 0
    busy: int = 0
    failed: int = 0

    def cells(self) -> tuple[str, str]:
        """Median and 95th percentile, in milliseconds."""
        if not self.seconds:
            return "-", "-"
        high = quantiles(self.seconds, n=20, method="inclusive")[-1] if len(self.seconds) > 1 else self.seconds[0]
        return f"{median(self.seconds) * 1000:,.0f}", f"{high * 1000:,.0f}"


def run(records: int, changes: int, *, rounds: int = ROUNDS) -> None:
    """Write the state file, measure, and print the table."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        path = folder / "state.duckdb"
        size = Size(records, parts=max(8, records // PART_RECORDS))
        generations = [write_snapshot(folder / f"{number}", size, number) for number in (0, 1, 2)]
        for snapshot in generations[:2]:
            measure(stage, path, snapshot, MEMORY_LIMIT_MIB)
        measure(write_changes, path, changes)
        file_mib = path.stat().st_size >> 20
        # Every answer is read: none is given again because it took long.
        visits = partial(Visits, slow_seconds=inf)
        with (
            assembly_of(path, NOW) as assembly,
            Console(assembly, ConsoleConfig(listen="127.0.0.1:0"), visits=visits) as console,
        ):
            client = Client(console)
            addresses = addresses_of(client)
            alone = ask_for_all(client, addresses, rounds)
            spawn = multiprocessing.get_context("spawn")
            last = replace(generations[2], generated_at=NOW, snapshot_id=f"cpe-{NOW:%Y%m%dT%H%M%SZ}")
            poll = spawn.Process(target=poll_beside, args=(path, last))
            poll.start()
            began = time.monotonic()
            beside: defaultdict[str, Times] = defaultdict(Times)
            while poll.is_alive() or not beside:
                ask_for_all(client, addresses, 1, beside, poll)
            seconds = time.monotonic() - began
        print_table(
            f"pages of {records:,} records, {changes:,} changes, {file_mib:,} MiB; polled in {seconds:.0f} s",
            ("page", "KiB", "median ms", "p95 ms", "beside a poll", "p95 ms", "answers", "busy", "refused"),
            [_row(address, alone[address], beside[address]) for address in addresses],
        )


def poll_beside(path: Path, snapshot: Snapshot) -> None:
    """Stage a generation, once no page is being read."""
    with StateFile.open(path, memory_limit_mib=MEMORY_LIMIT_MIB, wait_seconds=WAIT_SECONDS) as state:
        stage_snapshot(state, snapshot, RULES, started_at=NOW, now=NOW)


def ask_for_all(
    client: Client,
    addresses: Sequence[str],
    rounds: int,
    known: defaultdict[str, Times] | None = None,
    poll: multiprocessing.process.BaseProcess | None = None,
) -> defaultdict[str, Times]:
    """Ask for every address in turn, again and again; with a poll, until it has ended."""
    times = defaultdict(Times) if known is None else known
    for _ in range(rounds):
        for address in addresses:
            if poll is not None and not poll.is_alive():
                return times
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            response = client.ask(address)
            times[address].seconds.append(time.perf_counter() - began)
            times[address].size_bytes = len(response.body)
            times[address].failed += response.status != 200
            is_busy = response.json["busy"] if ".json" in address else "<strong>Busy</strong>" in response.text
            times[address].busy += response.status == 200 and is_busy
    return times


def addresses_of(client: Client) -> list[str]:
    """Every page and its JSON, with what it must be asked for to have rows."""
    device = client.ask("/devices.json?limit=1").json["devices"][0]
    product = client.ask("/products.json?limit=1").json["products"][0]
    changes = client.ask("/changes.json?limit=1").json
    queries = {
        "/device": {"id": device["deviceId"]},
        "/product": {"vendor": product["softwareVendor"], "name": product["softwareName"]},
        "/inventory": {"at": "3d"},
        "/compare": {"from": "1d"},
        "/explain": {"id": changes["changes"][0]["eventId"]},
    }
    given = {path: f"?{urlencode(queries[path])}" if path in queries else "" for path in PAGES}
    return [f"{path}{form}{query}" for path, query in given.items() for form in ("", ".json")]


def write_changes(path: Path, changes: int) -> None:
    """Add past changes of stored records to the journal, in generations of the same size, all of them sealed."""
    with StateFile.open(path, memory_limit_mib=MEMORY_LIMIT_MIB) as state:
        position = state.journal.position()
    size = max(changes // GENERATIONS, 1)
    record = "{" + ", ".join(f"'{known.name}': {_before(known.column)}" for known in SOFTWARE.fields) + "}"
    with duckdb.connect(str(path), config={"memory_limit": f"{MEMORY_LIMIT_MIB}MiB"}) as database:
        database.execute("SET enable_progress_bar = false")
        database.execute(
            """
            CREATE TEMP TABLE places AS
            SELECT rowid AS place, row_number() OVER (ORDER BY rowid) - 1 AS number
            FROM inventory
            """
        )
        ((stored,),) = database.execute("SELECT count(*) FROM places").fetchall()
        for number in range(GENERATIONS):
            generated_at = BEGIN + timedelta(hours=6 * number)
            snapshot_no, first = position.last_snapshot + 1 + number, position.last_sequence + number * size
            database.execute(
                f"""
                INSERT INTO changes BY NAME
                SELECT $first + row_number() OVER () AS sequence,
                       {position.epoch} AS epoch,
                       $snapshot_no AS snapshot_no,
                       uuid()::VARCHAR AS event_id,
                       'CHANGED' AS change_type,
                       'ATTRIBUTES_CHANGED' AS reason,
                       ['numberOfWeaknesses'] AS changed_fields,
                       end_of_support_status IN ('EOS Version', 'EOS Software') AS is_end_of_support,
                       {SOFTWARE.columns},
                       {record} AS before
                FROM inventory
                JOIN places ON inventory.rowid = place
                JOIN devices USING (device_no)
                JOIN software USING (software_no)
                WHERE number BETWEEN $begin AND $begin + $size - 1
                """,
                {"first": first, "snapshot_no": snapshot_no, "begin": number * size % (stored - size), "size": size},
            )
            ((written,),) = database.execute(
                "SELECT count(*) FROM changes WHERE snapshot_no = $1", [snapshot_no]
            ).fetchall()
            database.execute(
                f"""
                INSERT INTO snapshots BY NAME
                SELECT * REPLACE (
                    $snapshot_no AS snapshot_no, $id AS snapshot_id, $at AS generated_at, $at AS started_at,
                    $at AS staged_at, false AS baseline, 0 AS added, 0 AS removed, $written AS changed, 0 AS alerts,
                    0 AS held, $first + 1 AS first_sequence, $first + $written AS last_sequence,
                    $first + $written AS sequence_after, 0 AS baselined
                )
                FROM snapshots
                WHERE snapshot_no = {position.last_snapshot}
                """,
                {
                    "snapshot_no": snapshot_no,
                    "id": f"cpe-{generated_at:%Y%m%dT%H%M%SZ}",
                    "at": int(generated_at.timestamp() * 1000),
                    "written": written,
                    "first": first,
                },
            )
            if written != size:
                raise SystemExit(f"the journal has a gap: {written:,} of {size:,} changes")
        last = position.last_sequence + GENERATIONS * size
        database.execute(
            "UPDATE position SET last_sequence = $1, published_sequence = $1, last_snapshot = $2,"
            " published_snapshot = $2",
            [last, position.last_snapshot + GENERATIONS],
        )
        database.execute("CHECKPOINT")


def _before(column: str) -> str:
    return "number_of_weaknesses + 1" if column == "number_of_weaknesses" else column


def _row(address: str, alone: Times, beside: Times) -> tuple[object, ...]:
    answers = len(beside.seconds)
    return (
        address.partition("?")[0],
        f"{alone.size_bytes / 1024:,.0f}",
        *alone.cells(),
        *beside.cells(),
        answers,
        beside.busy,
        beside.failed,
    )
