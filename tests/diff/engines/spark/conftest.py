"""The tests of the engine on Spark: slow to start, with a lock of their own, and therefore no part of `make test`.

They are collected only where the command line names this folder, as `make test-spark` does, and there nothing is
skipped: without Java, Spark or Delta Lake they fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.collecting import leave_out
from tests.support.sparking import session

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of a run that does not name it."""
    return leave_out(HERE, collection_path, config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is marked `spark`, and may take as long as a busy machine makes it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("spark")
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One session for all tests: starting it takes longer than most of them."""
    opened = session(tmp_path_factory.mktemp("spark"))
    yield opened
    opened.stop()
