"""The schemas: what the design promises of them, how they may grow, and where they are found."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError
from hypothesis import HealthCheck, given, settings

from connector.config.tables import SchemaRegistryConfig
from connector.errors import ConfigError, EncodingError
from connector.exports.fields import Kind
from connector.exports.software import SOFTWARE
from connector.kafka import schemas
from connector.kafka.registry import Registry
from connector.model import ChangeType, Inventory, Reason, SnapshotStatus, Topic
from tests.support.avro import FOLDER, HISTORY, ROOT, load, values
from tests.support.records import RECORD

NAMES = sorted(path.stem for path in FOLDER.glob("*.avsc"))
RELEASES = sorted(path.name for path in HISTORY.iterdir())
PRIMITIVES = {"string", "boolean", "int", "long"}
TIME = {"type": "long", "logicalType": "timestamp-millis"}


def versions(name: str) -> dict[str, Path]:
    """Every released version of a schema, and the one to be released: its folder."""
    released = {release: HISTORY / release for release in RELEASES if (HISTORY / release / f"{name}.avsc").exists()}
    return released | {"next": FOLDER}


def all_fields(schema: Any) -> Iterator[dict[str, Any]]:
    """Every field of a record, those of the records in it included."""
    for field in schema["fields"]:
        yield field
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        yield from (inner for kind in kinds if type_of(kind) == "record" for inner in all_fields(kind))


def type_of(kind: Any) -> str:
    """The name of a type."""
    return str(kind["type"]) if isinstance(kind, dict) else str(kind)


def allowed(kind: Any) -> bool:
    """Whether a type is one that arrives whole in the SIEMs."""
    if isinstance(kind, list):
        return len(kind) == 2 and kind[0] == "null" and allowed(kind[1])
    if isinstance(kind, str):
        return kind in PRIMITIVES
    if kind["type"] == "array":
        return allowed(kind["items"])
    if kind["type"] == "enum":
        return kind["symbols"][0] == kind["default"] == "UNKNOWN" and bool(kind["doc"])
    return kind == TIME or (kind["type"] == "record" and all(allowed(field["type"]) for field in kind["fields"]))


def without_docs(schema: Any) -> Any:
    """What decides compatibility: everything but the docs."""
    if isinstance(schema, dict):
        return {key: without_docs(value) for key, value in schema.items() if key not in ("doc", "namespace")}
    return [without_docs(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_a_doc_and_a_type_that_arrives_whole(name: str) -> None:
    """Only string, boolean, int, long, enum, array, record, nullable unions and timestamp-millis; all documented."""
    schema = load(name)
    assert schema["doc"]
    assert [
        field["name"] for field in all_fields(schema) if not field.get("doc", "").endswith((".", "null.", "…"))
    ] == []
    assert [field["name"] for field in all_fields(schema) if not allowed(field["type"])] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_optional_field_has_a_default(name: str) -> None:
    """A nullable field is null, an array empty, where a writer does not know the field."""
    fields = {field["name"]: field for field in all_fields(load(name))}
    optional = {key: field for key, field in fields.items() if isinstance(field["type"], list)}
    assert {key: field["default"] for key, field in optional.items()} == dict.fromkeys(optional)
    arrays = {key: field for key, field in fields.items() if type_of(field["type"]) == "array"}
    assert {key: field["default"] for key, field in arrays.items()} == {key: [] for key in arrays}


@pytest.mark.parametrize("name", ["software-change", "end-of-support-alert", "software-record"])
def test_the_software_fields_are_those_of_the_table(name: str) -> None:
    """Names, types and docs of a record's fields are those of `exports.fields`."""
    kinds = {Kind.NUMBER: ["null", "long"], Kind.TEXT_SET: {"type": "array", "items": "string"}}
    schema = load(name)
    expected = {
        field.name: "string" if field.name == "deviceId" else kinds.get(field.kind, ["null", "string"])
        for field in SOFTWARE.fields
    }
    types = {field["name"]: field["type"] for field in schema["fields"]}
    assert {name: types[name] for name in expected} == expected
    docs = {field["name"]: field["doc"] for field in schema["fields"]}
    assert [field.name for field in SOFTWARE.fields if not docs[field.name].startswith(field.doc)] == []


