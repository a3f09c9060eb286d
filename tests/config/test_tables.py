from __future__ import annotations

import codecs
import json
import stat
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.config import Config, find, from_values, load
from connector.config.tables import SourceConfig
from connector.config.values import CLOUDS, OWNED_CLIENT_KEYS, SECRET_BYTES_MAX, is_secret
from connector.errors import ConfigError
from connector.model import Topic
from connector.wording import counted
from tests.support.configured import SECRET, config_of, tables

DEFAULTS: dict[str, dict[str, Any]] = {
    "source": {
        "tenant_name": "",
        "auth": "client_secret",
        "certificate_path": None,
        "certificate_password": None,
        "federated_token_file": None,
        "method": "auto",
        "cloud": "commercial",
        "authority": "https://login.microsoftonline.com",
        "api_url": "https://api.security.microsoft.com",
        "scope": "https://api.securitycenter.microsoft.com/.default",
        "allowed_hosts": (),
        "ca_bundle": "",
        "page_size": 50_000,
        "sas_valid_hours": 6,
        "download_parallelism": 4,
        "include_non_cpe": False,
        "device_facts": False,
    },
    "poll": {"interval_seconds": 3600, "stale_after_hours": 24},
    "state": {
        "path": Path("state.duckdb"),
        "staging_dir": "",
        "memory_limit_mib": 768,
        "memory_budget_mib": 0,
        "threads": 0,
        "journal_retention_days": 90,
        "max_pending": 50_000_000,
    },
    "engine": {"name": "duckdb", "path": "", "spark": {}},
    "diff": {"baseline": "silent", "pair_versions": True, "fold_lookalikes": False, "ignore_fields": ()},
    "guard": {
        "max_removed_share": 0.15,
        "min_removed": 100,
        "missing_device_snapshots": 2,
        "max_baseline_rejected": 0,
        "max_changed_share": {},
        "min_changed": 100,
        "max_added_share": 0.5,
        "min_added": 100,
    },
    "alerts": {
        "enabled": True,
        "on_baseline": False,
        "date_thresholds_days": (90, 30, 7, 0),
        "summarize_above": 100,
        "severity": {},
    },
    "campaigns": {"enabled": False, "min_devices": 10},
    "kafka": {
        "topic_prefix": "mde.software",
        "value_format": "avro",
        "delivery": "exactly_once",
        "transactional_id": "",
        "auth": "client",
        "auth_client_id": "",
        "auth_tenant_id": "",
        "auth_scope": "",
        "auth_region": "",
        "message_bytes_max": 0,
        "inventory_topic": False,
        "batch_changes_max": 10_000,
    },
    "schema_registry": {"auto_register": False},
    "http": {"listen": "127.0.0.1:9464"},
    "console": {
        "listen": "",
        "allow_decisions": False,
        "tls_certificate_path": None,
        "tls_key_path": None,
        "trusted_proxies": (),
        "user_header": "x-forwarded-user",
        "allowed_hosts": (),
    },
}
"""Every key with a default, and that default: the contract with users."""


def problems(environ: dict[str, str] | None = None, **changed: dict[str, Any]) -> list[str]:
    """What is wrong with it, a line each."""
    with pytest.raises(ConfigError) as caught:
        config_of(environ, **changed)
    head, *lines = str(caught.value).splitlines()
    assert head == f"connector.toml: {counted(len(lines), 'problem')}"
    assert SECRET not in str(caught.value)
    return [line.strip() for line in lines]


def test_the_least_configuration_has_the_documented_defaults() -> None:
    """Every key has the documented default."""
    config = config_of()
    values = {table: {key: getattr(getattr(config, table), key) for key in keys} for table, keys in DEFAULTS.items()}
    assert values == DEFAULTS


def test_the_optional_topics_are_those_that_are_asked_for() -> None:
    """What is published to is what `setup` makes and `check` asks for, with its schema."""
    always = [topic for topic in Topic if topic not in {Topic.INVENTORY, Topic.CAMPAIGNS}]
    assert list(config_of().topics) == always
    assert list(config_of(campaigns={"enabled": True}).topics) == [*always, Topic.CAMPAIGNS]


