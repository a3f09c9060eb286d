"""Rows that the engine encodes are the messages of the same records, to the last byte and header, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from connector.errors import EncodingError
from connector.exports.software import SOFTWARE
from connector.kafka.messages import Messages
from connector.kafka.values.json import JsonValues
from connector.model import AlertType, ChangeType, Counts, Inventory, Message, Reason, StagedSnapshot
from connector.poll.backfill import ChangeRecordEncoder, encode_change_records, record_encoder
from connector.staging.inventory_topic import BackfillCursor, Mirror
from connector.state.journal import alert_columns, change_columns
from connector.state.state import StateFile
from tests.support.messages import make_messages, topic_names
from tests.support.records import ALERT, CHANGE, OBSERVED, RECORD, TENANT

SNAPSHOT = StagedSnapshot(
    snapshot_no=1,
    epoch=7,
    inventory=Inventory.CPE,
    snapshot_id="cpe-20261123T080000Z",
    previous_snapshot_id=None,
    method="files",
    generated_at=OBSERVED,
    generation_known=True,
    content_digest="",
    started_at=OBSERVED,
    staged_at=OBSERVED + 1,
    baseline=False,
    counts=Counts(alerts=1_000),
    hold_reason=None,
    first_sequence=1,
    last_sequence=1_000,
    sequence_after=1_000,
    connector_version="0.1.0",
    alert_after=1_000,
)
CHANGES, ALERTS = change_columns(SOFTWARE), alert_columns(SOFTWARE)

TEXTS = st.sampled_from(["", "a", "é" * 40, "שלום", "😀", "\0", '"\\', "x" * 256, "x" * 257, "ü" * 300, "y" * 9_000])
NULLABLE = st.none() | TEXTS
LISTS = st.lists(TEXTS, max_size=3)
NUMBERS = st.none() | st.integers(0, 2**60)
RECORDS = st.fixed_dictionaries(
    {
        name: st.none() | st.integers(0, 2**60)
        if isinstance(value, int)
        else LISTS
        if type(value) is list
        else NULLABLE
        for name, value in RECORD.items()
    }
    | {"deviceId": TEXTS}
)
CHANGED = st.builds(
    lambda record, own: CHANGE | record | own,
    RECORDS,
    st.fixed_dictionaries(
        {
            "eventId": TEXTS,
            "changeType": st.sampled_from([kind.value for kind in ChangeType]),
            "reason": st.sampled_from([reason.value for reason in Reason]),
            "before": st.none() | RECORDS,
            "isEndOfSupport": st.booleans(),
            "changedFields": LISTS,
        }
    ),
)
RAISED = st.builds(
    lambda record, own: ALERT | record | own,
    RECORDS,
    st.fixed_dictionaries(
        {
            "alertId": TEXTS,
            "alertType": st.sampled_from([kind.value for kind in AlertType]),
            "severity": st.sampled_from(["low", "medium", "high", "odd"]),
            "eventId": NULLABLE,
            "incidentKey": TEXTS,
            "summarizes": st.none() | st.integers(0, 100_000),
            "daysToEndOfSupport": st.none() | st.integers(-(2**31), 2**31 - 1),
            "productFirstSeenAt": st.none() | st.integers(-(10**13), 10**13),
        }
    ),
)
FEW = settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateFile]:
    """An empty state file of the tenant."""
    path = Path(tmp_path_factory.mktemp("state")) / "state.duckdb"
    with StateFile.open(path, memory_limit_mib=256, threads=1) as state:
        state.remember("tenant_id", TENANT)
        yield state


def fill(state: StateFile, table: str, columns: dict[str, str], records: list[dict[str, Any]]) -> None:
    """Make records the only rows of a table."""
    number = {"changes": "sequence", "alerts": "alert_no"}[table]
    names = [name for name, column in columns.items() if column != number]
    state.database.rows(f"DELETE FROM {table}")
    for place, record in enumerate(records, start=1):
        state.database.rows(
            f"INSERT INTO {table} (epoch, snapshot_no, {number}, {', '.join(columns[name] for name in names)})"
            f" VALUES (7, 1, $1, {', '.join(f'${bound}' for bound in range(2, len(names) + 2))})",
            [place, *(record[name] for name in names)],
        )


def both_ways(
    state: StateFile, messages: Messages, snapshot: StagedSnapshot = SNAPSHOT
) -> tuple[list[Message], list[Message]]:
    """The messages of all changes and alerts: by the engine, and record by record."""
    journal = state.journal
    changes = messages.change_encoder(CHANGES)
    alerts = messages.alert_encoder(ALERTS)
    assert changes is not None
    assert alerts is not None
    return (
        [
            *journal.encoded_changes(snapshot, after=0, limit=1_000, encoder=changes),
            *journal.encoded_alerts(snapshot, after=0, limit=1_000, encoder=alerts),
        ],
        [
            *map(messages.encode_change, journal.changes(snapshot, after=0, limit=1_000)),
            *map(messages.encode_alert, journal.alerts(snapshot, after=0, limit=1_000)),
        ],
    )


@given(changes=st.lists(CHANGED, max_size=4), alerts=st.lists(RAISED, max_size=4))
@FEW
def test_encoded_rows_are_the_messages_of_their_records(
    state: StateFile, changes: list[dict[str, Any]], alerts: list[dict[str, Any]]
) -> None:
    """Whatever is in the rows; some are too large for the broker, and are shortened either way."""
    fill(state, "changes", CHANGES, changes)
    fill(state, "alerts", ALERTS, alerts)
    messages, journal = make_messages(message_bytes_max=30_000), state.journal
    encoded, written = both_ways(state, messages)
    assert encoded == written
    records = record_encoder(messages, SOFTWARE)
    assert records is not None
    encoder = ChangeRecordEncoder(messages, SOFTWARE, records)
    assert list(journal.encoded_changes(SNAPSHOT, after=0, limit=1_000, encoder=encoder)) == [
        tuple(encode_change_records(messages, SOFTWARE, change))
        for change in journal.changes(SNAPSHOT, after=0, limit=1_000)
    ]
    assert len(encoded) == len(changes) + len(alerts)


def fill_inventory(state: StateFile, records: list[dict[str, Any]]) -> None:
    """Make records the inventory, every other one of each export, whatever their keys are."""
    columns = [field.column for field in SOFTWARE.attributes]
    for table in ("devices", "software", "inventory"):
        state.database.rows(f"DELETE FROM {table}")
    for number, record in enumerate(records, start=1):
        keys = [record[field.name] or "" for field in SOFTWARE.keys]
        state.database.rows("INSERT INTO devices VALUES ($1, $2)", [number, keys[0]])
        state.database.rows("INSERT INTO software VALUES ($1, $2, $3, $4)", [number, *keys[1:]])
        state.database.rows(
            f"INSERT INTO inventory (inventory, device_no, software_no, {', '.join(columns)})"
            f" VALUES ($1, $2, $2, {', '.join(f'${bound}' for bound in range(3, len(columns) + 3))})",
            [list(Inventory)[number % 2].value, number, *(record[field.name] for field in SOFTWARE.attributes)],
        )


@given(records=st.lists(RECORDS, max_size=7), limit=st.integers(1, 3))
@FEW
def test_encoded_records_are_the_messages_of_the_inventory(
    state: StateFile, records: list[dict[str, Any]], limit: int
) -> None:
    """The same batches, with the same cursors after them, and the same messages, shortened or not."""
    fill_inventory(state, records)
    messages, mirror = make_messages(message_bytes_max=30_000), Mirror(state.database, SOFTWARE)
    encoder = record_encoder(messages, SOFTWARE)
    assert encoder is not None
    encoded = list(mirror.encoded_records(BackfillCursor(1), limit, encoder))
    written, cursor = [], BackfillCursor(1)
    while cursor.phase == "records":
        batch, cursor = mirror.next_records(cursor, limit)
        written.append(([messages.encode_record(key, record) for key, record in batch], cursor))
    assert encoded == written
    assert sum(len(batch) for batch, _ in encoded) == len(records)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"snapshot": {"generated_at": 2**62}}, "observedAt"),
        ({"snapshot": {"staged_at": -(2**62)}}, "emittedAt"),
        ({"changeType": "ODD"}, "changeType"),
        ({"diskPaths": None}, "diskPaths"),
    ],
    ids=["observedAt", "emittedAt", "changeType", "diskPaths"],
)
def test_what_the_codec_refuses_is_refused_with_its_words(
    state: StateFile, fields: dict[str, Any], problem: str
) -> None:
    """A row that fits no message ends the batch where it stands, and the error names record and field."""
    snapshot = replace(SNAPSHOT, **fields.pop("snapshot", {}))
    fill(state, "changes", CHANGES, [CHANGE, CHANGE | fields])
    encoder = make_messages().change_encoder(CHANGES)
    assert encoder is not None
    with pytest.raises(EncodingError, match=rf"SoftwareChange of eventId .*: {problem}: "):
        list(state.journal.encoded_changes(snapshot, after=0, limit=1_000, encoder=encoder))


def test_rows_are_read_in_order_and_within_bounds(state: StateFile) -> None:
    """As `changes`: those beyond a sequence, at most so many."""
    fill(state, "changes", CHANGES, [CHANGE | {"eventId": str(number)} for number in range(1, 10)])
    messages = make_messages()
    encoder = messages.change_encoder(CHANGES)
    assert encoder is not None
    encoded = state.journal.encoded_changes(SNAPSHOT, after=3, limit=4, encoder=encoder)
    assert [dict(message.headers)["ce_id"] for message in encoded] == [b"4", b"5", b"6", b"7"]


def test_json_has_no_encoder() -> None:
    """JSON is written record by record."""
    messages = Messages(JsonValues(), topic_names(), tenant_id=TENANT)
    assert messages.change_encoder(CHANGES) is None
    assert messages.alert_encoder(ALERTS) is None
