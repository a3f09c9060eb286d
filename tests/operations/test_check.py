from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its documented place
from confluent_kafka.schema_registry import SchemaRegistryClient
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.assembly import Assembly
from connector.clock import utc_now
from connector.model import Check
from connector.operations.check import (
    check_certificate,
    check_everything,
    check_files,
    check_interval,
    check_kafka,
    check_placeholders,
    check_schemas,
)
from connector.operations.status import read_status
from connector.state.publisher_lock import RUN
from tests.support.broker import LocalBroker
from tests.support.certificates import certificate_of, pem_of
from tests.support.configured import SECRET, config_of

OPEN_MODES = [(0o666, 0o755), (0o602, 0o700), (0o600, 0o777)]
"""Modes of a file and its folder with which any user may change the file, or put another in its place."""

CLOSED_MODES = [(0o600, 0o700), (0o664, 0o775), (0o644, 0o1777)]
"""Modes with which they may not: a group is one that somebody put together, and in a sticky folder files stay."""


def exposed(path: Path) -> Check:
    """The failed check of one file."""
    return Check(
        "config",
        fine=False,
        text=f"any user may change {path}",
        hint="Take the right to write from others, on the file and its folder: chmod o-w.",
        exit_code=2,
    )


def made(path: Path, file_mode: int, folder_mode: int) -> Path:
    """A file with these modes, whatever the mask."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    return path


@pytest.mark.parametrize(("file_mode", "folder_mode"), OPEN_MODES)
def test_a_configuration_that_any_user_may_change_fails_the_check(
    file_mode: int, folder_mode: int, tmp_path: Path
) -> None:
    """The file itself or its folder, also where it is named through a link."""
    file = made(tmp_path / "etc" / "connector.toml", file_mode, folder_mode)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert list(check_files(config_of(), file)) == [exposed(file)]
    assert list(check_files(config_of(), link)) == [exposed(link)]


@pytest.mark.parametrize(("file_mode", "folder_mode"), CLOSED_MODES)
def test_a_configuration_that_only_some_may_change_passes_the_check(
    file_mode: int, folder_mode: int, tmp_path: Path
) -> None:
    """Nothing is said of it."""
    file = made(tmp_path / "etc" / "connector.toml", file_mode, folder_mode)
    assert list(check_files(config_of(), file)) == []


def test_the_files_that_a_configuration_names_are_checked_too(tmp_path: Path) -> None:
    """Secrets, certificates and authorities; what is not there is left to whoever reads it."""
    file = made(tmp_path / "etc" / "connector.toml", 0o600, 0o700)
    names = ("secret", "certificate.pem", "word", "token", "ca.pem", "kafka.pem", "registry.pem")
    paths = [made(tmp_path / "open" / name, 0o666, 0o755) for name in names]
    secret, certificate, word, token, ca_bundle, kafka, registry = map(str, paths)
    tables: dict[str, dict[str, Any]] = {
        "source": {
            "client_secret_file": secret,
            "certificate_path": certificate,
            "certificate_password_file": word,
            "federated_token_file": token,
            "ca_bundle": ca_bundle,
        },
        "kafka": {
            "client": {"bootstrap.servers": "x:1", "ssl.ca.location": kafka, "ssl.key.location": str(tmp_path / "no")}
        },
        "schema_registry": {"ssl.ca.location": registry},
    }
    assert list(check_files(config_of(**tables), file)) == [exposed(path) for path in paths]


def readable(path: Path) -> Check:
    """The advice about one file."""
    return Check(
        "config",
        fine=True,
        text=f"any user may read {path}, which has a secret",
        hint=f"Take the right to read from others: chmod o-r {path}.",
    )


def test_a_secret_that_any_user_may_read_is_advised_against(tmp_path: Path) -> None:
    """In the configuration itself, or in a file that it names; not in a folder that others may not enter."""
    file = made(tmp_path / "etc" / "connector.toml", 0o644, 0o755)
    assert list(check_files(config_of(), file)) == []
    file.write_text(f'client_secret = "{SECRET}"', encoding="utf-8")
    assert list(check_files(config_of(), file)) == [readable(file)]
    file.parent.chmod(0o700)
    assert list(check_files(config_of(), file)) == []
    named = made(tmp_path / "run" / "secret", 0o644, 0o755)
    source = {"client_secret": None, "client_secret_file": str(named)}
    assert list(check_files(config_of(source=source), tmp_path / "x.toml")) == [readable(named)]
    named.chmod(0o640)
    assert list(check_files(config_of(source=source), tmp_path / "x.toml")) == []


def test_the_ids_of_the_example_fail_the_check_and_no_token_is_asked_for(tmp_path: Path) -> None:
    """Each is named; a login that cannot succeed is not tried."""
    zero = "00000000-0000-0000-0000-000000000000"
    example = config_of(
        source={"tenant_id": zero, "client_id": zero},
        state={"path": str(tmp_path / "state.duckdb")},
        kafka={"client": {"bootstrap.servers": "localhost:1", "no.such.key": "1"}, "value_format": "json"},
    )
    assert [check.text for check in check_placeholders(example)] == [
        f"source.tenant_id is the example's, {zero}",
        f"source.client_id is the example's, {zero}",
    ]
    assert list(check_placeholders(config_of())) == []
    with Assembly(example) as assembly:
        names = [check.name for check in check_everything(assembly, tmp_path / "connector.toml")]
    assert names == ["config", "config", "config", "state", "kafka", "schemas"]


@pytest.mark.parametrize(
    ("source", "seconds", "advice"),
    [
        ({}, 180, None),
        ({}, 179, "poll.interval_seconds is 179, and the API allows 20 calls an hour"),
        ({"method": "json"}, 4, None),
        ({"method": "json"}, 3, "poll.interval_seconds is 3, and the API allows 1,000 calls an hour"),
    ],
)
def test_an_interval_that_the_limits_of_the_api_do_not_allow_is_advised_against(
    source: dict[str, Any], seconds: int, advice: str | None
) -> None:
    """20 listings of files an hour, or 1,000 pages."""
    checks = list(check_interval(config_of(source=source, poll={"interval_seconds": seconds})))
    assert [(check.fine, check.text) for check in checks] == (
        [(True, f"{advice}: polls beyond that wait")] if advice else []
    )


@pytest.mark.parametrize(("days", "advice"), [(5, "; renew it, and put the new one into the same file"), (200, "")])
def test_a_certificate_says_when_it_ends_and_one_that_ends_soon_is_advised_against(
    days: int, advice: str, tmp_path: Path
) -> None:
    """In days, and it fails nothing: until then it works. `status` knows it too."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = certificate_of(key, days=days)
    path = made(tmp_path / "client.pem", 0o600, 0o700)
    path.write_bytes(pem_of(key, certificate))
    config = config_of(
        source={"auth": "certificate", "client_secret": None, "certificate_path": str(path)},
        state={"path": str(tmp_path / "state.duckdb")},
    )
    (check,) = check_certificate(config)
    end = certificate.not_valid_after_utc
    assert (check.fine, check.text) == (True, f"ends on {end:%Y-%m-%d}, in {days - 1} days{advice}")
    with Assembly(config) as assembly, assembly.open_state() as state:
        assert read_status(assembly, state, at=utc_now())["certificate_ends"] == end.isoformat()


