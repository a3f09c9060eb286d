"""README and pages against the code: what they name exists, and what exists is named on the page that is about it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from connector import cli, errors
from connector.config import Config
from connector.diff.guard import HoldReason
from connector.exports.software import SOFTWARE
from connector.kafka import schemas
from connector.model import AlertType, ChangeType, Inventory, Reason, SnapshotStatus, Topic
from connector.poll.result import OUTCOMES, PollResult
from tests.test_architecture import ORDER, OWNERS

ROOT = Path(__file__).parents[1]
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "tests" / "FAULTS.md",
    )
}
README = TEXTS["README.md"]
INDEX = TEXTS["docs/README.md"]
PAGES = {
    name.removeprefix("docs/").removesuffix(".md"): text
    for name, text in TEXTS.items()
    if name.startswith("docs/") and text is not INDEX
}
README_LINES_MAX = 220

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = "mde-inventory"


def section(page: str, name: str) -> str:
    """The part of a page between `<!-- name` and `<!-- /name -->`."""
    match = re.search(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", PAGES[page], re.DOTALL)
    assert match, f"docs/{page}.md has no section {name}"
    return match.group(1)


def table(page: str, head: str) -> list[list[str]]:
    """The cells of the rows below a table's head."""
    match = re.search(rf"^{re.escape(head)}\n\|[-|]+\|\n((?:\|.*\n)+)", PAGES[page], re.MULTILINE)
    assert match, f"docs/{page}.md has no table {head}"
    return [[cell.strip() for cell in row[1:-1].split(" | ")] for row in match.group(1).splitlines()]


def spans(text: str) -> list[str]:
    """What stands in single backticks outside of fenced blocks."""
    return re.findall(r"`([^`]+)`", FENCED.sub("", text))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [block for kind, block in FENCED.findall(text) if kind == language]


def configuration_keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key of the configuration with its default."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from configuration_keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


# ---- the shape of README and pages


def test_the_readme_is_short_enough_to_be_read() -> None:
    """A reader decides within a minute whether the product is for them."""
    assert README.count("\n") <= README_LINES_MAX


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_begins_with_its_reader_and_is_in_the_index(page: str) -> None:
    """Below the title stands for whom the page is; and the index leads to it."""
    assert re.match(r"# [^\n]+\n\n\*For ", PAGES[page])
    assert f"]({page}.md)" in INDEX


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a text."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(slugs) == len(set(slugs)), "two headings with one anchor"
    return set(slugs)


def links(text: str) -> list[str]:
    """The targets of the links and pictures of a text, those of reference definitions included."""
    prose = re.sub(r"`[^`]+`", "``", FENCED.sub("", text))
    pictures = re.findall(r'<(?:img|source)\b[^>]*\bsrc(?:set)?="([^"]+)"', prose)
    references = re.findall(r"^\[[^\]]+\]: (\S+)$", prose, re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + references + pictures


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "CHANGELOG.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    """Relative links name a file or folder of the repository, and anchors a heading of it; others are HTTPS."""
    broken = []
    for target in links(TEXTS[name]):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", path):
            broken += [target] * (not path.startswith("https://"))
            continue
        file = (ROOT / name).parent / path if path else ROOT / name
        is_there = file.exists() and ROOT in (file.resolve(), *file.resolve().parents)
        if not is_there or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_reference_has_its_definition(name: str) -> None:
    """`[text][name]` is a link only where `[name]: …` stands."""
    prose = re.sub(r"`[^`]+`", "``", FENCED.sub("", TEXTS[name]))
    used = set(re.findall(r"\]\[([^\]]+)\]", prose))
    assert used == set(re.findall(r"^\[([^\]]+)\]: ", prose, re.MULTILINE))


def test_everything_that_the_readme_links_to_is_in_a_source_distribution() -> None:
    """The README's links work there too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    targets = {target.partition("#")[0] for target in links(README) if not target.startswith("https://")}
    assert [target for target in targets if not any(f"{target}/".startswith(f"{path}/") for path in included)] == []


def test_every_picture_is_shown_and_asks_no_other_host_for_anything() -> None:
    """A picture that no page shows is clutter; one that loads a font or a script would not be shown by GitHub."""
    pictures = {f"docs/pictures/{path.name}" for path in (ROOT / "docs" / "pictures").iterdir()}
    shown = {str(Path(name).parent / target) for name, text in TEXTS.items() for target in links(text)}
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in pictures if path.endswith(".svg")]
    assert (pictures - shown, [text for text in texts if re.search(r"url\(['\"]?http|href=|<script", text)]) == (
        set(),
        [],
    )


