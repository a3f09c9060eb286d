"""Events a second from staged to confirmed by a real Kafka: a first snapshot, a replay, a backfill, and a rebuild.

Each is a separate process, so that its CPU time is the kernel's figure; Kafka's is not in it, but where it runs on the
same processors it takes its share of the clock.
"""

from __future__ import annotations

import resource
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from connector import config
from connector.assembly import Assembly
from connector.config.tables import ValueFormat
from connector.exports.software import SOFTWARE
from connector.history.filters import Filters
from connector.state.state import StateFile
from tests.benchmarks.journal import FIRST, RECORD
from tests.benchmarks.measuring import Figures, measure, print_table
from tests.support.broker import session_broker, session_registry

EVENTS_MAX: Final = 500_000
PER_DEVICE: Final = 96
PRODUCTS: Final = 5_000
TENANT: Final = "00000000-0000-0000-0000-000000000000"
FORMATS: Final[tuple[ValueFormat, ...]] = ("avro", "json")


def write_baseline(path: Path, records: int) -> None:
    """A state file with an inventory of as many records, whose baseline is staged and not published."""
    with StateFile.open(path, memory_limit_mib=1024):
        pass
    number = {
        "device": f"(i // {PER_DEVICE} + 1)::INTEGER",
        "software": f"((i * 31 + i // {PER_DEVICE} * 7) % {PRODUCTS} + 1)::INTEGER",
    }
    keys = {
        "deviceId": "sha1(device_no::VARCHAR)",
        "softwareVendor": "'vendor-' || (software_no % 300)",
        "softwareName": "'product-' || software_no",
        "softwareVersion": "'1.' || (software_no % 50) || '.' || (software_no % 1000)",
    }
    record = ", ".join(f"{keys.get(field.name, RECORD[field.name])} AS {field.column}" for field in SOFTWARE.fields)
    attributes = ", ".join(f"{RECORD[field.name]} AS {field.column}" for field in SOFTWARE.attributes)
    numbered = (
        f"(SELECT i, {number['device']} AS device_no, {number['software']} AS software_no FROM range({records}) n(i))"
    )
    with duckdb.connect(str(path), config={"memory_limit": "2GiB"}) as database:
        for statement in (
            "SET enable_progress_bar = false",
            f"INSERT INTO devices BY NAME SELECT DISTINCT device_no, {keys['deviceId']} AS device_id FROM {numbered}",
            "INSERT INTO software BY NAME"
            f" SELECT DISTINCT software_no, {keys['softwareVendor']} AS software_vendor,"
            f" {keys['softwareName']} AS software_name, {keys['softwareVersion']} AS software_version FROM {numbered}",
            f"INSERT INTO inventory BY NAME SELECT 'CPE' AS inventory, device_no, software_no, {attributes}"
            f" FROM {numbered}",
            "INSERT INTO changes BY NAME SELECT i + 1 AS sequence, 1 AS epoch, 1 AS snapshot_no,"
            " uuid()::VARCHAR AS event_id, 'BASELINE' AS change_type, 'FIRST_SNAPSHOT' AS reason,"
            f" []::VARCHAR[] AS changed_fields, i % 17 = 0 AS is_end_of_support, {record}, NULL AS before"
            f" FROM {numbered}",
            "INSERT INTO snapshots BY NAME SELECT 1 AS snapshot_no, 1 AS epoch, 'CPE' AS inventory,"
            " 'cpe-20260101T000000Z' AS snapshot_id, 'files' AS method, epoch_ms(t) AS generated_at,"
            " true AS generation_known, '' AS content_digest, epoch_ms(t) + 60000 AS started_at,"
            f" epoch_ms(t) + 120000 AS staged_at, true AS baseline, {records} AS records, 1 AS devices,"
            f" {records} AS stored, 0 AS added, 0 AS removed, 0 AS changed, {records} AS baselined, 0 AS alerts,"
            f" 0 AS held, 0 AS duplicates, 0 AS rejected, 1 AS first_sequence, {records} AS last_sequence,"
            f" {records} AS sequence_after, '0.1.0' AS connector_version"
            f" FROM (SELECT TIMESTAMP '{FIRST:%Y-%m-%d}' AS t)",
            f"UPDATE position SET last_sequence = {records}, last_snapshot = 1",
            f"INSERT INTO meta VALUES ('tenant_id', '{TENANT}')",
            "CHECKPOINT",
        ):
            database.execute(statement)


