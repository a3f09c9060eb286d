"""What operators copy, against the code: the example configuration, the container file, the systemd unit."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from connector import config, errors
from connector.config import Config, tenants
from connector.service.endpoint import ProbeResponse, ProbeServer
from connector.service.polls import GRACE_SECONDS
from connector.service.signals import SIGNAL_EXIT_CODES
from tests.support.sentinel import templates

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
EXAMPLE = (DEPLOY / "connector.example.toml").read_text(encoding="utf-8")
CONTAINER = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "mde-inventory.service").read_text(encoding="utf-8")
SECRET = {"MDE_INVENTORY_SOURCE__CLIENT_SECRET": "dummy"}

OPTIONAL_LINE = re.compile(r'^# ("[a-z._]+"|[a-z_]+) = (.+)$')


def configuration_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its default; those without one come with None or pydantic's mark for it."""
    for name, field in model.model_fields.items():
        table = field.annotation
        if isinstance(table, type) and issubclass(table, BaseModel):
            yield from configuration_keys(table, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def flattened(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"source.tenant_id": …}`; the tables that pass through count as one key, as in the model."""
    return {
        name: value
        for key, given in tables.items()
        for name, value in (
            flattened(given, f"{prefix}{key}.").items()
            if isinstance(given, dict) and given and key != "client"
            else [(f"{prefix}{key}", given)]
        )
    }


def optional_keys() -> dict[str, Any]:
    """The keys that stand behind a comment mark, by their full name."""
    keys: dict[str, Any] = {}
    table = ""
    for line in EXAMPLE.splitlines():
        if line.startswith("["):
            table = line.strip("[]")
        elif OPTIONAL_LINE.match(line):
            keys |= {f"{table}.{key}": value for key, value in tomllib.loads(line.removeprefix("# ")).items()}
    return keys


# ---- the example configuration


def test_the_example_loads_with_a_secret_from_the_environment() -> None:
    """Copied as it is, with a secret, the example is a valid configuration."""
    loaded = config.load(DEPLOY / "connector.example.toml", SECRET)
    assert (loaded.source.tenant_id, loaded.kafka.client) == (
        "00000000-0000-0000-0000-000000000000",
        {"bootstrap.servers": "localhost:9092"},
    )


def test_every_key_stands_in_the_example_and_no_other() -> None:
    """Nothing to configure is missing from the example, and it names nothing that does not exist."""
    passed_on = re.compile(r"^(kafka\.client\..+|schema_registry\.(basic\.auth|ssl)\..+)$")
    written = set(flattened(tomllib.loads(EXAMPLE))) | set(optional_keys())
    assert {key for key in written if not passed_on.match(key)} == {key for key, _ in configuration_keys(Config)}


def test_the_values_in_the_example_are_the_defaults() -> None:
    """What is not marked CHANGE shows the default: deleting the line changes nothing."""
    written = flattened(tomllib.loads(EXAMPLE))
    changed = set(re.findall(r"CHANGE\n\"?([a-z_.]+)\"? =", EXAMPLE))
    defaults = {key: json.loads(json.dumps(default, default=str)) for key, default in configuration_keys(Config)}
    shown = {key: value for key, value in written.items() if key.rpartition(".")[2] not in changed | {"client"}}
    assert shown == {key: defaults[key] for key in shown}
    assert changed == {"tenant_id", "client_id", "bootstrap.servers", "url"}


def test_the_addresses_behind_a_comment_mark_are_those_of_the_default_cloud() -> None:
    """The three that `cloud` picks are shown as they are for the commercial cloud."""
    optional, source = optional_keys(), config.load(DEPLOY / "connector.example.toml", SECRET).source
    shown = [optional[f"source.{key}"] for key in ("authority", "api_url", "scope")]
    assert shown == [source.authority, source.api_url, source.scope]


def test_the_keys_behind_a_comment_mark_are_read(tmp_path: Path) -> None:
    """Removing the mark of any line, and putting a file where it names one, gives a valid configuration."""
    secret = tmp_path / "secret"
    secret.write_text("from a file\n", encoding="utf-8")
    for line in [line for line in EXAMPLE.splitlines() if OPTIONAL_LINE.match(line)]:
        key, _, value = line.removeprefix("# ").partition(" = ")
        given = f'"{secret}"' if "/" in value and not value.startswith('"http') else value
        file = tmp_path / "connector.toml"
        file.write_text(EXAMPLE.replace(line, f"{key} = {given}"), encoding="utf-8")
        environ = {} if key.startswith("client_secret") else SECRET
        loaded = config.load(file, environ)
        if key.strip('"').endswith("_file") and key != "federated_token_file":
            assert "from a file" in loaded.secrets


# ---- the container


def instructions() -> list[tuple[str, str]]:
    """The container file's instructions with their arguments, continued lines joined, comments left out."""
    text = "\n".join(line for line in CONTAINER.splitlines() if not line.lstrip().startswith("#"))
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in lines]


def last_stage() -> dict[str, str]:
    """The instructions of the stage that becomes the image; of several of a kind, the last."""
    lines = instructions()
    start = max(number for number, (name, _) in enumerate(lines) if name == "FROM")
    return dict(lines[start:])


def container_environment() -> dict[str, str]:
    """What the image sets."""
    pairs = [pair.partition("=") for pair in shlex.split(last_stage()["ENV"])]
    return {name: value for name, _, value in pairs}


def test_the_image_runs_as_nobody_in_particular_and_builds_in_a_stage_of_its_own() -> None:
    """Two stages; a numeric user that is not root, so that Kubernetes can check it; a health check; a clean stop."""
    stage = last_stage()
    user, _, group = stage["USER"].partition(":")
    assert sum(name == "FROM" for name, _ in instructions()) == 2
    assert (int(user) > 0, int(group) > 0, stage["STOPSIGNAL"]) == (True, True, "SIGTERM")
    assert json.loads(stage["CMD"])[-1] == "run"


def test_everything_that_is_installed_is_locked_with_hashes() -> None:
    """No download without a hash: each pip call takes a lock, or nothing from outside; nothing else is fetched."""
    calls = [
        call.strip()
        for name, argument in instructions()
        if name == "RUN"
        for call in argument.split("&&")
        if re.search(r"\bpip (install|wheel|download)\b", call)
    ]
    assert [call for call in calls if "--require-hashes" not in call and "--no-index" not in call] == []
    assert (len(calls), re.findall(r"\b(ADD|curl|wget|apt-get|:latest)\b", CONTAINER)) == (4, [])


def test_what_is_copied_into_the_image_exists_and_reaches_the_build() -> None:
    """Each source of a COPY is in the repository, and is let through by the ignore file."""
    sources = {
        source.rstrip("/")
        for name, argument in instructions()
        if name == "COPY" and "--from=" not in argument
        for source in argument.split()[:-1]
    }
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert (sources, {source for source in sources if not (ROOT / source).exists()}) == (let_through, set())


def test_the_image_keeps_its_state_in_the_volume_and_answers_from_outside() -> None:
    """The environment that the image sets is read, wins over the example, and agrees with its volume and port."""
    stage, environment = last_stage(), container_environment()
    ours = {name: value for name, value in environment.items() if name.startswith("MDE_INVENTORY_")}
    loaded = config.load(DEPLOY / "connector.example.toml", ours | SECRET)
    assert (Path(stage["WORKDIR"]) / loaded.state.path).parent == Path(stage["VOLUME"])
    assert loaded.http.address == ("0.0.0.0", int(stage["EXPOSE"]))  # noqa: S104 - the point of a container


def test_the_image_and_the_unit_fix_nothing_that_several_tenants_must_not_share(tmp_path: Path) -> None:
    """A folder of configurations runs with the environment of both: each keeps its own state file and secret."""
    for name in ("contoso", "fabrikam"):
        text = EXAMPLE.replace("00000000-0000-0000-0000-000000000000", f"{name}.example")
        own = text.replace('path = "state.duckdb"', f'path = "{name}.duckdb"').replace(
            '# client_secret = "..."', f'client_secret = "{name}"'
        )
        (tmp_path / f"{name}.toml").write_text(own, encoding="utf-8")
    unit = dict(re.findall(r"^Environment=(MDE_\w+)=(.*)$", UNIT, re.MULTILINE))
    for environ in (container_environment(), unit):
        ours = {name: value for name, value in environ.items() if name.startswith("MDE_") and "SECRET" not in name}
        loaded = tenants.load([], ours | {config.CONFIG_VARIABLE: str(tmp_path)})
        assert [(tenant.config.state.path, tenant.config.secrets) for tenant in loaded] == [
            (Path("contoso.duckdb"), ("contoso",)), (Path("fabrikam.duckdb"), ("fabrikam",)),
        ]  # fmt: skip


@pytest.mark.parametrize(("status", "code"), [(HTTPStatus.OK, 0), (HTTPStatus.SERVICE_UNAVAILABLE, 1)])
def test_the_health_check_of_the_image_works(status: HTTPStatus, code: int) -> None:
    """The command asks /healthz, past any proxy, and fails where it does not answer 200."""
    command = json.loads(last_stage()["HEALTHCHECK"].partition("CMD ")[2])
    with ProbeServer(("127.0.0.1", 0), {"/healthz": lambda: ProbeResponse(status, b"{}")}) as server:
        environ = {"MDE_INVENTORY_HTTP__LISTEN": f"0.0.0.0:{server.address[1]}", "HTTP_PROXY": "http://127.0.0.1:1"}
        ran = subprocess.run([sys.executable, *command[1:]], env={**os.environ, **environ}, check=False, timeout=60)
    assert (command[0], ran.returncode) == ("python", code)


def test_the_page_of_operations_says_what_image_and_unit_do() -> None:
    """User and volume of the image, and the exit codes after which the unit does not start again."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    unit, container = (
        " ".join(page.split(f"## {name}\n")[1].split("\n## ")[0].split()) for name in ("systemd", "Container")
    )
    stage = last_stage()
    said = re.search(r"([\d, and]+) need a person", unit)
    assert said
    assert re.findall(r"\d", said[1]) == settings("RestartPreventExitStatus")[0].split()
    user = stage["USER"].partition(":")[0]
    assert (f"user {user}" in container, f"`{stage['VOLUME']}`" in container) == (True, True)


# ---- the systemd unit


def settings(name: str) -> list[str]:
    """The values of a setting of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_a_restart_is_tried_where_it_can_help_and_only_there() -> None:
    """Failures are retried forever; what needs a person is not; a stop that took too long is no failure."""
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConnectorError)
    }
    needs_person = {int(code) for code in settings("RestartPreventExitStatus")[0].split()}
    assert needs_person == (codes | {3}) - {0, 1}
    assert (settings("Restart"), settings("StartLimitIntervalSec")) == (["on-failure"], ["0"])
    assert settings("SuccessExitStatus") == [f"{SIGNAL_EXIT_CODES + 2} {SIGNAL_EXIT_CODES + 15}"]
    assert int(settings("TimeoutStopSec")[0]) > GRACE_SECONDS


def test_the_image_and_the_unit_start_the_verb_with_options_that_exist() -> None:
    """The command lines are ones that the command understands."""
    container = json.loads(last_stage()["CMD"])
    unit = settings("ExecStart")[0].split()[1:]
    ran = subprocess.run(
        [sys.executable, "-c", "from connector.cli import main; main()", *unit, "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert (container, ran.returncode, unit[-1], " run [OPTIONS]" in ran.stdout) == (unit, 0, "run", True)


def test_the_unit_gives_secrets_as_credentials_that_the_configuration_reads(tmp_path: Path) -> None:
    """Each credential, the commented one too, is named by an environment variable that ends in the right key."""
    given = dict(re.findall(r"^#?LoadCredential=(\w+):(\S+)$", UNIT, re.MULTILINE))
    variables = dict(re.findall(r"^#?Environment=(MDE_\w+)=%d/(\w+)$", UNIT, re.MULTILINE))
    for name in given:
        (tmp_path / name).write_text(f"secret {name}\n", encoding="utf-8")
    loaded = config.load(
        DEPLOY / "connector.example.toml", {variable: str(tmp_path / name) for variable, name in variables.items()}
    )
    assert set(variables.values()) == set(given)
    assert set(loaded.secrets) == {f"secret {name}" for name in given}


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, and its review finds little that the service may do."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "mde-inventory.service"
    unit.write_text(
        re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT, flags=re.MULTILINE), encoding="utf-8"
    )
    verified = subprocess.run(
        [tool, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    about_ours = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, about_ours) == (0, [])
    review = [tool, "security", "--no-pager", "--offline=true", "--threshold=20", str(unit)]
    reviewed = subprocess.run(review, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option" not in reviewed.stderr:
        assert reviewed.returncode == 0, reviewed.stdout[-300:]


# ---- the tables of Sentinel


@pytest.mark.parametrize("name", ["dcr-logstash.json", "dcr-event-hub.json"])
def test_the_tables_of_sentinel_are_generated_from_the_schemas(name: str) -> None:
    """What is shipped is what `make schemas` writes: a field that is renamed or new changes tables and transforms."""
    assert (templates.FOLDER / name).read_text(encoding="utf-8") == templates.files()[name]