def test_every_key_is_known_to_this_test() -> None:
    """A new key is a new promise: it gets its default written down here."""
    needed = {"source": {"tenant_id", "client_id", "client_secret", "client_secret_file", "certificate_password_file"},
              "kafka": {"client"}, "schema_registry": {"url"}}  # fmt: skip
    keys = {
        table: set(field.annotation.model_fields) for table, field in Config.model_fields.items() if field.annotation
    }
    assert keys == {table: set(known) | needed.get(table, set()) for table, known in DEFAULTS.items()}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("source", "page_size", 1),
        ("source", "page_size", 200_000),
        ("source", "sas_valid_hours", 1),
        ("source", "download_parallelism", 64),
        ("source", "include_non_cpe", True),
        ("source", "device_facts", True),
        ("source", "method", "json"),
        ("poll", "interval_seconds", 1),
        ("state", "path", Path("/var/lib/x.duckdb")),
        ("state", "memory_limit_mib", 128),
        ("diff", "baseline", "emit"),
        ("guard", "max_removed_share", 1.0),
        ("guard", "missing_device_snapshots", 1),
        ("guard", "max_baseline_rejected", 5),
        ("alerts", "enabled", False),
        ("kafka", "delivery", "at_least_once"),
        ("kafka", "value_format", "json"),
        ("kafka", "transactional_id", "connector-1"),
        ("kafka", "batch_changes_max", 20_000),
        ("schema_registry", "auto_register", True),
        ("http", "listen", "[::1]:0"),
    ],
)
def test_a_key_of_the_file_and_the_same_from_the_environment_are_the_same(table: str, key: str, value: Any) -> None:
    """Two underscores between table and key; the environment wins over the file."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    variable = f"MDE_INVENTORY_{table.upper()}__{key.upper()}"
    assert getattr(getattr(config_of(**{table: {key: value}}), table), key) == value
    assert getattr(getattr(config_of({variable: text}), table), key) == value
    assert getattr(getattr(config_of({variable: text}, **{table: {key: DEFAULTS[table][key]}}), table), key) == value


@pytest.mark.parametrize("text", ["a.example, *.b.example", '["a.example", "*.b.example"]'])
def test_a_list_from_the_environment_may_be_json_or_have_commas(text: str) -> None:
    """Both ways of writing it."""
    assert config_of({"MDE_INVENTORY_SOURCE__ALLOWED_HOSTS": text}).source.allowed_hosts == ("a.example", "*.b.example")
    assert config_of({"MDE_INVENTORY_ALERTS__DATE_THRESHOLDS_DAYS": "5,1"}).alerts.date_thresholds_days == (5, 1)


def test_client_keys_may_come_from_the_environment_with_underscores_for_dots() -> None:
    """Variables have no dots; tables merge key by key."""
    environ = {
        "MDE_INVENTORY_KAFKA__CLIENT__SASL_PASSWORD": SECRET,
        "MDE_INVENTORY_SCHEMA_REGISTRY__BASIC_AUTH_USER_INFO": f"me:{SECRET}",
    }
    config = config_of(environ)
    assert config.kafka.client == {"bootstrap.servers": "localhost:9092", "sasl.password": SECRET}
    assert config.schema_registry.client == {"basic.auth.user.info": f"me:{SECRET}"}


# ---- the source table


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cloud_picks_authority_api_scope_and_storage_and_each_can_be_overridden(cloud: str) -> None:
    """Four clouds, each with its hosts."""
    source = config_of(source={"cloud": cloud}).source
    preset = CLOUDS[cloud]
    picked = source.authority, source.api_url, source.scope, source.storage_suffix
    assert picked == (preset["authority"], preset["api_url"], preset["scope"], preset["storage"])
    changed = {
        "authority": "https://login.example/",
        "api_url": "https://api.example:8443",
        "scope": "https://api.example/.default",
    }
    source = config_of(source={"cloud": cloud, **changed}).source
    assert (source.authority, source.api_url, source.scope) == ("https://login.example", *list(changed.values())[1:])


def test_a_cloud_from_the_environment_picks_the_rest() -> None:
    """The presets follow the cloud that wins."""
    source = config_of({"MDE_INVENTORY_SOURCE__CLOUD": "gcc_high"}, source={"cloud": "gcc"}).source
    assert source.api_url == CLOUDS["gcc_high"]["api_url"]


NO_HOSTS = (
    "https://a.example", "a.example:443", "a.example/x", "*", "*.", "**.a", "a*.example", "", "-a.b", "*.10.1.2.3",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"tenant_id": None}, "source.tenant_id: is missing"),
        ({"tenant_id": "no tenant!"}, "source.tenant_id: must be the tenant's GUID or one of its domain names"),
        ({"client_id": None}, "source.client_id: is needed where auth is client_secret"),
        (
            {"client_secret": None},
            "source.client_secret (or client_secret_file): is needed where auth is client_secret",
        ),
        ({"client_secret": ""}, "source.client_secret (or client_secret_file): is needed where auth is client_secret"),
        ({"auth": "certificate"}, "source.certificate_path: is needed where auth is certificate"),
        ({"auth": "password"}, "source.auth: input should be 'client_secret', 'certificate',"),
        ({"page_size": 0}, "source.page_size: input should be greater than or equal to 1 (is 0)"),
        ({"page_size": 200_001}, "source.page_size: input should be less than or equal to 200000 (is 200001)"),
        ({"sas_valid_hours": 7}, "source.sas_valid_hours: input should be less than or equal to 6 (is 7)"),
        ({"download_parallelism": 0}, "source.download_parallelism: input should be greater than or equal to 1 (is 0)"),
        ({"cloud": "mars"}, "source.cloud: input should be 'commercial', 'gcc', 'gcc_high' or 'dod' (is 'mars')"),
        ({"ca_bundle": "/nowhere.pem"}, "source.ca_bundle: there is no file /nowhere.pem"),
        ({"scope": "https://api.example"}, "source.scope: must be an https URL that ends in /.default"),
        ({"scope": "api.example/.default"}, "source.scope: must be an https URL that ends in /.default"),
        *[
            ({"api_url": url}, "source.api_url: must be")
            for url in (
                "http://api.example",
                "api.example",
                "https://",
                "https://me:word@api.example",
                "https://me@api.example",
                "https://api.example/?x=1",
                "https://api.example/#x",
                "https://api.example:0",
                "https://api.example:",
                "https://api.example:99999",
                "https://api.example:x",
                "https://api example",
                "https://api.ex\u00e4mple",
                "https://[::1",
                "https://a\\b.example",
            )
        ],
        *[
            ({"allowed_hosts": [host]}, "source.allowed_hosts.0: must be a host name, *.suffix or an IP address")
            for host in NO_HOSTS
        ],
    ],
)
def test_a_wrong_key_of_the_source_is_named_with_what_is_allowed(changed: dict[str, Any], problem: str) -> None:
    """One line, the key first."""
    lines = problems(source=changed)
    assert len(lines) == 1
    assert lines[0].startswith(problem)


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("A.Example", "a.example"),
        ("*.Blob.Example", "*.blob.example"),
        ("10.1.2.3", "10.1.2.3"),
        ("[fd00::1]", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("localhost", "localhost"),
    ],
)
def test_hosts_are_kept_in_lower_case(host: str, kept: str) -> None:
    """Names, suffixes and addresses."""
    assert config_of(source={"allowed_hosts": [host]}).source.allowed_hosts == (kept,)


@pytest.mark.parametrize(
    "changed",
    [
        {"auth": "managed_identity", "client_id": None, "client_secret": None},
        {"auth": "workload_identity", "client_secret": None},
        {"auth": "device_code", "client_secret": None},
        {"auth": "certificate", "client_secret": None, "certificate_path": "certificate.pfx"},
    ],
)
def test_each_way_to_be_let_in_needs_only_its_own_keys(changed: dict[str, Any]) -> None:
    """No secret where there is none."""
    assert config_of(source=changed).source.auth == changed["auth"]


# ---- all problems at once


def test_all_problems_are_told_at_once() -> None:
    """Over tables, kinds of problems, and variables that name no table."""
    lines = problems(
        {"MDE_INVENTORY_SOURSE__X": "1", "MDE_INVENTORY_POLL__INTERVAL_SECONDS": "0"},
        source={"page_size": 0, "tenent_id": "x", "cloud": "mars"},
        kafka={"delivery": "maybe"},
        guard={"max_removed_share": 2},
    )
    assert [line.partition(":")[0] for line in lines] == [
        "source.cloud",
        "source.page_size",
        "source.tenent_id",
        "poll.interval_seconds",
        "guard.max_removed_share",
        "kafka.delivery",
        "MDE_INVENTORY_SOURSE__X",
    ]


def test_problems_of_values_together_are_told_at_once() -> None:
    """Where each key is fine by itself and they do not fit."""
    lines = problems(
        source={"auth": "certificate", "client_id": None, "tenant_id": "!", "ca_bundle": "/nowhere", "scope": "x"},
        kafka={"client": {"acks": "all", "group.id": "x"}},
    )
    assert [line.partition(":")[0] for line in lines] == [
        "source.tenant_id",
        "source.client_id",
        "source.certificate_path",
        "source.scope",
        "source.ca_bundle",
        "kafka.client.bootstrap.servers",
        "kafka.client.acks",
        "kafka.client.group.id",
    ]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"source": {"tenent_id": "x"}}, "source.tenent_id: no such key; did you mean tenant_id?"),
        ({"source": {"client_secert": SECRET}}, "source.client_secert: no such key; did you mean client_secret?"),
        ({"poll": {"intervall_seconds": 1}}, "poll.intervall_seconds: no such key; did you mean interval_seconds?"),
        ({"state": {"zzz": 1}}, "state.zzz: no such key"),
        ({"kafca": {"x": 1}}, "kafca: no such key; did you mean kafka?"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(changed: dict[str, dict[str, Any]], line: str) -> None:
    """A misspelt key is not ignored, and its value is not shown."""
    assert problems(**changed) == [line]


@pytest.mark.parametrize("variable", ["MDE_INVENTORY_SOURCE__TENENT_ID", "MDE_INVENTORY_KAFCA__X", "MDE_INVENTORY_X"])
def test_an_unknown_variable_is_an_error(variable: str) -> None:
    """Of a known table or of none."""
    assert len(problems({variable: "1"})) == 1


def test_other_variables_are_none_of_ours() -> None:
    """Only the prefix counts, and the variable that names the file."""
    assert (
        config_of({"PATH": "/bin", "MDE_INVENTORY_CONFIG": "/x", "SOURCE__TENANT_ID": "!"}).source.page_size == 50_000
    )


@pytest.mark.parametrize("text", ["{", "[1]", "17"])
def test_a_table_that_is_no_table_is_an_error(text: str) -> None:
    """Whole tables may come as JSON objects; anything else is reported."""
    assert problems({"MDE_INVENTORY_POLL": text})
    assert config_of({"MDE_INVENTORY_POLL": '{"interval_seconds": 7}'}).poll.interval_seconds == 7


# ---- secrets


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_may_stand_in_a_file(tmp_path: Path, start: bytes, ending: str) -> None:
    """Without its last line break and a byte order mark, and from the environment too."""
    file = tmp_path / "secret"
    file.write_bytes(start + f" {SECRET} ".encode() + ending.encode())
    for config in (
        config_of(source={"client_secret": None, "client_secret_file": str(file)}),
        config_of({"MDE_INVENTORY_SOURCE__CLIENT_SECRET_FILE": str(file)}, source={"client_secret": "older"}),
    ):
        assert config.source.client_secret is not None
        assert config.source.client_secret.get_secret_value() == f" {SECRET} "


def test_secrets_of_the_clients_may_stand_in_files(tmp_path: Path) -> None:
    """`<key>_file` in the tables that are passed through; librdkafka's own `.file` keys stay as they are."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    own = "sasl.oauthbearer.assertion.private.key.file"
    config = config_of(
        {"MDE_INVENTORY_SCHEMA_REGISTRY__BASIC_AUTH_USER_INFO_FILE": str(file)},
        kafka={"client": {"bootstrap.servers": "x:1", "sasl.password_file": str(file), own: "/key.pem"}},
    )
    assert config.kafka.client == {"bootstrap.servers": "x:1", "sasl.password": SECRET, own: "/key.pem"}
    assert config.schema_registry.client == {"basic.auth.user.info": SECRET}


