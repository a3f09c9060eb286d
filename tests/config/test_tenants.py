"""Which configurations `run` takes, and that two which would be in each other's way are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.config import tenants
from connector.errors import ConfigError

CONTOSO = "11111111-2222-3333-4444-555555555555"
FABRIKAM = "AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee"

Write = "Callable[..., Path]"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write("a", source={…})` writes a.toml, a configuration of its own but for the keys given; returns its path."""

    def made(name: str, **tables: dict[str, Any]) -> Path:
        default: dict[str, dict[str, Any]] = {
            "source": {"tenant_id": f"{name}.example", "client_id": "c", "client_secret": f"secret-of-{name}"},
            "state": {"path": str(tmp_path / name / "state.duckdb")},
            "kafka": {},
            "kafka.client": {"bootstrap.servers": "localhost:9092"},
            "schema_registry": {"url": "mock://x"},
        }
        merged = {table: default.get(table, {}) | tables.get(table, {}) for table in default | tables}
        lines = [
            line
            for table, keys in merged.items()
            for line in (f"[{table}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in keys.items()))
        ]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return made


def refused(*given: Path, environ: dict[str, str] | None = None) -> list[str]:
    """The lines of the error with which these configurations are refused."""
    with pytest.raises(ConfigError) as caught:
        tenants.load(given, environ or {})
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_several_files_are_several_tenants_in_their_order(write: Callable[..., Path]) -> None:
    """Each has its name, its file and its configuration."""
    files = [write("b"), write("a")]
    loaded = tenants.load(files, {})
    assert [(tenant.name, tenant.file, tenant.config.source.tenant_id) for tenant in loaded] == [
        ("b.example", files[0], "b.example"),
        ("a.example", files[1], "a.example"),
    ]


@pytest.mark.parametrize("how", ["given", "variable"])
def test_a_folder_stands_for_every_configuration_in_it_by_name(
    write: Callable[..., Path], tmp_path: Path, how: str
) -> None:
    """Other files and hidden ones are left alone."""
    files = [write("b"), write("a")]
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / ".hidden.toml").write_text("x", encoding="utf-8")
    given, environ = ([tmp_path], {}) if how == "given" else ([], {"MDE_INVENTORY_CONFIG": str(tmp_path)})
    assert tenants.files(given, environ) == sorted(files)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """Rather than nothing polled at all."""
    assert refused(tmp_path) == [f"{tmp_path}: no *.toml file in this folder"]


