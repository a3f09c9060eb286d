"""A state file with a backlog, and a connector that has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.assembly import Assembly
from connector.kafka.mock import MockCluster
from connector.model import Topic
from tests.support import released


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A state file in which two snapshots are pending, the first of them published in part."""
    folder = tmp_path_factory.mktemp("staged")
    released.write(folder / "state.duckdb", folder / "parts")
    return (folder / "state.duckdb").read_bytes()


@pytest.fixture
def assembly(staged: bytes, tmp_path: Path) -> Iterator[Assembly]:
    """A connector with a copy of that file."""
    path = tmp_path / "state.duckdb"
    path.write_bytes(staged)
    with (
        MockCluster([topic.name_under("checks") for topic in Topic]) as cluster,
        released.connector(path, cluster.bootstrap_servers, "checks") as connector,
    ):
        yield connector