def test_the_environment_wins_over_the_file_whichever_way_a_secret_is_given(tmp_path: Path) -> None:
    """A value over a file, a file over a value, in every table."""
    file = tmp_path / "secret"
    file.write_text("from a file")
    by_file = {"client_secret": None, "client_secret_file": str(file)}
    config = config_of({"MDE_INVENTORY_SOURCE__CLIENT_SECRET": "by variable"}, source=by_file)
    assert config.source.client_secret is not None
    assert config.source.client_secret.get_secret_value() == "by variable"
    config = config_of(
        {"MDE_INVENTORY_KAFKA__CLIENT__SASL_PASSWORD": "by variable"},
        kafka={"client": {"bootstrap.servers": "x:1", "sasl.password_file": str(file)}},
    )
    assert config.kafka.client["sasl.password"] == "by variable"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"\xff", "not UTF-8 text"),
        (SECRET.encode("utf-16"), "not UTF-8 text but UTF-16; save it as UTF-8"),
        (SECRET.encode("utf-16-le"), "not UTF-8 text: it has a NUL character (UTF-16 looks like that)"),
        (b"x" * (SECRET_BYTES_MAX + 1), "longer than 65536 bytes"),
    ],
)
def test_a_secret_that_cannot_be_read_is_told_by_key_and_file(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """Missing, no text, or too long; what it has is not shown."""
    file = tmp_path / "secret"
    if content:
        file.write_bytes(content)
    lines = problems(source={"client_secret": None, "client_secret_file": str(file)})
    assert lines[0] == f"source.client_secret_file: cannot read {file}: {reason}"
    lines = problems(kafka={"client": {"bootstrap.servers": "x:1", "sasl.password_file": str(file)}})
    assert lines[0] == f"kafka.sasl.password_file: cannot read {file}: {reason}"


def config_with_secrets() -> Config:
    """A secret in every place that can have one."""
    return config_of(
        source={"auth": "certificate", "certificate_path": "x.pfx", "certificate_password": f"{SECRET}-1",
                "client_secret": f"{SECRET}-2"},
        kafka={"client": {"bootstrap.servers": "x:1", "sasl.username": "me", "sasl.password": f"{SECRET}-3",
                          "ssl.key.pem": f"{SECRET}-4", "sasl.oauthbearer.client.secret": f"{SECRET}-5"}},
        schema_registry={"basic.auth.user.info": f"{SECRET}-6", "bearer.auth.token": f"{SECRET}-7"},
    )  # fmt: skip


def test_no_text_of_a_configuration_shows_a_secret() -> None:
    """Neither repr nor str, of the whole or of a table."""
    config = config_with_secrets()
    shown = [config, config.source, config.kafka, config.schema_registry]
    assert not any(SECRET in text(value) for value in shown for text in (repr, str, "{}".format))


def test_every_secret_is_known_to_redaction() -> None:
    """Every value that must never be shown is handed to the logs."""
    assert sorted(config_with_secrets().secrets) == [f"{SECRET}-{number}" for number in range(1, 8)]


@pytest.mark.parametrize(
    "changed",
    [
        {"source": {"client_secret": [SECRET]}},
        {"source": {"certificate_password": {"x": SECRET}}},
        {"kafka": {"client": {"bootstrap.servers": "x:1", "sasl.password": [SECRET]}}},
        {"kafka": {"client": SECRET}},
        {"source": {"authority": f"https://me:{SECRET}@login.example"}},
        {"schema_registry": {"url": f"http://me:{SECRET}@registry.example"}},
    ],
)
def test_no_error_shows_a_secret(changed: dict[str, dict[str, Any]]) -> None:
    """Whatever is wrong with it."""
    assert problems(**changed)


SECRET_KEYS = ["sasl.password", "ssl.key.pem", "basic.auth.user.info", "bearer.auth.token", "client_secret"]
PUBLIC_KEYS = [
    "sasl.username", "ssl.ca.location", "ssl.key.location", "sasl.oauthbearer.token.endpoint.url", "client_secret_file",
]  # fmt: skip


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_keys_of_secrets_are_recognised(key: str) -> None:
    """By their words."""
    assert is_secret(key)


@pytest.mark.parametrize("key", PUBLIC_KEYS)
def test_keys_that_only_point_somewhere_are_no_secrets(key: str) -> None:
    """Locations and addresses may be shown."""
    assert not is_secret(key)


# ---- Kafka and the registry


@pytest.mark.parametrize("key", sorted(OWNED_CLIENT_KEYS))
def test_keys_that_the_connector_owns_are_refused_by_name(key: str) -> None:
    """Delivery depends on them."""
    lines = problems(kafka={"client": {"bootstrap.servers": "x:1", key: "1"}})
    assert lines == [f"kafka.client.{key}: set by the connector, remove it here"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enable.ssl.certificate.verification", False),
        ("enable.ssl.certificate.verification", "False"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ],
)
def test_brokers_are_verified_and_nothing_turns_that_off(key: str, value: object) -> None:
    """Neither the certificate nor the name in it is taken unseen; what asks for the usual is let through."""
    lines = problems(kafka={"client": {"bootstrap.servers": "x:1", key: value}})
    advice = "must not turn the verification of brokers off (name their authority in ssl.ca.location)"
    assert lines == [f"kafka.client.{key}: {advice}"]
    usual = {"enable.ssl.certificate.verification": True, "ssl.endpoint.identification.algorithm": "https"}
    client = {"bootstrap.servers": "x:1", **usual}
    assert config_of(kafka={"client": client}).kafka.client == client


def test_brokers_may_be_given_as_a_list() -> None:
    """As TOML has lists; librdkafka gets them with commas."""
    client = {"bootstrap.servers": ["a.example:9092", "b.example:9092"]}
    assert config_of(kafka={"client": client}).kafka.client == {"bootstrap.servers": "a.example:9092,b.example:9092"}
    assert problems(kafka={"client": {"bootstrap.servers": []}}) == [
        "kafka.client.bootstrap.servers: is needed, for instance localhost:9092"
    ]


@pytest.mark.parametrize("value", [["a", "b"], [1], date(2026, 11, 23)])
def test_a_client_value_that_librdkafka_cannot_be_given_is_refused_in_one_line(value: object) -> None:
    """Lists and times: one sentence, whichever key it is."""
    assert problems(kafka={"client": {"bootstrap.servers": "x:1", "client.id": value}}) == [
        "kafka.client.client.id: must be text, a number, true or false; several values are one text, with commas"
    ]


def test_a_client_key_with_dots_and_without_quotes_is_refused_with_what_to_write() -> None:
    """TOML reads it as a table in the table."""
    assert problems(kafka={"client": {"bootstrap.servers": "x:1", "sasl": {"username": "me"}}}) == [
        'kafka.client.sasl: must be text, a number, true or false; a key with dots stands in quotes, "sasl.username"'
    ]


def test_an_unsecured_oauth_token_is_refused() -> None:
    """Without oidc, librdkafka would make up a token."""
    oauth = {"bootstrap.servers": "x:1", "sasl.mechanism": "OAUTHBEARER"}
    assert problems(kafka={"client": oauth})[0].startswith("kafka.client.sasl.oauthbearer.method: must be oidc")
    assert config_of(kafka={"client": {**oauth, "sasl.oauthbearer.method": "oidc"}}).kafka.client


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"kafka": {"client": None}}, "kafka.client"),
        ({"kafka": {"topic_prefix": "a b"}}, "kafka.topic_prefix"),
        ({"kafka": {"topic_prefix": ""}}, "kafka.topic_prefix"),
        ({"kafka": {"transactional_id": "x" * 201}}, "kafka.transactional_id"),
        ({"kafka": {"batch_changes_max": 20_001}}, "kafka.batch_changes_max"),
        ({"schema_registry": {"url": "ftp://x"}}, "schema_registry.url"),
        ({"schema_registry": {"url": None}}, "schema_registry.url"),
        ({"http": {"listen": "9464"}}, "http.listen"),
        ({"http": {"listen": "localhost:99999"}}, "http.listen"),
        ({"diff": {"ignore_fields": ["softwareName"]}}, "diff.ignore_fields"),
        ({"guard": {"max_removed_share": -0.1}}, "guard.max_removed_share"),
        ({"guard": {"max_changed_share": {"deviceName": 2}}}, "guard.max_changed_share.deviceName"),
        ({"guard": {"max_changed_share": {"softwareName": 1}}}, "guard.max_changed_share"),
        ({"alerts": {"date_thresholds_days": [-1]}}, "alerts.date_thresholds_days.0"),
        ({"alerts": {"severity": {"reached": "urgent"}}}, "alerts.severity.reached"),
        ({"alerts": {"severity": {"removed": "low"}}}, "alerts.severity.removed.[key]"),
        ({"state": {"memory_limit_mib": 1}}, "state.memory_limit_mib"),
    ],
)
def test_a_wrong_key_of_another_table_is_named(changed: dict[str, dict[str, Any]], key: str) -> None:
    """One line, the key first."""
    lines = problems(**changed)
    assert [line.partition(":")[0] for line in lines] == [key]


