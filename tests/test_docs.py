"""The README against the code: what it names exists, and what exists is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from connector import cli, errors
from connector.config.tables import Config
from connector.exports.software import SOFTWARE
from connector.model import ChangeType, Inventory, Reason, SnapshotStatus, Topic
from connector.poll.result import OUTCOMES, PollResult

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _section(name: str) -> str:
    """What stands between `<!-- name` and `<!-- /name -->`."""
    found = re.search(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found, f"the README has no section {name}"
    return found.group(1)


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        table = field.annotation
        if isinstance(table, type) and issubclass(table, BaseModel):
            yield from _keys(table, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def test_every_verb_stands_in_the_readme_and_no_other() -> None:
    """The table of verbs is the list of commands."""
    commands = {command.name or getattr(command.callback, "__name__", "") for command in cli.app.registered_commands}
    groups = {group.name for group in cli.app.registered_groups}
    table = re.search(r"\| verb \| does \|\n\|---\|---\|\n((?:\|.*\n)+)", README)
    assert table
    assert set(re.findall(r"^\| `(\w+)`", table.group(1), re.MULTILINE)) == commands | groups


def test_every_subcommand_stands_in_the_readme() -> None:
    """`state verify` and its like are named in full."""
    named = [
        f"`{group.name} {command.name}`"
        for group in cli.app.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
    ]
    assert [name for name in named if name not in README] == []


def test_every_configuration_key_stands_in_the_readme_and_no_other() -> None:
    """The table of keys is the configuration model."""
    names = re.findall(r"^\| (`[^|]*`) \|", _section("configuration"), re.MULTILINE)
    written = {name for cell in names for name in re.findall(r"`([^`]+)`", cell)}
    assert written == {key for key, _ in _keys(Config, "")}


def test_the_defaults_in_the_readme_are_those_of_the_code() -> None:
    """A default that the README gives as a value is the model's."""
    rows = re.findall(r"^\| `([\w.]+)`[^|]*\| `([^`]*)` \|", _section("configuration"), re.MULTILINE)
    defaults = dict(_keys(Config, ""))
    shown = {
        key: str(defaults[key]).lower().replace("(", "[").replace(")", "]")
        for key, text in rows
        if not text.startswith("$")
    }
    assert shown == {key: text.strip('"') for key, text in rows if not text.startswith("$")}


def test_the_table_of_fields_is_generated() -> None:
    """The README's table of a record's fields is what `fields` says."""
    kinds = {"text": "string", "number": "long", "text_set": "array of string", "date": "string", "timestamp": "string"}
    rows = [
        f"| `{field.name}` | {kinds[field.kind]}{', key' if field.key else ''} | {field.doc} |\n"
        for field in SOFTWARE.fields
    ]
    assert _section("fields") == "| field | type | meaning |\n|---|---|---|\n" + "".join(rows)


@pytest.mark.parametrize("topic", list(Topic))
def test_every_topic_stands_in_the_readme(topic: Topic) -> None:
    """Each topic has its row."""
    assert f"| `{topic.name_under('mde.software')}` |" in README


@pytest.mark.parametrize("word", [*ChangeType, *Reason, *SnapshotStatus, *OUTCOMES])
def test_every_word_that_a_consumer_meets_stands_in_the_readme(word: str) -> None:
    """Change types, reasons, statuses and outcomes are named."""
    assert word in README


def test_every_key_of_poll_json_stands_in_the_readme() -> None:
    """The object that `poll --json` prints is described whole."""
    printed = PollResult("unchanged", Inventory.CPE, None, 1).as_json()
    assert [key for key in printed if f"`{key}`" not in README] == []


def test_every_exit_code_stands_in_the_readme_and_no_other() -> None:
    """The table of exit codes has the codes that the tree of errors has, and 0 and 3."""
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConnectorError)
    }
    table = re.search(r"\| exit code \| means \|\n\|---\|---\|\n((?:\|.*\n)+)", README)
    assert table
    assert {int(code) for code in re.findall(r"^\| (\d) \|", table.group(1), re.MULTILINE)} == codes | {0, 3}


def test_every_module_stands_in_the_layout() -> None:
    """The picture of the layout has every module of the package."""
    modules = {path.name for path in (ROOT / "connector").glob("*.py")} - {"__init__.py"}
    assert {module for module in modules if module not in README} == set()


def test_every_dependency_has_its_line() -> None:
    """The table of dependencies names each library that pyproject.toml asks for."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    blocks = re.findall(r"^(?:dependencies|simulator) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    names = {re.split(r"[\[><=]", name)[0] for block in blocks for name in re.findall(r'"([^"]+)"', block)}
    table = README.split("| dependency | why |")[1]
    assert {name for name in names if not re.search(rf"^\|.*\b{name}\b.*\|", table, re.MULTILINE)} == set()


def test_the_errors_are_all_in_the_tree_that_the_docstring_draws() -> None:
    """Each error class has its line, with its exit code, in the docstring of `errors`."""
    drawn = dict(re.findall(r"(\w+) +exit (\d)", errors.__doc__ or ""))
    real = {
        name: str(kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.ConnectorError) and kind is not errors.ConnectorError
    }
    assert drawn == real


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    """`file::test`, as the table writes it; and no row is without one."""
    table = (ROOT / "tests" / "FAULTS.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", table))
    texts = {name: (ROOT / "tests" / name).read_text(encoding="utf-8") for name, _ in named}
    assert [f"{name}::{test}" for name, test in sorted(named) if f"def {test}(" not in texts[name]] == []
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.endswith("| tests |")]
    assert [row for row in rows if "::test_" not in row] == []