def create_topics(settings: dict[str, Any]) -> None:
    """The topics, and one for replays."""
    with Assembly(config.from_values(settings, {}, name="benchmark")) as assembly:
        for check in assembly.topics.create():
            assert check.fine, check
        assembly.topics.create_target(replay_topic(settings))


def replay_topic(settings: dict[str, Any]) -> str:
    """Where changes are replayed to."""
    return f"{settings['kafka']['topic_prefix']}.replayed"


def publish_baseline(settings: dict[str, Any]) -> dict[str, float]:
    """Publish what is staged, without the inventory topic."""
    settings = settings | {"kafka": settings["kafka"] | {"inventory_topic": False}}
    with Assembly(config.from_values(settings, {}, name="benchmark")) as assembly, assembly.open_state() as state:
        assembly.publisher.recover(state)
        return _timed(lambda: assembly.publisher.drain(state))


def replay(settings: dict[str, Any]) -> dict[str, float]:
    """Replay the whole journal to another topic."""
    with Assembly(config.from_values(settings, {}, name="benchmark")) as assembly:
        return _timed(lambda: assembly.replay(Filters(), topic=replay_topic(settings)).run(lambda _: None))


def backfill(settings: dict[str, Any]) -> dict[str, float]:
    """Fill up the inventory topic."""
    with Assembly(config.from_values(settings, {}, name="benchmark")) as assembly, assembly.open_state() as state:
        assembly.publisher.recover(state)
        filling = assembly.backfill
        assert filling is not None
        return _timed(lambda: filling.run(state))


def rebuild(settings: dict[str, Any]) -> dict[str, float]:
    """Rebuild the state file elsewhere."""
    elsewhere = settings | {"state": {"path": settings["state"]["path"] + ".rebuilt"}}
    with Assembly(config.from_values(elsewhere, {}, name="benchmark")) as assembly:
        return _timed(assembly.rebuild.run)


STEPS: Final[dict[str, Callable[[dict[str, Any]], dict[str, float]]]] = {
    "first snapshot": publish_baseline,
    "replay": replay,
    "backfill of the inventory topic": backfill,
    "state rebuild": rebuild,
}


def run(records: int) -> None:
    """Measure, and print the table."""
    events = min(records, EVENTS_MAX)
    rows = []
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        broker = session_broker(folder / "kafka")
        registry = session_registry(folder / "registry")
        try:
            for value_format in FORMATS:
                path = folder / value_format / "state.duckdb"
                settings = _settings(path, broker.bootstrap_servers, registry.url, value_format)
                measure(write_baseline, path, events)
                measure(create_topics, settings)
                for title, step in STEPS.items():
                    figures: Figures = measure(step, settings)
                    wall, cpu = figures.result["wall"], figures.result["cpu"]
                    rows.append(
                        (
                            f"{title}, {value_format}",
                            f"{events / wall:,.0f}",
                            f"{cpu * 100_000 / events:.2f}",
                            figures.peak_mib,
                        )
                    )
        finally:
            registry.close()
            broker.close()
    print_table(
        f"{events:,} events from staged to confirmed, {broker.origin}",
        ("step", "events/s", "CPU s for 100,000", "peak MiB"),
        rows,
    )


def _settings(path: Path, bootstrap_servers: str, registry: str, value_format: ValueFormat) -> dict[str, Any]:
    path.parent.mkdir(mode=0o700)
    return {
        "source": {"tenant_id": TENANT, "client_id": "c", "client_secret": "s"},
        "state": {"path": str(path), "journal_retention_days": timedelta(days=36_500).days},
        "kafka": {
            "topic_prefix": f"bench.{uuid.uuid4().hex[:8]}",
            "client": {"bootstrap.servers": bootstrap_servers},
            "value_format": value_format,
            "inventory_topic": True,
        },
        "schema_registry": {"url": registry, "auto_register": True},
    }


def _timed(step: Callable[[], object]) -> dict[str, float]:
    """Seconds of clock and processor that a step takes, without the start of Python."""
    begun, before = time.perf_counter(), _cpu_seconds()
    step()
    return {"wall": time.perf_counter() - begun, "cpu": _cpu_seconds() - before}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