PATHS = (
    ("state", "path"), ("state", "staging_dir"), ("source", "ca_bundle"), ("source", "certificate_path"),
    ("source", "federated_token_file"),
)  # fmt: skip


@pytest.mark.parametrize(("table", "key"), PATHS)
@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a\0b", "must be a path without NUL characters (is 'a\\x00b')"),
        (
            "x" * 300,
            f"must be a path of less than 4096 bytes, none of its parts longer than 255 (begins '{'x' * 99}…)",
        ),
        (
            "x/" * 2048 + "x",
            f"must be a path of less than 4096 bytes, none of its parts longer than 255 (begins '{'x/' * 49}x…)",
        ),
    ],
)
def test_a_path_that_no_system_takes_is_refused(table: str, key: str, path: str, problem: str) -> None:
    """Each path of the configuration, before anything is asked of the disk."""
    assert problems(**{table: {key: path}}) == [f"{table}.{key}: {problem}"]


def test_the_file_of_a_secret_is_a_path_too() -> None:
    """It is read while the configuration is checked, and refused as one that cannot be."""
    assert problems(source={"client_secret": None, "client_secret_file": "a\0b"})[0] == (
        "source.client_secret_file: cannot read 'a\\x00b': embedded null byte"
    )


@pytest.mark.parametrize("path", ["", ".", "..", "/", "a/..", "folder/"])
def test_the_state_file_has_a_name(path: str) -> None:
    """Neither nothing nor a folder, in the file and in a variable."""
    line = f"state.path: must name a file, such as state.duckdb (is {path!r})"
    assert problems(state={"path": path}) == [line]
    assert problems({"MDE_INVENTORY_STATE__PATH": path}) == [line]


