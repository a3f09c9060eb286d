"""The tests of what operators deploy: slow, with tools of their own, and therefore no part of `make test`.

They are collected only where the command line names this folder, as `make test-deploy` does. A test asks for an outside
tool with `tool("helm")`. Where it cannot be had the test is skipped, and the run ends with a list of what was therefore
not proven; with MDE_TEST_REQUIRE_DEPLOY=1 it fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support import deploy_tools
from tests.support.broker import Missing, unpacked
from tests.support.collecting import leave_out

HERE = Path(__file__).parent
REQUIRE_VARIABLE = "MDE_TEST_REQUIRE_DEPLOY"
UNPROVEN: dict[str, str] = {}
"""The tests that had no tool, with the reason."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of a run that does not name it."""
    return leave_out(HERE, collection_path, config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is marked `deploy`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("deploy")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of several reports what it could not prove to the session that prints the summary."""
    if (report := getattr(session.config, "workeroutput", None)) is not None:
        report["deploy"] = UNPROVEN


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Add what a worker reported."""
    UNPROVEN.update(getattr(node, "workeroutput", {}).get("deploy", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not proven."""
    if not UNPROVEN:
        return
    terminalreporter.section(f"NOT PROVEN: {len(UNPROVEN)} tests of deploy/ had no tool", sep="!", red=True)
    for reason in sorted(set(UNPROVEN.values())):
        terminalreporter.write_line(f"because: {reason}")
    for test in sorted(UNPROVEN):
        terminalreporter.write_line(f"  not proven: {test}")
    terminalreporter.write_line(f"`make deploy-tools` fetches the tools; {REQUIRE_VARIABLE}=1 makes this a failure.")


def _without(request: pytest.FixtureRequest, error: Missing) -> NoReturn:
    """Skip the test, or fail it where everything is required."""
    if os.environ.get(REQUIRE_VARIABLE, "") not in ("", "0"):
        pytest.fail(f"a tool is required here, and missing: {error}", pytrace=False)
    UNPROVEN[request.node.nodeid] = str(error).splitlines()[0]
    pytest.skip(str(error).splitlines()[0])


def _finder(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    return partial(_had(request), deploy_tools.tool)


def _had(request: pytest.FixtureRequest) -> Callable[..., Any]:
    def have(take: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return take(*arguments)
        except Missing as error:
            _without(request, error)

    return have


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """`tool("helm")`: the path of an outside tool, of `deploy_tools.TOOLS` or installed on this machine."""
    return _finder(request)


@pytest.fixture(scope="module")
def module_tool(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """The same, for what a module makes once."""
    return _finder(request)


@pytest.fixture(scope="module")
def had(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`had(take, argument)`: what taking something gives; where it cannot be had, as for a tool."""
    return _had(request)


@pytest.fixture
def connect_libraries(request: pytest.FixtureRequest) -> Path:
    """The jars of a Kafka Connect worker, from Maven Central."""
    try:
        return unpacked("connect")
    except Missing as error:
        _without(request, error)
