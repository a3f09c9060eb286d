"""The shape of the house: one owner for each outside library, no circles, no room too large to read."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "connector"

OWNERS = {
    "aiohttp": {"simulator"},
    "confluent_kafka": {"kafka", "reader", "sink", "topics"},
    "confluent_kafka.admin": {"topics"},
    "confluent_kafka.schema_registry": {"registry"},
    "cryptography": {"auth"},
    "duckdb": {"engine"},
    "fastavro": {"codec"},
    "isal": {"parts"},
    "msal": {"auth"},
    "msgspec": {"lines"},
    "prometheus_client": {"metrics"},
    "pydantic": {"config"},
    "pydantic_settings": {"config"},
    "requests": {"transport"},
    "rich": {"console", "journal_view"},
    "structlog": {"telemetry"},
    "trustme": {"simulator"},
    "typer": {"cli"},
    "urllib3": {"connections"},
}
"""Which module may import which outside library. A library that is not here has no owner yet, and the test says so."""

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50


def _modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _room(module: str) -> str:
    """A folder (the simulator, the command line) is one room, whatever modules it has."""
    return module.split(".", maxsplit=1)[0]


def _imports(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Full names of the modules that a file imports, those under TYPE_CHECKING left out where `at_run_time`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                hidden.update(inner for statement in node.body for inner in ast.walk(statement))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


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


def test_modules_do_not_import_each_other_in_circles() -> None:
    """At run time the modules form layers: following imports never leads back."""
    modules = _modules()
    graph = {
        module: {
            other
            for name in _imports(path, at_run_time=True)
            for other in (name.removeprefix("connector."), name.removeprefix("connector.").rpartition(".")[0])
            if name.startswith("connector.") and other in modules and other != module
        }
        for module, path in modules.items()
    }
    finished: set[str] = set()

    def circle_from(module: str, trail: tuple[str, ...]) -> tuple[str, ...]:
        if module in trail:
            return (*trail[trail.index(module) :], module)
        if module in finished:
            return ()
        for other in sorted(graph[module]):
            if found := circle_from(other, (*trail, module)):
                return found
        finished.add(module)
        return ()

    assert [circle for module in graph if (circle := circle_from(module, ()))] == []


def test_the_simulator_is_an_extra_that_only_the_command_line_and_the_demo_know() -> None:
    """The connector runs without the simulator's libraries."""
    users = {
        module
        for module, path in _modules().items()
        if _room(module) != "simulator" and any(name.startswith("connector.simulator") for name in _imports(path))
    }
    assert users <= {"cli", "demo"}


@pytest.mark.parametrize("module", sorted(_modules()))
def test_rooms_stay_small_enough_to_read(module: str) -> None:
    """No module is longer than 400 lines and no function longer than 50."""
    text = _modules()[module].read_text(encoding="utf-8")
    long_functions = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert (text.count("\n") <= MODULE_LINES_MAX, long_functions) == (True, [])