@pytest.mark.parametrize(
    "listen",
    [
        "9464", ":9464", "host:", "host:65536", "host:-1", "host:\u00b2", "host:\u0663", "a b:1", "a\0:1", "*:1",
        "http://host:1", "host:9464/", f"{'a' * 64}:1", "a..b:1", f"host:{'9' * 50}",
    ],
)  # fmt: skip
def test_an_address_that_nothing_can_listen_on_is_refused(listen: str) -> None:
    """With what is allowed, and the value."""
    assert problems(http={"listen": listen}) == [
        f"http.listen: must be host:port, with a host name or IP address and a port of 0 to 65535 (is {listen!r})"
    ]


def test_a_container_may_be_named_with_underscores() -> None:
    """Names of containers have them, though those of the Internet do not."""
    assert config_of(http={"listen": "my_host:0"}).http.address == ("my_host", 0)


@pytest.mark.parametrize(
    ("table", "key", "greatest"),
    [
        ("source", "page_size", 200_000),
        ("source", "sas_valid_hours", 6),
        ("source", "download_parallelism", 64),
        ("poll", "interval_seconds", 604_800),
        ("poll", "stale_after_hours", 1_000_000),
        ("state", "memory_limit_mib", 16_777_216),
        ("state", "threads", 1024),
        ("state", "journal_retention_days", 36_500),
        ("state", "max_pending", 1_000_000_000_000),
        ("guard", "min_removed", 1_000_000_000_000),
        ("guard", "missing_device_snapshots", 1_000_000),
        ("guard", "max_baseline_rejected", 1_000_000_000_000),
        ("kafka", "batch_changes_max", 20_000),
    ],
)
def test_every_number_has_a_greatest_one(table: str, key: str, greatest: int) -> None:
    """Beyond it, something further down would fail without naming the key."""
    changed: dict[str, Any] = {table: {key: greatest}}
    assert getattr(getattr(config_of(**changed), table), key) == greatest
    line = f"{table}.{key}: input should be less than or equal to {greatest}"
    for number, shown in (
        (greatest + 1, f"(is {greatest + 1})"),
        (10**400, f"(begins 1{'0' * 99}…)"),
        (1 << 20_000, "(is a number of thousands of digits)"),
    ):
        changed = {table: {key: number}}
        assert problems(**changed) == [f"{line} {shown}"]