def test_verbs_that_take_one_configuration_list_those_they_were_given(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    """One file is fine, also where it lies alone in a folder; of several, all are named."""
    first = write("a")
    assert (tenants.only([first], {}), tenants.only([tmp_path], {})) == (first, first)
    second = write("b")
    with pytest.raises(ConfigError) as caught:
        tenants.only([tmp_path], {})
    assert str(caught.value).splitlines() == [
        "this verb takes one configuration, and here are 2:", f"  {first}", f"  {second}",
    ]  # fmt: skip


def test_the_tenants_of_a_folder_share_its_defaults(write: Callable[..., Path], tmp_path: Path) -> None:
    """Table by table, the tables within tables too; what a tenant's file says itself wins. It is no tenant."""
    write("a", source={"client_id": "a-app"})
    write("b", kafka={"topic_prefix": "other"})
    (tmp_path / "defaults.toml").write_text(
        '[poll]\ninterval_seconds = 7200\n[source]\nclient_id = "shared"\nmethod = "json"\n'
        '[kafka]\ntopic_prefix = "shared"\n[kafka.client]\n"client.rack" = "r1"\n"bootstrap.servers" = "shared:1"\n',
        encoding="utf-8",
    )
    loaded = tenants.load([tmp_path], {})
    assert [tenant.file.name for tenant in loaded] == ["a.toml", "b.toml"]
    assert [
        (config.poll.interval_seconds, config.source.method, config.source.client_id, config.kafka.topic_prefix)
        for config in (tenant.config for tenant in loaded)
    ] == [(7200, "json", "a-app", "shared"), (7200, "json", "c", "other")]
    assert loaded[0].config.kafka.client == {"client.rack": "r1", "bootstrap.servers": "localhost:9092"}
    (alone,) = tenants.load([tmp_path / "a.toml"], {})
    assert alone.config.model_dump() == loaded[0].config.model_dump()


def test_a_tenants_own_secret_wins_over_the_default_however_it_is_given(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    """A value over a file, and a file over a value; the default's file need not even exist then."""
    write("a", source={"client_secret": "own-secret"})
    write(
        "b", source={"client_secret": "own-secret"}, **{"kafka.client": {"sasl.password_file": str(tmp_path / "word")}}
    )
    (tmp_path / "word").write_text("from-the-file", encoding="utf-8")
    (tmp_path / "defaults.toml").write_text(
        '[source]\nclient_secret_file = "/nowhere"\n[kafka.client]\n"sasl.password" = "shared"\n', encoding="utf-8"
    )
    a, b = (tenant.config for tenant in tenants.load([tmp_path], {}))
    assert a.source.client_secret is not None
    assert (a.source.client_secret.get_secret_value(), a.kafka.client["sasl.password"]) == ("own-secret", "shared")
    assert b.kafka.client["sasl.password"] == "from-the-file"


def test_every_problem_of_every_file_is_told_at_once(write: Callable[..., Path]) -> None:
    """Nobody starts ten times to find ten mistakes."""
    good, bad, worse = write("a"), write("b", poll={"interval_seconds": 0}), write("c", poll={"intervall": 1})
    lines = refused(good, bad, worse)
    assert [line for line in lines if line.startswith(("  poll", "  poll.intervall"))] == [
        "  poll.interval_seconds: input should be greater than or equal to 1 (is 0)",
        "  poll.intervall: no such key; did you mean interval_seconds?",
    ]


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        (
            {"state": {"path": "/var/lib/x/../x/state.duckdb"}},
            "state.path is the same in both: /var/lib/x/state.duckdb",
        ),
        ({"state": {"staging_dir": "/var/tmp/staging"}}, "the staging folder is the same in both: /var/tmp/staging"),
        ({"kafka": {"transactional_id": "one"}}, "kafka.transactional_id is the same in both: one"),
    ],
)
def test_what_two_tenants_must_not_share_is_refused_by_name(
    write: Callable[..., Path], tables: dict[str, dict[str, str]], what: str
) -> None:
    """State file, staging folder, transactional id: both files and the value are named."""
    first, second = write("a", **tables), write("b", **tables)
    assert f"{first} and {second}: {what}" in refused(first, second)


def test_the_same_tenant_and_prefix_twice_is_refused(write: Callable[..., Path]) -> None:
    """However the tenant's id is written, and whatever the transactional ids are."""
    first = write("a", source={"tenant_id": FABRIKAM}, kafka={"transactional_id": "one"})
    second = write("b", source={"tenant_id": FABRIKAM.upper()}, kafka={"transactional_id": "two"})
    assert refused(first, second) == [
        f"{first} and {second}: source.tenant_id and kafka.topic_prefix is the same in both:"
        f" {FABRIKAM.lower()}, mde.software"
    ]


def test_the_same_file_twice_is_refused(write: Callable[..., Path]) -> None:
    """A slip of whoever wrote the command line."""
    file = write("a")
    assert refused(file, file) == [f"named twice: {file}"]


def test_a_variable_that_would_make_tenants_share_is_noticed(write: Callable[..., Path]) -> None:
    """Variables hold for all files: one state path for all of them is refused."""
    lines = refused(write("a"), write("b"), environ={"MDE_INVENTORY_STATE__PATH": "/var/lib/x/state.duckdb"})
    assert any("state.path is the same in both" in line for line in lines)


def test_a_tenant_configured_twice_has_its_prefix_in_its_name(write: Callable[..., Path]) -> None:
    """Two prefixes of one tenant are two series of metrics."""
    source = {"tenant_id": CONTOSO}
    files = [write("a", source=source), write("b", source=source, kafka={"topic_prefix": "test"}), write("c")]
    assert [tenant.name for tenant in tenants.load(files, {})] == [
        f"{CONTOSO}/mde.software",
        f"{CONTOSO}/test",
        "c.example",
    ]


def test_a_tenant_has_the_name_that_people_gave_it(write: Callable[..., Path]) -> None:
    """In place of its id; with the prefix where two have it."""
    named = [
        write("a", source={"tenant_name": "Contoso AG"}),
        write("b", source={"tenant_name": "Contoso AG"}, kafka={"topic_prefix": "test"}),
        write("c", source={"tenant_name": "Fabrikam"}),
        write("d"),
    ]
    assert [tenant.name for tenant in tenants.load(named, {})] == [
        "Contoso AG/mde.software",
        "Contoso AG/test",
        "Fabrikam",
        "d.example",
    ]


