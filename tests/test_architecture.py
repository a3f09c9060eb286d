"""The house: imports go one way, each outside library has one owner, no room is too large to read."""

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "connector"

ORDER = (
    {"cli"},
    {"agents"},
    {"web"},
    {"operations"},
    {"assembly"},
    {"service"},
    {"poll", "history"},
    {"staging"},
    {"diff"},
    {"state", "kafka", "source"},
    {"telemetry", "packed"},
    {"redaction", "private_files", "config"},
    {"exports"},
    {"model"},
    {"clock"},
    {"errors", "wording"},
)
"""The rooms, from the top down: a room imports from rows below its own only. The simulator stands beside them."""

WALLS = {"diff": {"source"}, "staging": {"source"}}
"""What a room may not import although it stands above it."""

BASEMENT = {"simulator": {"clock", "errors", "private_files", "exports", "model", "telemetry"}}
"""What the simulator may use of the connector: it stands for Microsoft's service, not for us."""

OWNERS = {
    "aiohttp": {"simulator", "web"},
    "aws_msk_iam_sasl_signer": {"kafka"},
    "confluent_kafka": {"kafka"},
    "cryptography": {"source"},
    "delta": {"diff"},
    "duckdb": {"state"},
    "fastavro": {"kafka"},
    "isal": {"packed"},
    "jinja2": {"web"},
    "markupsafe": {"web"},
    "mcp": {"agents"},
    "msal": {"source"},
    "msgspec": {"source"},
    "prometheus_client": {"service"},
    "py4j": {"diff"},
    "pydantic": {"config"},
    "pydantic_settings": {"config"},
    "pyspark": {"diff"},
    "requests": {"source"},
    "rich": {"cli"},
    "structlog": {"telemetry"},
    "trustme": {"simulator"},
    "typer": {"cli"},
    "urllib3": {"source"},
    "xxhash": {"packed"},
}
"""The room that may import an outside library. A library that is not here has no owner yet, and the test says so."""

NOT_FOR_THE_LIST_OF_VERBS = {*OWNERS} - {"rich", "typer"}
"""What `--help`, `--version` and shell completion must not import: they answer at once."""

NOT_FOR_STATUS = {*OWNERS} - {"rich", "typer", "pydantic", "pydantic_settings", "duckdb"}
"""What a verb that reads the configuration and the state file must not import."""

MODULES_MAX = 13
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 50


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _room(module: str) -> str:
    """A folder (the simulator, the command line) is one room, whatever modules it has."""
    return module.split(".", maxsplit=1)[0]


def _imports(path: Path) -> set[str]:
    """Full names of the modules and objects that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _module(imported: str, modules: Collection[str]) -> str:
    """The module of ours that an imported name is, or stands in; "" where it is none of ours."""
    name = imported.removeprefix("connector.")
    places = [place for place in (name, name.rpartition(".")[0]) if place in modules]
    return places[0] if imported.startswith("connector.") and places else ""


def _library(imported: str) -> str | None:
    """The outside library that an imported name belongs to, the most exact entry of the map first."""
    top = imported.split(".", maxsplit=1)[0]
    if top in sys.stdlib_module_names or top == "connector":
        return None
    known = [name for name in OWNERS if imported == name or imported.startswith(name + ".")]
    return max(known, key=len) if known else top


def test_each_outside_library_is_imported_by_its_owner_only() -> None:
    """Every import of an outside library, in any module, is one that the map of owners allows."""
    seen = {
        (library, _room(module))
        for module, path in _modules().items()
        for library in map(_library, _imports(path))
        if library is not None
    }
    strangers = {(library, room) for library, room in seen if room not in OWNERS.get(library, set())}
    assert strangers == set()


def test_the_map_of_owners_names_only_what_is_true() -> None:
    """Every entry of the map is an import that exists: the map does not outlive the code."""
    seen = {
        (library, _room(module))
        for module, path in _modules().items()
        for library in map(_library, _imports(path))
        if library is not None
    }
    assert {(library, room) for library, rooms in OWNERS.items() for room in rooms} - seen == set()


def _imported_by(*arguments: str, folder: Path, **environ: str) -> set[str]:
    """The outside libraries, by their names in the map of owners, that a command has imported when it ends."""
    code = (
        "import sys; from connector.cli import main; from atexit import register;"
        " register(lambda: open('imported', 'w').write('\\n'.join(sys.modules))); main()"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(PACKAGE.parent)} | environ,
        capture_output=True,
        check=False,
    )
    return {*(folder / "imported").read_text(encoding="utf-8").splitlines()} & {*OWNERS}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()])
def test_the_list_of_verbs_needs_none_of_the_libraries_behind_them(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Most of what a short command takes are imports, so a verb imports what it needs when it runs."""
    assert _imported_by(*arguments, folder=tmp_path) & NOT_FOR_THE_LIST_OF_VERBS == set()