def test_the_numbers_with_a_greatest_one_are_all_there_are() -> None:
    """A new number of the configuration gets its bounds."""
    unbounded = [
        f"{table}.{key}"
        for table, field in Config.model_fields.items()
        for key, inner in getattr(field.annotation, "model_fields", {}).items()
        if inner.annotation in (int, float) and sum(type(rule).__name__ in ("Ge", "Le") for rule in inner.metadata) != 2
    ]
    assert unbounded == []


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -1.0, 1.5])
def test_a_share_is_a_number_from_0_to_1(share: float) -> None:
    """Nothing is greater or less than NaN."""
    assert [line.partition(":")[0] for line in problems(guard={"max_removed_share": share})] == [
        "guard.max_removed_share"
    ]


@pytest.mark.parametrize(
    "content", [f"x = {'9' * 5000}", f"x = {'[' * 5000}{']' * 5000}", f"{'a.' * 5000}a = 1", f"[{'a.' * 5000}a]"]
)
def test_a_file_without_measure_is_one_problem(tmp_path: Path, content: str) -> None:
    """Numbers of thousands of digits, thousands of levels: our own error, whatever gives up first."""
    path = tmp_path / "connector.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"connector\.toml: "):
        load(path, {})


def test_a_severity_is_given_by_alert_type() -> None:
    """As a table in the file, or one key at a time from the environment."""
    given = {"installed": "high", "cleared": "low"}
    environ = {f"MDE_INVENTORY_ALERTS__SEVERITY__{kind.upper()}": level for kind, level in given.items()}
    assert config_of(alerts={"severity": given}).alerts.severity == given
    assert config_of(environ).alerts.severity == given


