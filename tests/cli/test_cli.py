"""The command itself, as a process: verbs, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connector import __version__, cli
from connector.cli import demo
from connector.exports.software import SOFTWARE
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.operations import decisions
from connector.poll.result import EXIT_CODES, OUTCOMES
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator
from connector.wording import counted
from tests.support.commands import run_command

POLL_KEYS = [
    "outcome", "inventory", "snapshot_id", "epoch", "records", "devices", "baseline", "added", "removed", "changed",
    "alerts", "held", "duplicates", "rejected", "published", "first_sequence", "last_sequence", "duration_seconds",
    "stages", "backfilled", "drained", "lookalikes", "unreadable", "campaigns",
]  # fmt: skip

Run = "Callable[..., subprocess.CompletedProcess[str]]"


def command(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `mde-inventory` as a user would, with no configuration but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
    return subprocess.run(
        [sys.executable, "-m", "connector", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean | {"COLUMNS": "100", "NO_COLOR": "1"} | environ,
        timeout=120,
        check=False,
    )


def toml(tables: dict[str, Any]) -> str:
    """Nested tables as TOML; JSON's texts, numbers, booleans and lists are TOML's too."""
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """A small tenant."""
    with Simulator(Fleet(seed=5, devices=8, start=datetime(2026, 1, 1, tzinfo=UTC))) as simulator:
        yield simulator


@pytest.fixture
def run(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a verb with a configuration that reaches the simulator, and a Kafka inside this process."""
    simulator.faults.clear()
    with MockCluster([topic.name_under("cli") for topic in Topic]) as cluster:
        tables: dict[str, Any] = {
            "source": simulator.settings(),
            "state": {"path": str(tmp_path / "state.duckdb")},
            "kafka": {"topic_prefix": "cli"},
            "kafka.client": {"bootstrap.servers": cluster.bootstrap_servers},
            "schema_registry": {"url": "mock://cli", "auto_register": True},
        }
        (tmp_path / "connector.toml").write_text(toml(tables), encoding="utf-8")
        yield lambda *arguments, **environ: run_command(*arguments, cwd=tmp_path, **environ)


def test_without_a_verb_the_help_is_shown() -> None:
    """Every verb stands in the help, with what it does."""
    finished = command("--help")
    verbs = ("demo", "simulate", "check", "setup", "poll", "run", "status", "tail", "state", "schema")
    assert [verb for verb in verbs if f" {verb} " not in finished.stdout] == []
    assert finished.returncode == 0


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_list_of_verbs_says_what_the_help_of_each_verb_says(verb: str) -> None:
    """The list is a table, so that it needs no verb imported; each line is the first paragraph of the verb's help."""
    assert cli.VERBS[verb].summary == cli.load_verb(verb).help.split("\n\n")[0]


def leaves() -> Iterator[tuple[str, ...]]:
    """Every verb, and every subcommand with its verb before it."""
    for verb in cli.VERBS:
        names = getattr(cli.load_verb(verb), "commands", {})
        yield from ((verb, name) for name in names)
        if not names:
            yield (verb,)


@pytest.mark.parametrize("words", [(), *leaves()], ids=" ".join)
def test_the_help_is_in_a_users_words(words: tuple[str, ...]) -> None:
    """`-h` is `--help`, and no option is shown with Python's name of its type."""
    short, long = run_command(*words, "-h"), run_command(*words, "--help")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert re.findall(r"<[a-z]+[^>]*>|list\[|\bint\b|\bbool\b|\bstr\b", long.stdout) == []


ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("explain",): ["x" * 8],
    ("state", "export"): ["x.csv"],
    ("state", "import"): ["x"],
    ("compare",): ["--from", "2026-01-01", "--to", "2026-01-02"],
    ("prevalence",): ["--software", "x"],
}
"""What a verb needs beside its configuration."""