def test_the_earlier_record_is_a_software_record() -> None:
    """`before` of a change and the value of the inventory topic are one type."""
    before = next(field for field in load("software-change")["fields"] if field["name"] == "before")
    assert without_docs(before["type"]) == ["null", without_docs(load("software-record"))]
    assert {field["name"] for field in load("software-record")["fields"]} == {field.name for field in SOFTWARE.fields}


def test_the_example_record_has_every_field() -> None:
    """A new field of the record has a value in tests/support/records.py, which many tests publish."""
    assert list(RECORD) == [field.name for field in SOFTWARE.fields]


def test_the_enums_are_those_of_the_model() -> None:
    """An enum has UNKNOWN, for what a later version may say, and the values that this version says."""
    symbols = {
        field["type"]["name"]: field["type"]["symbols"]
        for name in NAMES
        for field in all_fields(load(name))
        if type_of(field["type"]) == "enum"
    }
    assert symbols == {
        "ChangeType": ["UNKNOWN", *ChangeType],
        "Reason": ["UNKNOWN", *Reason],
        "Inventory": ["UNKNOWN", *Inventory],
        "SnapshotStatus": ["UNKNOWN", *SnapshotStatus],
        "AlertType": ["UNKNOWN", "INSTALLED", "REACHED", "UPCOMING", "DATE_THRESHOLD", "CLEARED"],
    }


@pytest.mark.parametrize("topic", list(Topic))
def test_the_schema_of_a_topic_is_its_file(topic: Topic) -> None:
    """Every topic has one record type, and its text is the file's, compact."""
    (schema,) = [schema for schema in schemas.all_schemas() if schema["name"] == schemas.NAMES[topic]]
    assert json.loads(schemas.schema_of(topic)) == schema
    assert schemas.find(schemas.NAMES[topic].upper()) == [schema]
    assert "\n" not in schemas.schema_of(topic)


def test_every_file_is_the_schema_of_a_topic() -> None:
    """No schema is unused."""
    assert {schema["name"] for schema in schemas.all_schemas()} == {load(name)["name"] for name in NAMES}


def test_a_name_that_no_schema_has_is_refused_with_those_there_are() -> None:
    """The hint lists the names."""
    with pytest.raises(ConfigError) as refused:
        schemas.find("Nothing")
    assert str(refused.value) == "no schema is named Nothing"
    assert refused.value.hint.startswith("There are SoftwareChange, ")


# ---- history


@pytest.mark.parametrize("name", NAMES)
def test_every_version_reads_what_every_other_wrote(name: str) -> None:
    """FULL_TRANSITIVE, played through: any record of any version is read by any other, by Avro's own rules."""
    folders = versions(name)
    assert len(folders) > 1 or name == "software-campaign"  # since the coming release
    for writer, reader in itertools.permutations(folders.values(), 2):
        assert reads_each_other(load(name, writer), load(name, reader)) > 0


def reads_each_other(writer: dict[str, Any], reader: dict[str, Any]) -> int:
    """Fields that both know come through; an enum's symbol that the reader does not know becomes UNKNOWN.

    Returns the number of records that were compared.
    """
    compared = 0
    common = {field["name"] for field in writer["fields"]} & {field["name"] for field in reader["fields"]}
    written, wanted = parse_schema(writer), parse_schema(reader)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values(writer))
    def check(record: dict[str, Any]) -> None:
        nonlocal compared
        stream = BytesIO()
        schemaless_writer(stream, written, record)
        stream.seek(0)
        resolved: Any = schemaless_reader(stream, written, wanted)
        stream.seek(0)
        as_written: Any = schemaless_reader(stream, written, None)
        assert set(resolved) == {field["name"] for field in reader["fields"]}
        assert {key for key in common if not _agree(resolved[key], as_written[key])} == set()
        compared += 1

    check()
    return compared