def test_a_share_of_changes_is_given_by_field() -> None:
    """As a table in the file, or one key at a time from the environment, which has no case; others keep theirs."""
    given = {"endOfSupportStatus": 0.1, "numberOfWeaknesses": 0.9}
    environ = {f"MDE_INVENTORY_GUARD__MAX_CHANGED_SHARE__{name.upper()}": str(share) for name, share in given.items()}
    shares = {
        "deviceName": 0.5, "osPlatform": 0.5, "rbacGroupId": 1.0, "rbacGroupName": 1.0, "numberOfWeaknesses": 0.9,
        "diskPaths": 1.0, "registryPaths": 1.0, "softwareFirstSeenTimestamp": 0.5, "endOfSupportStatus": 0.1,
        "endOfSupportDate": 0.5,
    }  # fmt: skip
    assert config_of(guard={"max_changed_share": given}).guard.changed_shares == shares
    assert config_of(environ).guard.changed_shares == shares


def test_the_transactional_id_is_made_of_tenant_and_prefix_and_stays() -> None:
    """Never random: it is what fences an older instance."""
    assert config_of().transactional_id == "mde-inventory.contoso.example.mde.software"
    assert config_of(kafka={"transactional_id": "mine"}).transactional_id == "mine"


def test_what_stands_beside_the_state_file_follows_it() -> None:
    """Staging, rejected lines and the calls made; the first can be put elsewhere."""
    state = config_of(state={"path": "/var/lib/connector/x.duckdb"}).state
    assert (state.staging_path, state.rejected_path, state.limits_path) == (
        Path("/var/lib/connector/x.duckdb.staging"),
        Path("/var/lib/connector/rejected"),
        Path("/var/lib/connector/x.duckdb.limits.json"),
    )
    assert config_of(state={"staging_dir": "/big"}).state.staging_path == Path("/big")


@pytest.mark.parametrize(
    ("listen", "address"), [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::]:80", ("::", 80)), ("host:0", ("host", 0))]
)
def test_where_to_listen_is_read_as_host_and_port(listen: str, address: tuple[str, int]) -> None:
    """Brackets of an IPv6 address go."""
    assert config_of(http={"listen": listen}).http.address == address


def test_json_needs_no_registry() -> None:
    """Neither a table nor a URL; what is given is kept. From the file or the environment."""
    least = tables(kafka={"value_format": "json"})
    del least["schema_registry"]
    assert from_values(least, {}, name="connector.toml").schema_registry.url == ""
    assert config_of(schema_registry={"url": ""}, kafka={"value_format": "json"}).schema_registry.url == ""
    assert config_of(kafka={"value_format": "json"}).schema_registry.url == "http://localhost:8081"
    del least["kafka"]["value_format"]
    environ = {"MDE_INVENTORY_KAFKA__VALUE_FORMAT": "json"}
    assert from_values(least, environ, name="connector.toml").schema_registry.url == ""


def test_a_limit_of_bytes_in_which_not_every_record_fits_is_refused() -> None:
    """Nothing could be published of such a record."""
    assert problems(kafka={"message_bytes_max": 59_999}) == ["kafka.message_bytes_max: must be 0 or at least 60000"]
    assert config_of(kafka={"message_bytes_max": 60_000}).kafka.message_bytes_max == 60_000


def test_avro_needs_a_registry() -> None:
    """Without a table, without a URL and with an empty one."""
    least = tables()
    del least["schema_registry"]
    with pytest.raises(ConfigError, match="schema_registry: is missing"):
        from_values(least, {}, name="connector.toml")
    assert problems(schema_registry={"url": ""}) == ["schema_registry.url: is missing"]
    assert problems(kafka={"value_format": "xml"}) == [
        "kafka.value_format: input should be 'avro' or 'json' (is 'xml')"
    ]