def test_a_configuration_is_named_before_or_after_the_verb(tmp_path: Path) -> None:
    """Every verb that reads one takes `--config`; the one after the verb wins."""
    for words in leaves():
        if words in {("demo",), ("simulate",), ("schema", "show"), ("init",)}:
            continue
        given = ARGUMENTS.get(words, [])
        sure = ["--yes"] if words in {("held", "approve"), ("held", "discard")} else []
        before, after = str(tmp_path / "before.toml"), str(tmp_path / "after.toml")
        finished = run_command("--config", before, *words, *given, *sure, "--config", after)
        assert (finished.returncode, finished.stderr.splitlines()[0]) == (
            2, f"error: no configuration file at {after}",
        )  # fmt: skip


COMPLETIONS = {
    "mde-inventory s": {"simulate", "setup", "status", "state", "schema"},
    "mde-inventory held ": {"list", "approve", "discard"},
    "mde-inventory status --": {"--json", "--config", "--tenant", "--help"},
    "mde-inventory --log-format ": {"console", "json"},
}


@pytest.mark.parametrize("line", COMPLETIONS)
def test_bash_completes_verbs_subcommands_options_and_values(line: str, tmp_path: Path) -> None:
    """As bash does it: the script is read, then its function is called with the words of the line."""
    command_file = tmp_path / "mde-inventory"
    code = "import sys; sys.argv[0] = 'mde-inventory'; from connector.cli import main; main()"
    command_file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n', encoding="utf-8")
    command_file.chmod(0o700)
    script = (
        'eval "$(_MDE_INVENTORY_COMPLETE=source_bash mde-inventory)"; IFS=" "\n'
        'read -ra COMP_WORDS <<<"$1"; [[ $1 == *" " ]] && COMP_WORDS+=("")\n'
        'COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _mde_inventory_completion mde-inventory; echo "${COMPREPLY[@]}"\n'
    )
    finished = subprocess.run(
        ["bash", "-c", script, "bash", line],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {*finished.stdout.split()} == COMPLETIONS[line]


@pytest.mark.parametrize(
    ("shell", "begins"), [("zsh", "#compdef mde-inventory"), ("fish", "complete --command mde-inventory ")]
)
def test_other_shells_have_their_scripts_and_answers(shell: str, begins: str) -> None:
    """Zsh and fish: the script to install, and what it asks for at a tab."""
    assert run_command(_MDE_INVENTORY_COMPLETE=f"source_{shell}").stdout.lstrip().startswith(begins)
    answer = run_command(
        _MDE_INVENTORY_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="mde-inventory held ",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    ).stdout
    assert [name for name in ("list", "approve", "discard") if name not in answer] == []


def test_the_version_is_shown() -> None:
    """`--version` prints name and version."""
    assert command("--version").stdout == f"mde-inventory {__version__}\n"


@pytest.mark.parametrize("arguments", [("nonsense",), ("poll", "--nonsense"), ("tail", "--max", "0")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    """An unknown verb, option or value."""
    assert command(*arguments).returncode == 2


def test_a_missing_configuration_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Exit code 2, the looked-for place, and a hint; stdout stays empty."""
    finished = command("poll", cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "error: no configuration file at ./connector.toml" in finished.stderr
    assert "hint:" in finished.stderr


def test_all_problems_of_a_configuration_are_reported_at_once(tmp_path: Path) -> None:
    """A misspelt key and a missing one, each on its line, and no secret."""
    text = toml({"source": {"tenant_id": "t1", "client_id": "c", "client_secret": "canary-1", "page_sice": 5}})
    (tmp_path / "connector.toml").write_text(text, encoding="utf-8")
    finished = command("poll", cwd=tmp_path)
    assert finished.returncode == 2
    assert [part in finished.stderr for part in ("page_sice", "did you mean page_size", "kafka")] == [True] * 3
    assert "canary-1" not in finished.stderr + finished.stdout


def test_a_poll_prints_one_json_object_with_the_contracts_keys(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """First the baseline, then unchanged: exit code 0 both times, one object on stdout and nothing else."""
    first, second = run("poll", "--json"), run("poll", "--json")
    (baseline,), (unchanged,) = (
        [json.loads(line) for line in finished.stdout.splitlines()] for finished in (first, second)
    )
    assert (first.returncode, second.returncode) == (0, 0)
    assert list(baseline) == list(unchanged) == POLL_KEYS
    assert (baseline["outcome"], baseline["baseline"], baseline["published"]) == ("published", baseline["records"], 0)
    assert (unchanged["outcome"], unchanged["baseline"], unchanged["records"]) == ("unchanged", 0, baseline["records"])


def test_a_poll_reads_no_other_tenants_folder_whatever_its_own_is_called(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Wildcards in the names of the state's and the staging folder: every record is there, and each once."""
    numbers = []
    for state, staging in (("t1", "s1"), ("t[12]", ""), ("t [!1]*", "deviceId=x [12]*?")):
        folders = {
            "MDE_INVENTORY_STATE__PATH": str(tmp_path / state / "state.duckdb"),
            "MDE_INVENTORY_STATE__STAGING_DIR": staging and str(tmp_path / staging),
        }
        finished = run("poll", "--json", "--dry-run", **folders)
        assert finished.returncode == 0, finished.stderr
        numbers.append(json.loads(finished.stdout)["records"])
    assert numbers == [numbers[0]] * 3


def test_a_dry_run_shows_the_changes_and_leaves_no_trace(
    run: Callable[..., subprocess.CompletedProcess[str]], simulator: Simulator, tmp_path: Path
) -> None:
    """The state file and the topics are as before; the real poll then finds the same changes."""
    fresh = run("poll", "--dry-run", "--json")
    assert (json.loads(fresh.stdout)["outcome"], (tmp_path / "state.duckdb").exists()) == ("dry_run", False)
    run("poll")
    before = (tmp_path / "state.duckdb").read_bytes()
    simulator.advance(4)
    dry = run("poll", "--dry-run")
    assert (tmp_path / "state.duckdb").read_bytes() == before
    real = json.loads(run("poll", "--json").stdout)
    counted = f"+{real['added']} added  -{real['removed']} removed  ~{real['changed']} changed"
    assert counted in dry.stdout
    shown = [line for line in dry.stdout.splitlines() if line[:2] in ("+ ", "- ", "~ ")]
    assert len(shown) == real["added"] + real["removed"] + real["changed"] > 0


def test_kafka_away_is_staged_and_exit_code_1(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The snapshot is safe in the state file; the error and its hint stand on stderr."""
    away = run("poll", "--json", MDE_INVENTORY_KAFKA__CLIENT='{"bootstrap.servers": "127.0.0.1:1"}')
    assert (away.returncode, json.loads(away.stdout)["outcome"]) == (1, "staged")
    assert "hint:" in away.stderr
    back = run("poll", "--json")
    assert (back.returncode, json.loads(back.stdout)["outcome"]) == (0, "unchanged")


def test_access_denied_is_exit_code_5(
    run: Callable[..., subprocess.CompletedProcess[str]], simulator: Simulator
) -> None:
    """The API's 403 is explained by what the token lacks."""
    simulator.faults.add(Fault(Endpoint.EXPORT, FaultKind.STATUS, status=403, times=None))
    finished = run("poll", "--json")
    assert (finished.returncode, finished.stdout) == (5, "")
    assert "hint:" in finished.stderr


def test_status_tells_position_backlog_and_snapshots(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """As an object for machines, and as a table for people."""
    run("poll")
    status = json.loads(run("status", "--json").stdout)
    assert (status["epoch"], status["pending"], status["held"], len(status["snapshots"])) == (1, 0, [], 1)
    assert status["snapshots"][0]["sealed"] is True
    assert status["snapshots"][0]["snapshot_id"] in run("status").stdout


def test_held_removals_are_listed_and_then_discarded_or_approved(
    simulator: Simulator, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Exit code 3 while something awaits review; how many, on how many devices, what share, why and since when."""
    guard = {"MDE_INVENTORY_GUARD__MIN_REMOVED": "5"}
    assert (run("poll").returncode, run("held", "list").stdout) == (0, "nothing is held\n")
    simulator.faults.add(Fault(Endpoint.BLOB, FaultKind.FEWER_RECORDS, share=0.5, times=None))
    simulator.advance()
    assert run("poll", **guard).returncode == 3
    listed, shown = run("held", "list", "--json"), run("held", "list")
    (hold,) = json.loads(listed.stdout)
    assert (listed.returncode, shown.returncode) == (3, 3)
    assert (hold["reason"], hold["inventory"], 0.15 < hold["share"] < 0.9) == ("MASS_REMOVAL", "CPE", True)
    assert hold["since"].startswith("20")
    assert all(str(hold[name]) in shown.stdout for name in ("reason", "records", "devices"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", hold["since"])
    assert hold["if_approved"] | {"alerts": 0} == {"added": 0, "removed": hold["records"], "changed": 0, "alerts": 0}
    assert hold["if_it_returns"] | {"alerts": 0} == {"added": hold["records"], "removed": 0, "changed": 0, "alerts": 0}
    assert f"{hold['records']:,} ADDED and {hold['if_it_returns']['alerts']:,} alerts after an approval" in shown.stdout
    discarded = run("held", "discard", "--yes", "--why", "half an export")
    assert (discarded.returncode, discarded.stdout) == (0, f"{hold['records']:,} records kept in the inventory\n")
    simulator.advance()
    assert run("poll", **guard).returncode == 3
    (hold,) = json.loads(run("held", "list", "--json").stdout)
    refused = run("held", "approve")  # nobody said yes
    assert (refused.returncode, refused.stderr.split("?")[0]) == (1, f"Approve {hold['records']:,} held records")
    name, records = next(iter(hold["largest_devices"].items()))
    part = run("held", "approve", "--yes", "--device", name)
    assert part.stdout == (
        f"{counted(records, 'removal')} approved and published; {hold['records'] - records:,} records still held\n"
    )
    approved = run("held", "approve", "--yes")
    assert (approved.returncode, approved.stdout.split(" ", 1)[1]) == (0, "removals approved and published\n")
    assert run("held", "list").returncode == 0
    decided, shown = run("held", "list", "--decided", "--json"), run("held", "list", "--decided")
    assert (decided.returncode, shown.returncode) == (0, 0)
    assert [
        (row["action"], row["who"], row["why"], row["road"], row["choice"]) for row in json.loads(decided.stdout)
    ] == [
        ("approve", decisions.operator(), "", "command line", {}),
        ("approve", decisions.operator(), "", "command line", {"device": [name]}),
        ("discard", decisions.operator(), "half an export", "command line", {}),
    ]
    assert "half an export" in shown.stdout
    assert run("held", "list", "--decided", "--device", name).returncode == 2


@pytest.mark.parametrize("verb", ["approve", "discard"])
def test_a_decision_about_nothing_is_not_asked_for(
    verb: str, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Nothing is held: it says so, exit code 0, with `--yes` and without; an option that means nothing is refused."""
    run("poll")
    for options in ((), ("--yes",), ("--group", "Servers")):
        finished = run("held", verb, *options)
        assert (finished.returncode, finished.stdout, "?" in finished.stderr) == (0, "nothing is held\n", False)
    assert run("held", verb, "--reason", "FUN").returncode == 2


def test_tail_decodes_what_was_published(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """With `diff.baseline = "emit"`, every record comes back as a BASELINE change with all its fields."""
    polled = json.loads(run("poll", "--json", MDE_INVENTORY_DIFF__BASELINE="emit").stdout)
    # A registry inside a process ends with it: this one registers the same schemas in the same order.
    finished = run("tail", "--topic", "changes", "--from", "beginning", "--max", "5", "--json")
    assert polled["published"] == polled["records"]
    if finished.returncode == 0:
        values = [json.loads(line)["value"] for line in finished.stdout.splitlines()]
        assert [value["changeType"] for value in values] == ["BASELINE"] * 5
        assert {field.name for field in SOFTWARE.fields} <= set(values[0])
    else:
        assert "schema" in finished.stderr


def test_the_state_is_verified_and_exported(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """`state verify` finds nothing wrong in the file; `state export` writes a line a record."""
    records = json.loads(run("poll", "--json").stdout)["records"]
    verified = run("state", "verify", "--offline")
    exported = run("state", "export", str(tmp_path / "inventory.ndjson"))
    lines = (tmp_path / "inventory.ndjson").read_text(encoding="utf-8").splitlines()
    assert (verified.returncode, exported.returncode, len(lines)) == (0, 0, records)
    assert set(json.loads(lines[0])) >= {field.name for field in SOFTWARE.fields}


def test_the_whole_state_is_exported_and_imported(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Asked first, refused beside a state file; without the file it is there again, and the next poll finds nothing."""
    records = json.loads(run("poll", "--json").stdout)["records"]
    folder, state = tmp_path / "exported", tmp_path / "state.duckdb"
    exported = run("state", "export", str(folder))
    assert (exported.returncode, f"{records:,} records at epoch 1" in exported.stdout) == (0, True)
    assert run("state", "import", str(folder), "--yes").returncode == 1
    state.rename(tmp_path / "away")
    assert run("state", "import", str(folder)).returncode == 1
    assert not state.exists()
    # A registry inside a process ends with it, and Kafka's checkpoint cannot be read by another one.
    imported = run("state", "import", str(folder), "--yes", "--offline")
    assert (imported.returncode, f"{records:,} records at epoch 1" in imported.stdout) == (0, True)
    again = json.loads(run("poll", "--json").stdout)
    assert (again["outcome"], again["records"], again["published"]) == ("unchanged", records, 0)


def test_a_rebaseline_begins_a_new_epoch(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Asked first; then the next poll takes its snapshot as the baseline of epoch 2."""
    run("poll")
    declined = run("state", "rebaseline")
    assert declined.returncode == 1
    assert run("state", "rebaseline", "--yes").returncode == 0
    again = json.loads(run("poll", "--json").stdout)
    assert (again["outcome"], again["epoch"], again["baseline"]) == ("published", 2, again["records"])


def test_schemas_are_shown_as_json() -> None:
    """All of them, or one by its name."""
    everything = [json.loads(line)["name"] for line in run_command("schema", "show").stdout.splitlines()]
    schema = json.loads(run_command("schema", "show", "SoftwareChange").stdout)
    assert (len(everything), schema["name"]) == (6, "SoftwareChange")
    assert run_command("schema", "show", "Nonsense").returncode == 2


def checked(folder: Path, *, roles: tuple[str, ...], **source: Any) -> subprocess.CompletedProcess[str]:
    """`check` of a tenant whose tokens have these permissions; `source` adds to `[source]`."""
    fleet = Fleet(seed=5, devices=5, start=datetime(2026, 1, 1, tzinfo=UTC))
    with Simulator(fleet, roles=roles) as simulator:
        tables: dict[str, Any] = {
            "source": simulator.settings(**source),
            "state": {"path": str(folder / "state.duckdb")},
            "kafka": {"topic_prefix": "x"},
            # Refused at once: an answer of Kafka is not what is waited for here.
            "kafka.client": {"bootstrap.servers": "127.0.0.1:1", "no.such.key": "1"},
            "schema_registry": {"url": "mock://x"},
        }
        (folder / "connector.toml").write_text(toml(tables), encoding="utf-8")
        return command("check", cwd=folder)


def test_check_names_a_missing_permission(tmp_path: Path) -> None:
    """A token without Software.Read.All: the line says so, the exit code is 5, other lines are asked all the same."""
    finished = checked(tmp_path, roles=("Machine.Read.All",))
    assert finished.returncode == 5
    assert "Software.Read.All" in finished.stdout
    assert [line.split()[1] for line in finished.stdout.splitlines() if line.startswith(("ok", "FAIL"))][:3] == [
        "config", "token", "permission",
    ]  # fmt: skip


def test_check_prints_every_finding_as_an_object_or_a_line_for_each_cause(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Four schemas of a new registry are one line with one command, and four objects."""
    strict = {"MDE_INVENTORY_SCHEMA_REGISTRY__AUTO_REGISTER": "false"}
    for_people, for_machines = run("check", **strict), run("check", "--json", **strict)
    findings = [json.loads(line) for line in for_machines.stdout.splitlines()]
    missing = [finding["name"] for finding in findings if finding["cause"] == "missing"]
    assert missing == [f"cli.{topic}-value" for topic in ("changes", "alerts", "snapshots", "checkpoints")]
    assert for_machines.returncode == for_people.returncode == max(finding["exit_code"] for finding in findings)
    shown = " ".join(for_people.stdout.split())
    assert "FAIL setup 4 schemas are missing hint: Run `mde-inventory setup`" in shown


@pytest.mark.parametrize(
    ("roles", "exit_code", "line"),
    [
        pytest.param(("Software.Read.All", "Machine.Read.All"), 2, "ok permission Machine.Read.All", id="granted"),
        pytest.param(
            ("Software.Read.All",),
            5,
            "FAIL permission the token does not grant Machine.Read.All, which source.device_facts needs",
            id="missing",
        ),
    ],
)
def test_check_asks_for_the_permission_of_device_facts(
    roles: tuple[str, ...], exit_code: int, line: str, tmp_path: Path
) -> None:
    """One more line where the facts about devices are asked for."""
    finished = checked(tmp_path, roles=roles, device_facts=True)
    assert line in [" ".join(text.split()) for text in finished.stdout.splitlines()]
    assert finished.returncode == exit_code


def test_the_demo_ends_with_a_summary_that_checks_itself() -> None:
    """Exit code 0: the changes that the consumer decoded give the simulated fleet, record for record."""
    finished = command("demo", "--devices", "8", "--generations", "3")
    assert finished.returncode == 0, finished.stderr
    assert "equal the simulated fleet" in finished.stdout


def test_the_demo_fails_where_the_consumers_view_differs(capsys: pytest.CaptureFixture[str]) -> None:
    """A consumer that misses one change makes the demo say so, and exit with 1."""

    class Forgetful(demo.Consumer):
        def apply(self, change: dict[str, Any]) -> None:
            if change["sequence"] != 3:
                super().apply(change)

    assert demo.play(devices=5, generations=1, seed=1, consume=Forgetful) == 1
    assert "DO NOT EQUAL the simulated fleet" in capsys.readouterr().out


def test_the_simulator_prints_a_table_to_reach_it() -> None:
    """`simulate` serves until it is stopped; what it prints on stdout is a `[source]` table."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "connector", "simulate", "--port", "0", "--devices", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        while "Ctrl-C" not in process.stderr.readline():
            assert process.poll() is None
        process.terminate()
        printed = tomllib.loads(process.stdout.read())
        process.stderr.read()
    assert set(printed["source"]) >= {"tenant_id", "client_id", "client_secret", "api_url", "authority", "ca_bundle"}
    assert process.returncode == 0


def test_every_outcome_has_an_exit_code() -> None:
    """The contract's exit codes: 0 fine, 1 staged, 3 held."""
    assert {name: EXIT_CODES[name] for name in OUTCOMES} == {
        "published": 0, "staged": 1, "unchanged": 0, "held": 3, "dry_run": 0,
    }  # fmt: skip