# ---- what is typed


def typed(text: str) -> list[str]:
    """The command lines in the console blocks of a text, and those in its prose, without comments and prompts."""
    lines = [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    lines += [span for span in spans(text) if span.startswith((f"{COMMAND} ", "make ")) and "[" not in span]
    return [re.sub(r"\s+", " ", line.split(" # ")[0]).strip() for line in lines]


def parse(arguments: list[str]) -> None:
    """Let typer read a command line, down to the last subcommand, without running anything."""
    command: Any = typer.main.get_command(cli.app)
    if arguments == ["--install-completion"]:  # which typer would do as soon as it has read it
        assert arguments[0] in {option for parameter in command.params for option in parameter.opts}
        return
    context: Any = command.make_context(COMMAND, arguments)
    while rest := [*getattr(context, "_protected_args", []), *context.args]:
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "resolve_command"):
            return


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, text in TEXTS.items() for line in typed(text)])
def test_every_command_line_is_one_that_is_understood(name: str, line: str) -> None:
    """Verbs, subcommands, options and targets of make that a page has people type exist."""
    assert name in TEXTS
    words = shlex.split(line)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)} <= set(targets)
    elif words[0].rpartition("/")[2] == COMMAND:
        parse(words[1:])


def test_the_tests_that_contributors_are_told_to_run_exist() -> None:
    """Each path of a `PYTEST_ARGS` is there, and a word after `-k` selects tests of it."""
    given = re.findall(r'PYTEST_ARGS="([^"]+)"', TEXTS["CONTRIBUTING.md"])
    assert given
    for words in map(shlex.split, given):
        paths = [ROOT / word for word in words if word.startswith("tests/")]
        assert [path for path in paths if not path.exists()] == []
        if "-k" in words:
            (path,), word = paths, words[words.index("-k") + 1]
            assert re.search(rf"^def test_\w*{word}", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_command_lines_that_do_not_exist_would_be_noticed() -> None:
    """A verb, a subcommand or an option that is gone makes `parse` fail."""
    assert len([line for text in TEXTS.values() for line in typed(text) if COMMAND in line]) > 20
    for line in ("pol", "held lists", "poll --dry", "state export", "--colour poll", "replay --limit 3"):
        with pytest.raises(Exception, match=r"(?i)no such|missing"):
            parse(line.split())


def test_every_verb_stands_in_the_table_of_verbs_and_no_other() -> None:
    """The table of verbs is the list of commands."""
    assert {verb.strip("`") for verb, _ in table("operations", "| verb | does |")} == {*cli.VERBS}


def test_every_option_in_the_table_of_verbs_is_one_of_the_verb() -> None:
    """An option stands in the row of a verb that has it."""
    for verb, does in table("operations", "| verb | does |"):
        command = cli.load_verb(verb.strip("`"))
        options = {
            option
            for documented in (command, *getattr(command, "commands", {}).values())
            for parameter in documented.params
            for option in parameter.opts
        }
        assert {word for span in spans(does) for word in span.split() if word.startswith("--")} <= options


def test_every_subcommand_is_named() -> None:
    """`state verify` and its like are named in full."""
    names = [f"`{verb} {name}`" for verb in cli.VERBS for name in getattr(cli.load_verb(verb), "commands", {})]
    assert [name for name in names if name not in PAGES["operations"]] == []


def test_every_filter_of_changes_stands_in_its_table() -> None:
    """The options of `changes` that select are those of the table; `replay` takes them all but `--limit`."""
    options = {
        verb: {option for parameter in cli.load_verb(verb).params for option in parameter.opts}
        for verb in ("changes", "replay")
    }
    rows = {
        option for cell, _ in table("journal", "| option | selects |") for option in re.findall(r"`(--[\w-]+)`", cell)
    }
    assert rows == options["changes"] - {"--json", "--csv", "--fold", "--config", "--tenant"}
    assert rows - {"--limit"} == options["replay"] & rows


def test_every_exit_code_stands_in_its_table_and_no_other() -> None:
    """The table of exit codes has the codes that the tree of errors has, 0 and 3, and those of SIGINT and SIGTERM."""
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ConnectorError)
    }
    assert {int(code) for code, _ in table("operations", "| exit code | means |")} == codes | {0, 3, 130, 143}


