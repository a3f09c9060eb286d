"""Values as JSON through the whole connector: exactly once, every verb, and both formats one after the other."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.operations.check import check_schemas
from connector.operations.setup import set_up
from tests.cli.test_cli import command
from tests.conftest import consume_all
from tests.support.broker import Broker
from tests.support.exactly_once import SCHEMAS, Run, beginning
from tests.support.json_values import problems
from tests.support.judging import Verdict
from tests.whole.test_takeover import written

pytestmark = pytest.mark.broker

FILES = {
    "changes": "software-change",
    "alerts": "end-of-support-alert",
    "snapshots": "snapshot-report",
    "checkpoints": "checkpoint",
    "inventory": "software-record",
    "campaigns": "software-campaign",
}


@pytest.fixture
def begin(tmp_path: Path, topic_prefix: str, broker: Broker) -> Iterator[Callable[..., Run]]:
    """`begin(registry_url=None)`: a tenant with its baseline published; without a registry as JSON."""
    with beginning(tmp_path, topic_prefix) as make:
        yield lambda registry_url=None, **tables: make(broker, registry_url, seed=7, **tables)


def exact(run: Run) -> Verdict:
    """What the verdict must be."""
    assert run.expected_events > 100
    return Verdict(run.expected_events, 0, 0, ())


def raw(run: Run, topic: str) -> list[Any]:
    """The messages of a topic, with key, value and headers."""
    kafka = run.settings["kafka"]
    return list(consume_all(kafka["client"]["bootstrap.servers"], f"{kafka['topic_prefix']}.{topic}"))


def test_every_message_of_real_polls_is_one_of_its_json_schema(begin: Callable[..., Run]) -> None:
    """Killed and going on, without a registry anywhere: each change once, and a validator takes every value."""
    run = begin()
    assert "schema_registry" not in run.settings
    run.kill_at_random(random.Random(3), 3)
    for _ in range(2):
        run.advance()
        run.finish()
    assert run.verdict() == exact(run)
    for topic in SCHEMAS:
        messages = [message for message in raw(run, topic) if message.value is not None]
        assert messages
        assert [problem for message in messages for problem in problems(FILES[topic], message.value)] == []
        assert {dict(message.headers)["content-type"] for message in messages} == {b"application/json"}


@pytest.mark.parametrize("formats", [("avro", "json", "avro"), ("json", "avro", "json")])
def test_changing_the_format_is_no_new_epoch_and_loses_nothing(
    begin: Callable[..., Run], registry_url: str, formats: tuple[str, ...]
) -> None:
    """Each format goes on at the checkpoint that the other wrote; JSON without a table for the registry."""
    run = begin(registry_url, kafka={"value_format": formats[0]})
    registry = run.settings["schema_registry"]
    for value_format in formats:
        run.settings["kafka"]["value_format"] = value_format
        run.settings.pop("schema_registry", None)
        if value_format == "avro":
            run.settings["schema_registry"] = registry
        with run.assembly() as assembly:
            assert [check.text for check in set_up(assembly) if not check.fine] == []
        run.advance()
        run.poll(("batch confirmed", 1))
        run.finish()
    assert run.verdict() == exact(run)
    assert {value["epoch"] for value in run.values("changes")} == {1}
    assert {message.value[:1] for message in raw(run, "changes")} == {b"\0", b"{"}
    run.delete_state()
    with run.assembly() as assembly:
        assembly.rebuild.run()
    run.advance()
    run.finish()
    assert run.verdict() == exact(run)


def test_every_verb_works_without_a_registry(begin: Callable[..., Run], tmp_path: Path) -> None:
    """`check` says that none is needed; `setup`, `tail`, `replay` and `schema` work."""
    run = begin()
    run.advance()
    run.finish()
    config = str(written(run.tables(), tmp_path / "connector.toml"))

    def invoke(*verb: str) -> str:
        ended = command("--config", config, *verb)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    with run.assembly() as assembly:
        assert [(check.name, check.fine) for check in check_schemas(assembly)] == [("schemas", True)]
    for verb in (["setup"], ["schema", "check"], ["schema", "register"]):
        assert "no schema registry is needed" in invoke(*verb)
    changes = len(raw(run, "changes"))
    tailed = invoke("tail", "--from", "beginning", "--max", str(changes), "--json")
    values = [json.loads(line)["value"] for line in tailed.splitlines()]
    assert {value["changeType"] for value in values} >= {"BASELINE", "ADDED", "CHANGED"}
    invoke("replay", "--type", "ADDED")
    added = {value["eventId"] for value in values if value["changeType"] == "ADDED"}
    published = [json.loads(message.value) for message in raw(run, "changes")]
    assert len(published) == changes + len(added)
    assert {value["eventId"] for value in published if value["replayed"]} == added