def _agree(resolved: object, as_written: object) -> bool:
    """Whether a value came through: of a record within a record, the fields that both know."""
    if isinstance(resolved, dict) and isinstance(as_written, dict):
        return all(_agree(resolved[key], as_written[key]) for key in {*resolved} & {*as_written})
    return resolved in (as_written, "UNKNOWN")


@pytest.mark.parametrize(
    ("field", "direction"),
    [
        ({"name": "added", "type": "string", "doc": "Without a default."}, "newer reads older"),
        ({"name": "epoch", "type": "string", "doc": "Another type."}, "older reads newer"),
    ],
)
def test_an_incompatible_version_would_be_noticed(field: dict[str, Any], direction: str) -> None:
    """The comparison above is not blind: it fails for a field without default, and for a changed type."""
    old = load("software-change")
    new = old | {"fields": [*[known for known in old["fields"] if known["name"] != field["name"]], field]}
    writer, reader = (old, new) if direction == "newer reads older" else (new, old)
    with pytest.raises(SchemaResolutionError):
        reads_each_other(writer, reader)


def test_a_nullable_field_is_a_compatible_addition_also_within_a_record() -> None:
    """A field that Defender begins to export stands in the change itself and in `before`."""
    old, new = load("software-change"), load("software-change")
    (before,) = (field for field in new["fields"] if field["name"] == "before")
    added = {"name": "added", "type": ["null", "string"], "doc": "New.", "default": None}
    next(kind for kind in before["type"] if isinstance(kind, dict))["fields"].append(added)
    new["fields"].append(added)
    for writer, reader in ((old, new), (new, old)):
        assert reads_each_other(writer, reader) > 0


@pytest.mark.broker
@pytest.mark.parametrize("topic", list(Topic))
def test_the_registry_takes_every_version_and_no_incompatible_one(
    topic: Topic, registry_url: str, topic_prefix: str
) -> None:
    """Under FULL_TRANSITIVE a real registry accepts all versions in their order, and refuses a breaking one."""
    subject = f"{topic.name_under(topic_prefix)}-value"
    name = next(name for name in NAMES if load(name)["name"] == schemas.NAMES[topic])
    with Registry(SchemaRegistryConfig(url=registry_url)) as registry:
        for folder in versions(name).values():
            text = json.dumps(load(name, folder))
            assert registry.find_conflicts(subject, text) == []
            registry.register(subject, text)
        broken = load(name)
        broken["fields"][0]["type"] = "boolean"
        assert len(registry.find_conflicts(subject, json.dumps(broken))) == 1
        with pytest.raises(EncodingError, match="incompatible with what is registered"):
            registry.register(subject, json.dumps(broken))


# ---- in a wheel

PROGRAM = """
import json, sys
from connector.kafka import schemas
from connector.model import Topic
json.dump([schemas.__file__, [schemas.schema_of(topic) for topic in Topic]], sys.stdout)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.parametrize("form", ["installed", "zipped"])
def test_the_schemas_are_read_from_a_wheel(wheel: Path, tmp_path: Path, form: str) -> None:
    """Installed or still zipped, the wheel brings its schemas, and they are those of the checkout."""
    place = wheel
    if form == "installed":
        place = tmp_path / "site"
        zipfile.ZipFile(wheel).extractall(place)
    environment = os.environ | {"PYTHONPATH": str(place)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    origin, texts = json.loads(done.stdout)
    assert origin.startswith(str(place))
    assert texts == [schemas.schema_of(topic) for topic in Topic]


def test_the_wheel_has_every_released_version(wheel: Path) -> None:
    """History travels along, so that a consumer finds the schema of an old message."""
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {f"connector/schemas/{path.relative_to(FOLDER).as_posix()}" for path in FOLDER.rglob("*.avsc")}
    assert files - names == set()