def test_every_key_of_poll_json_stands_in_its_table_and_no_other() -> None:
    """The object that `poll --json` prints is described whole."""
    printed = PollResult("unchanged", Inventory.CPE, None, 1).as_json()
    rows = PAGES["operations"].split("## poll --json")[1].split("\n## ")[0]
    assert {key for cell in re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE) for key in spans(cell)} == set(printed)


# ---- the configuration


def test_every_configuration_key_stands_in_its_table_and_no_other() -> None:
    """The table of keys is the configuration model."""
    names = re.findall(r"^\| (`[^|]*`) \|", section("configuration", "configuration"), re.MULTILINE)
    written = {name for cell in names for name in re.findall(r"`([^`]+)`", cell)}
    assert written == {key for key, _ in configuration_keys(Config)}


def test_the_defaults_in_the_table_are_those_of_the_code() -> None:
    """A default that the table gives as a value is the model's."""
    rows = re.findall(r"^\| `([\w.]+)`[^|]*\| `([^`]*)` \|", section("configuration", "configuration"), re.MULTILINE)
    defaults = dict(configuration_keys(Config))
    shown = {
        key: str(defaults[key]).lower().replace("(", "[").replace(")", "]")
        for key, text in rows
        if not text.startswith("$")
    }
    assert shown == {key: text.strip('"') for key, text in rows if not text.startswith("$")}


def test_every_key_that_a_page_names_or_sets_exists() -> None:
    """`diff.baseline` in the prose, and the keys of TOML blocks, are keys of the configuration."""
    known = {key for key, _ in configuration_keys(Config)}
    tables = {key.partition(".")[0] for key in known}
    named = {
        span.split(" = ")[0]
        for text in (README, *PAGES.values())
        for span in spans(text)
        if re.fullmatch(r"[a-z_]+\.[a-z_]+( = .*)?", span) and span.partition(".")[0] in tables
    }
    set_here = {
        f"{name}.{key}"
        for text in (README, *PAGES.values())
        for block in blocks(text, "toml")
        for name, values in tomllib.loads(block).items()
        for key in values
    }
    # Files have names of the same form.
    assert (named - known - {"state.duckdb"}, set_here - known, "kafka.client" in set_here) == (set(), set(), True)


# ---- what is published


def test_the_table_of_fields_is_generated() -> None:
    """The table of a record's fields is what `fields` says."""
    kinds = {"text": "string", "number": "long", "text_set": "array of string", "date": "string", "timestamp": "string"}
    rows = [
        f"| `{field.name}` | {kinds[field.kind]}{', key' if field.key else ''} | {field.doc} |\n"
        for field in SOFTWARE.fields
    ]
    assert section("messages", "fields") == "| field | type | meaning |\n|---|---|---|\n" + "".join(rows)


def schema_fields(topic: Topic) -> dict[str, str]:
    """The fields of a topic's schema with their docs."""
    return {field["name"]: field["doc"] for field in json.loads(schemas.schema_of(topic))["fields"]}


@pytest.mark.parametrize(("name", "topic"), [("report", Topic.SNAPSHOTS), ("campaign", Topic.CAMPAIGNS)])
def test_the_table_of_a_report_or_a_campaign_is_generated(name: str, topic: Topic) -> None:
    """The table of its fields is what its schema says."""
    rows = [f"| `{name}` | {doc} |\n" for name, doc in schema_fields(topic).items()]
    assert section("messages", name) == "| field | meaning |\n|---|---|\n" + "".join(rows)


@pytest.mark.parametrize(("page", "topic"), [("messages", Topic.CHANGES), ("alerts", Topic.ALERTS)])
def test_every_field_of_an_event_stands_in_its_table(page: str, topic: Topic) -> None:
    """Those that a record has stand in the table of the record, or are named together."""
    rows = {name for cells in table(page, "| field | meaning |") for cell in cells for name in spans(cell)}
    elsewhere = {field.name for field in SOFTWARE.fields}
    shared = set(schema_fields(Topic.CHANGES)) if topic is Topic.ALERTS else set()
    assert set(schema_fields(topic)) - elsewhere - shared - rows == set()