def published_by(broker: LocalBroker, prefix: str, folder: Path, **kafka: Any) -> Assembly:
    """The connector of a tenant that publishes to a broker."""
    client = {"bootstrap.servers": broker.bootstrap_servers}
    kafka = {"topic_prefix": prefix, "client": client, **kafka}
    return Assembly(config_of(kafka=kafka, state={"path": str(folder / "state.duckdb")}))


def test_a_transactional_id_that_may_not_be_written_fails_the_check(
    local_broker: LocalBroker, allow_only: Callable[..., None], topic_prefix: str, tmp_path: Path
) -> None:
    """After the topics, beside a `run` or without one; publishing without transactions needs none."""
    with published_by(local_broker, topic_prefix, tmp_path) as assembly:
        name = assembly.config.transactional_id
        allow_only(name, "DESCRIBE", kind=ResourceType.TRANSACTIONAL_ID)
        *_, alone = check_kafka(assembly)
        with assembly.publisher_lock(RUN):
            *_, beside = check_kafka(assembly)
    assert (alone.name, alone.fine, name in alone.text) == ("transactional id", False, True)
    assert beside == alone
    with published_by(local_broker, topic_prefix, tmp_path, delivery="at_least_once") as assembly:
        assert "transactional id" not in [check.name for check in check_kafka(assembly)]


@pytest.mark.broker
def test_no_check_registers_a_schema(registry_url: str, topic_prefix: str) -> None:
    """With `auto_register` it says what the first message will do, without it the check fails."""
    subjects = [f"{topic_prefix}.{name}-value" for name in ("changes", "alerts", "snapshots", "checkpoints")]

    def check(*, auto_register: bool) -> list[tuple[str, bool]]:
        registry = {"url": registry_url, "auto_register": auto_register}
        with Assembly(config_of(schema_registry=registry, kafka={"topic_prefix": topic_prefix})) as assembly:
            checks = list(check_schemas(assembly))
        assert [check.name for check in checks] == subjects
        return [(check.text, check.fine) for check in checks]

    later = "not registered; the first message registers it (schema_registry.auto_register)"
    assert check(auto_register=True) == [(later, True)] * 4
    assert [fine for _, fine in check(auto_register=False)] == [False] * 4
    with SchemaRegistryClient({"url": registry_url}) as client:
        assert [name for name in client.get_subjects() if name.startswith(topic_prefix)] == []