def test_one_name_and_prefix_for_two_tenants_is_refused(write: Callable[..., Path]) -> None:
    """Their metrics would be one series."""
    first = write("a", source={"tenant_name": "Contoso"})
    second = write("b", source={"tenant_name": "contoso"})
    assert refused(first, second) == [
        f"{first} and {second}: source.tenant_name and kafka.topic_prefix is the same in both: contoso, mde.software"
    ]


@pytest.mark.parametrize("name", ["x" * 65, "two\nlines", " Contoso", "Con\u202etoso"])
def test_a_name_is_one_short_printable_line(write: Callable[..., Path], name: str) -> None:
    """It goes into metrics, logs and tables."""
    head, line = refused(write("a", source={"tenant_name": name}))
    assert head.endswith("1 problem")
    assert "source.tenant_name: may have up to 64 printable characters" in line


def test_one_of_several_is_chosen_by_any_of_its_names(write: Callable[..., Path], tmp_path: Path) -> None:
    """Its name for people, its id or its file's name, in any case; a file that is not valid is in nobody's way."""
    first = write("a", source={"tenant_name": "Contoso AG"})
    second = write("b", source={"tenant_name": "Fabrikam"})
    broken = tmp_path / "c.toml"
    broken.write_text("[source", encoding="utf-8")
    names = ("contoso ag", "A.example", "a", "Contoso AG/mde.software", "FABRIKAM", "c")
    assert [tenants.named([tmp_path], name, {}) for name in names] == [first, first, first, first, second, broken]


def test_a_name_of_nobody_or_of_several_is_refused_with_the_names_that_there_are(write: Callable[..., Path]) -> None:
    """What is typed can be told apart next time."""
    first = write("a", source={"tenant_name": "Contoso"})
    second = write("b", source={"tenant_name": "Contoso"}, kafka={"topic_prefix": "test"})
    listed = [
        f"  {first}: a, Contoso, a.example, Contoso/mde.software",
        f"  {second}: b, Contoso, b.example, Contoso/test",
    ]
    for name, problem in (("x", "no tenant is called x; there are:"), ("contoso", "2 tenants are called contoso:")):
        with pytest.raises(ConfigError) as caught:
            tenants.named([first, second], name, {})
        assert str(caught.value).splitlines() == [problem, *listed]
    assert tenants.named([first, second], "contoso/TEST", {}) == second


def test_state_files_in_one_folder_do_not_share_the_folder_of_rejected_lines(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    """Alone it is `rejected`; beside others it is one for each state file in there."""
    beside = [write(name, state={"path": str(tmp_path / f"{name}.duckdb")}) for name in ("a", "b")]
    loaded = tenants.load([*beside, write("c")], {})
    assert [tenant.rejected for tenant in loaded] == [
        tmp_path / "rejected" / "a.duckdb", tmp_path / "rejected" / "b.duckdb", tmp_path / "c" / "rejected",
    ]  # fmt: skip


def test_all_tenants_have_one_budget_of_memory(write: Callable[..., Path]) -> None:
    """Of the one that sets it, alike in all that do, and enough for each of them alone; none by default."""
    plain, budget = write("a"), write("b", state={"path": "b.duckdb", "memory_budget_mib": 2048})
    other = write("c", state={"path": "c.duckdb", "memory_budget_mib": 512})
    assert tenants.memory_budget_of(tenants.load([plain], {})) == 0
    assert tenants.memory_budget_of(tenants.load([plain, budget], {})) == 2048
    assert refused(budget, other) == [
        f"state.memory_budget_mib: one process has one budget, and here are 2048 in {budget}, 512 in {other}; set it in"
        " defaults.toml"
    ]
    assert refused(other) == [
        f"{other}: state.memory_limit_mib is 768, more than the state.memory_budget_mib of all, 512"
    ]


def test_one_address_is_listened_on(write: Callable[..., Path]) -> None:
    """Set in one file, or alike in all; two addresses are refused."""
    plain, listening = write("a"), write("b", http={"listen": "127.0.0.1:1"})
    same, other = write("c", http={"listen": "127.0.0.1:1"}), write("d", http={"listen": "127.0.0.1:2"})
    assert tenants.listen_of(tenants.load([plain, listening, same], {})) == ("127.0.0.1", 1)
    assert tenants.listen_of(tenants.load([plain], {})) == ("127.0.0.1", 9464)
    assert refused(plain, listening, other) == [
        f"http.listen: one process listens once, and here are 127.0.0.1:1 in {listening}, 127.0.0.1:2 in {other}; set"
        " it in one of them, or alike in all"
    ]
