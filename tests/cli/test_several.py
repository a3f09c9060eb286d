"""Verbs that are given a folder of tenants: each answers in its place, and the failure of one stops no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from tests.support.commands import run_command

IDS = {name: f"{number}" * 8 + "-0000-0000-0000-000000000000" for number, name in enumerate("abc", start=1)}


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """Tables as TOML."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three tenants that share Kafka and registry in `defaults.toml`; the tokens of b lack the permission."""
    folder = tmp_path_factory.mktemp("tenants")
    with ExitStack() as stack:
        cluster = stack.enter_context(MockCluster([topic.name_under("several") for topic in Topic]))
        shared: dict[str, dict[str, Any]] = {
            "state": {"memory_limit_mib": 128},
            "kafka": {"topic_prefix": "several"},
            "kafka.client": {"bootstrap.servers": cluster.bootstrap_servers},
            "schema_registry": {"url": "mock://several", "auto_register": True},
        }
        (folder / "defaults.toml").write_text(toml(shared), encoding="utf-8")
        for name, tenant_id in IDS.items():
            fleet = Fleet(seed=5, devices=5, start=datetime(2026, 1, 1, tzinfo=UTC))
            roles = ("Machine.Read.All",) if name == "b" else ("Software.Read.All",)
            simulator = stack.enter_context(Simulator(fleet, tenant_id=tenant_id, roles=roles))
            own = {"source": simulator.settings(), "state": {"path": str(folder / f"{name}.duckdb")}}
            (folder / f"{name}.toml").write_text(toml(own), encoding="utf-8")
        yield folder


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a verb that is given the folder."""
    finished = run_command("--config", str(folder), *arguments)
    return finished.returncode, finished.stdout, finished.stderr


def test_each_tenant_is_checked_and_the_highest_exit_code_is_that_of_all(folder: Path) -> None:
    """A permission is missing in one of them; every finding names its tenant, and people see a heading for each."""
    code, printed, _ = run(folder, "check", "--json")
    findings = [json.loads(line) for line in printed.splitlines()]
    failed = {(finding["tenant"], finding["name"]) for finding in findings if not finding["fine"]}
    assert (IDS["b"], "permission") in failed
    assert {tenant for tenant, name in failed if name == "permission"} == {IDS["b"]}
    assert list(dict.fromkeys(finding["tenant"] for finding in findings)) == list(IDS.values())
    people_code, shown, _ = run(folder, "check")
    assert (code, people_code) == (5, 5)
    assert [shown.index(tenant_id) for tenant_id in IDS.values()] == sorted(shown.index(name) for name in IDS.values())


def test_topics_and_schemas_of_each_tenant_are_made(folder: Path) -> None:
    """A line for each, under the tenant's heading; the cluster inside the process has no settings of topics."""
    _, shown, _ = run(folder, "setup")
    assert [f"{tenant_id}  " in shown for tenant_id in IDS.values()] == [True] * 3
    assert (shown.count("several.changes "), shown.count("several.changes-value registered with id")) == (3, 3)


def test_the_status_of_several_tenants_is_a_row_for_each(folder: Path) -> None:
    """One that has never polled says so in its place; the others are shown, and with `--json` name their tenant.

    So does `held list`.
    """
    for name in "ac":
        assert run_command("--config", str(folder / f"{name}.toml"), "poll").returncode == 0
    code, printed, refused = run(folder, "status", "--json")
    assert (code, refused.count("error: ")) == (1, 1)
    assert [json.loads(line)["tenant"] for line in printed.splitlines()] == [IDS["a"], IDS["c"]]
    _, shown, _ = run(folder, "status")
    rows = [line for line in shown.splitlines() if line.startswith(tuple(IDS.values()))]
    assert [row.split()[0] for row in rows] == [IDS["a"], IDS["c"]]
    code, printed, _ = run(folder, "held", "list", "--json")
    assert (code, [json.loads(line) for line in printed.splitlines()]) == (
        1, [{"tenant": IDS["a"], "held": []}, {"tenant": IDS["c"], "held": []}],
    )  # fmt: skip


def test_what_takes_one_configuration_says_which_take_several(folder: Path) -> None:
    """Exit code 2, with the files that were found; the defaults are none of them."""
    code, _, refused = run(folder, "poll")
    assert (code, "here are 3:" in refused, "defaults.toml" in refused) == (2, True, False)


def test_one_of_them_is_chosen_by_name(folder: Path) -> None:
    """By the file's name or the tenant's id, before the verb or after it; a name that nobody has is refused."""
    for arguments in (("check", "--json", "--tenant", "a"), ("--tenant", IDS["a"].upper(), "check", "--json")):
        findings = [json.loads(line) for line in run(folder, *arguments)[1].splitlines()]
        assert {finding["tenant"] for finding in findings} == {IDS["a"]}
    code, printed, said = run(folder, "held", "discard", "--yes", "--tenant", "x")
    assert (code, printed, said.splitlines()[0]) == (2, "", "error: no tenant is called x; there are:")