# ---- files


FILE = """
[source]
tenant_id = "contoso.example"
client_id = "app"
client_secret = "canary-secret-4711"
[kafka.client]
"bootstrap.servers" = "localhost:9092"
[schema_registry]
url = "http://localhost:8081"
"""


def test_the_file_is_the_given_one_or_the_variables_or_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order."""
    monkeypatch.chdir(tmp_path)
    for name in ("given.toml", "variable.toml", "connector.toml"):
        (tmp_path / name).write_text(FILE)
    environ = {"MDE_INVENTORY_CONFIG": "variable.toml"}
    assert find(Path("given.toml"), environ) == Path("given.toml")
    assert find(None, environ) == Path("variable.toml")
    assert find(None, {}) == Path("connector.toml")
    assert load(None, environ).source.client_id == "app"


def test_a_file_that_is_not_there_is_told_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what to do about it."""
    monkeypatch.chdir(tmp_path)
    for path, environ, word in (
        (Path("given.toml"), {}, "given.toml"),
        (None, {"MDE_INVENTORY_CONFIG": "variable.toml"}, "variable.toml"),
        (None, {}, "MDE_INVENTORY_CONFIG"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            load(path, environ)
        assert caught.value.hint
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "content", [b"[source\n", b"\xff\xfe", b"[source]\nclient_secret = canary-secret-4711\n", b"x = 1\nx = 2\n"]
)
def test_a_file_that_cannot_be_read_is_told_without_its_content(tmp_path: Path, content: bytes) -> None:
    """The line is named, not shown."""
    path = tmp_path / "connector.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"connector\.toml") as caught:
        load(path, {})
    assert SECRET not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_file_written_on_windows_is_read_like_any_other(tmp_path: Path, line_end: str) -> None:
    """A byte order mark before the first table, and its line ends."""
    path = tmp_path / "connector.toml"
    path.write_bytes(codecs.BOM_UTF8 + FILE.lstrip().replace("\n", line_end).encode())
    marked = load(path, {}).model_dump()
    path.write_text(FILE)
    assert marked == load(path, {}).model_dump()


def test_a_file_in_utf_16_is_refused_by_that_name(tmp_path: Path) -> None:
    """As Windows PowerShell writes it unless asked otherwise."""
    path = tmp_path / "connector.toml"
    path.write_bytes(FILE.encode("utf-16"))
    with pytest.raises(ConfigError, match=r"connector\.toml: cannot be read: not UTF-8 text but UTF-16") as caught:
        load(path, {})
    assert caught.value.hint == "It must be a UTF-8 text file."


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A configuration for its owner's eyes only can be read, and stays as it is."""
    path = tmp_path / "connector.toml"
    path.write_text(FILE)
    path.chmod(0o400)
    load(path, {})
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (FILE, 0o400)


def test_a_configuration_cannot_be_changed() -> None:
    """Nobody alters it on the way."""
    config = config_of()
    with pytest.raises(ValueError, match="frozen"):
        config.source.page_size = 1
    with pytest.raises(ValueError, match="frozen"):
        config.poll = config.poll


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted({key for keys in DEFAULTS.values() for key in keys} | {"client", "url", "tenant_id"}))


TABLES = st.sampled_from(sorted(DEFAULTS)) | st.text(max_size=8)
VARIABLES = st.sampled_from(
    [f"MDE_INVENTORY_{table.upper()}__{key.upper()}" for table, keys in DEFAULTS.items() for key in keys]
) | st.text(max_size=10).map(lambda text: f"MDE_INVENTORY_{text}")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(TABLES, st.dictionaries(KEYS, JSON, max_size=4) | JSON),
    st.dictionaries(VARIABLES, st.text(max_size=20) | JSON.map(json.dumps), max_size=3),
)
def test_any_values_make_a_configuration_or_a_list_of_problems(values: dict[str, Any], environ: dict[str, str]) -> None:
    """Nothing but our own error comes out of wrong values."""
    try:
        outcome = [from_values(values, environ, name="x").source.tenant_id]
    except ConfigError as error:
        outcome = str(error).splitlines()[1:]
    assert outcome


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60) | st.from_regex(r"https://[a-z0-9.:@/\[\]?#-]{0,30}", fullmatch=True))
def test_any_text_as_a_url_or_host_is_taken_or_refused(text: str) -> None:
    """What is taken as an address of the API can be used as one."""
    from connector.source.http.hosts import Hosts  # noqa: PLC0415 - what must take it

    values = tables()["source"]
    try:
        source = SourceConfig(**values, api_url=text)
    except ValueError:
        return
    assert Hosts(api_url=source.api_url, storage_suffix="x").api("/x").is_api


def test_a_bundle_of_authorities_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """With the system's reason, as for a file in a folder that may not be entered."""
    loop = tmp_path / "loop.pem"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError) as caught:
        config_of(source={"ca_bundle": str(loop)})
    (line,) = str(caught.value).splitlines()[1:]
    assert line == f"  source.ca_bundle: cannot read {loop}: Too many levels of symbolic links"