def test_help_is_drawn_without_what_it_never_draws(tmp_path: Path) -> None:
    """Markdown and tracebacks are a third of the time that `--help` takes; whoever wants them later gets them."""
    code = (
        "import sys; from connector.cli import import_help; import_help(); print('markdown_it' in sys.modules);"
        " from rich.markdown import Markdown; from rich.traceback import Traceback; print(Markdown and Traceback)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)}).stdout  # fmt: skip
    assert done.splitlines() == ["False", "<class 'rich.traceback.Traceback'>"]


def test_a_verb_that_reads_the_state_file_needs_neither_kafka_nor_https(tmp_path: Path) -> None:
    """`status` asks the file, and imports what opens it: DuckDB, the configuration, and what prints."""
    (tmp_path / "connector.toml").write_text(
        '[source]\ntenant_id = "t1"\nclient_id = "c"\nclient_secret = "canary-1"\n'
        '[kafka.client]\n"bootstrap.servers" = "localhost:1"\n[schema_registry]\nurl = "mock://x"\n',
        encoding="utf-8",
    )
    imported = _imported_by("status", folder=tmp_path)
    assert (imported & NOT_FOR_STATUS, "duckdb" in imported) == (set(), True)


def _room_imports() -> list[tuple[str, str, str]]:
    """Every import of one room by another, as (module, importing room, imported room)."""
    modules = _modules()
    imports = []
    for module, path in modules.items():
        targets = {_room(_module(name, modules)) for name in _imports(path)} - {"", _room(module)}
        imports += [(module, _room(module), target) for target in sorted(targets)]
    return imports


def test_every_room_has_its_place_in_the_order() -> None:
    """A new folder or file beside the rooms is put into the order before anything imports it."""
    rooms = {_room(module) for module in _modules()} - {"__init__", "__main__", "simulator"}
    assert rooms == {room for row in ORDER for room in row}


def test_rooms_import_only_what_stands_below_them() -> None:
    """Imports go one way, type-only ones included, so no two rooms know each other; rooms of one row do not either."""
    rows = {room: number for number, row in enumerate(ORDER) for room in row}
    wrong = [
        (module, imported)
        for module, room, imported in _room_imports()
        if room in rows and imported in rows and rows[imported] <= rows[room]
    ]
    assert wrong == []


def test_walls_between_rooms_hold() -> None:
    """Comparing and staging know a snapshot on disk, and not how it was fetched."""
    assert [(module, other) for module, room, other in _room_imports() if other in WALLS.get(room, set())] == []


def test_only_staging_chooses_the_engine_of_a_comparison() -> None:
    """Whatever follows a comparison reads its relations, and does not know which engine made them."""
    users = {
        module
        for module, path in _modules().items()
        if not module.startswith("diff.engines.")
        and any(
            name.startswith(("connector.diff.engines.duckdb", "connector.diff.engines.spark"))
            for name in _imports(path)
        )
    }
    assert users == {"staging.engines"}


def test_only_the_command_line_knows_the_simulator() -> None:
    """The connector runs without the simulator's libraries, and the simulator stands for Microsoft's service alone."""
    users = {room for _, room, imported in _room_imports() if imported == "simulator"}
    used = {imported for _, room, imported in _room_imports() if room == "simulator"}
    assert (users, used - BASEMENT["simulator"]) == ({"cli"}, set())


def test_modules_do_not_import_each_other_in_circles() -> None:
    """Within a room too, following imports never leads back, type-only ones included."""
    modules = _modules()
    graph = {
        module: {_module(name, modules) for name in _imports(path)} - {"", module} for module, path in modules.items()
    }
    finished: set[str] = set()

    def circle_from(module: str, trail: tuple[str, ...]) -> tuple[str, ...]:
        if module in trail:
            return (*trail[trail.index(module) :], module)
        if module in finished:
            return ()
        for other in sorted(graph[module]):
            if circle := circle_from(other, (*trail, module)):
                return circle
        finished.add(module)
        return ()

    assert [circle for module in graph if (circle := circle_from(module, ()))] == []


def test_a_folder_has_few_enough_modules_to_take_in_at_a_glance() -> None:
    """At most 13 modules side by side; a folder that needs more is two rooms."""
    siblings = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert {str(folder.name): count for folder, count in siblings.items() if count > MODULES_MAX} == {}


def test_tests_stand_where_their_modules_stand() -> None:
    """A room's tests are in the folder of its name; what tests share is in support, what plays the whole in whole.

    What judges `deploy/` with outside tools is in deploy.
    """
    tests = Path(__file__).parent
    rooms = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    folders = {str(path.parent.relative_to(tests)) for path in tests.rglob("test_*.py")}
    assert folders - rooms - {"support", "whole", "deploy", "."} == set()


@pytest.mark.parametrize("module", sorted(_modules()))
def test_rooms_stay_small_enough_to_read(module: str) -> None:
    """No module is longer than 500 lines and no function longer than 50."""
    text = _modules()[module].read_text(encoding="utf-8")
    long_functions = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert (text.count("\n") <= MODULE_LINES_MAX, long_functions) == (True, [])