@pytest.mark.parametrize("topic", list(Topic))
def test_every_topic_has_its_row(topic: Topic) -> None:
    """Each topic stands in the table of topics, with its record type."""
    rows = {name: value for name, _, value, _ in table("messages", "| topic | key | value | |")}
    assert f"`{schemas.NAMES[topic]}`" in rows[f"`{topic.name_under('mde.software')}`"]


@pytest.mark.parametrize(
    ("page", "word"),
    [
        *(("messages", word) for word in (*ChangeType, *Reason)),
        *(("operations", word) for word in OUTCOMES),
    ],
)
def test_every_word_that_a_consumer_meets_is_explained(page: str, word: str) -> None:
    """Change types, reasons and outcomes are named."""
    assert f"`{word}`" in PAGES[page]


@pytest.mark.parametrize(
    ("page", "head", "words"),
    [
        ("messages", "| status | says |", list(SnapshotStatus)),
        ("alerts", "| alert type | raised when | severity |", list(AlertType)),
        ("operations", "| reason | held because | ends |", list(HoldReason)),
    ],
)
def test_a_table_of_words_is_complete(page: str, head: str, words: list[str]) -> None:
    """Statuses, alert types and reasons to hold have a row each, and nothing else has."""
    assert {cells[0] for cells in table(page, head)} == {str(word) for word in words}


def test_the_event_in_the_readme_is_one() -> None:
    """Its names are fields of a change."""
    (event,) = blocks(README, "json")
    assert set(json.loads(event)) <= set(schema_fields(Topic.CHANGES))


# ---- the house


def test_the_table_of_rooms_is_the_order_of_imports() -> None:
    """The rows stand in the order that the architecture test holds, with the libraries that each row owns."""
    rows = table("architecture", "| room | does | may import | owns |")
    owned = [{name for name, rooms in OWNERS.items() if rooms & row} for row in ORDER]
    assert [set(spans(rooms)) for rooms, _, _, _ in rows] == [set(row) for row in ORDER]
    assert [set(re.findall(r"\w+", libraries.replace("-", "_"))) for _, _, _, libraries in rows] == owned


def test_every_dependency_has_its_line() -> None:
    """The table of dependencies names each library that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    names = {re.split(r"[\[><=]", name)[0] for name in asked}
    rows = table("architecture", "| dependency | why |")
    assert {name for cells in rows for name in cells[0].split(", ")} == names


def test_every_path_that_a_page_names_exists() -> None:
    """A file or folder of the repository that stands in backticks is there."""
    tops = ("connector/", "deploy/", "docs/", "schemas/", "tests/")
    named = {span for text in TEXTS.values() for span in spans(text) if span.startswith(tops) and "::" not in span}
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_errors_are_all_in_the_tree_that_the_docstring_draws() -> None:
    """Each error class has its line, with its exit code, in the docstring of `errors`."""
    drawn = dict(re.findall(r"(\w+) +exit (\d)", errors.__doc__ or ""))
    real = {
        name: str(kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.ConnectorError) and kind is not errors.ConnectorError
    }
    assert drawn == real


# ---- the tests that are named as proof


@pytest.mark.parametrize("name", ["README.md", "tests/FAULTS.md"])
def test_every_test_that_is_named_as_proof_is_there(name: str) -> None:
    """`file::test`, below the folder of the tests; a file alone is there too."""
    named = set(re.findall(r"`([\w/]+\.py)(?:::(test_\w+))?`", TEXTS[name]))
    assert len(named) > 10
    texts = {file: (ROOT / "tests" / file).read_text(encoding="utf-8") for file, _ in named}
    assert [f"{file}::{test}" for file, test in sorted(named) if test and f"def {test}(" not in texts[file]] == []


def test_every_guarantee_and_every_fault_has_its_proof() -> None:
    """No row of the two tables is without a test, or a page that has them."""
    rows = [line for line in TEXTS["tests/FAULTS.md"].splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.endswith("| tests |")]
    guarantees = README.split("| promise | held by |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    proof = re.compile(r"::test_|`[\w/]+/test_\w+\.py`|\]\(tests/FAULTS\.md\)")
    assert [row for row in faults if "::test_" not in row] == []
    assert [row for row in guarantees if not proof.search(row)] == []
