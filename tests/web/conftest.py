"""Consoles over real state files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from connector.config import ConsoleConfig
from connector.web import Console
from connector.web.visits import Visits
from tests.support.console import Client, assembly_of, write_empty, write_lived_in

Opens = Callable[..., Client]


@pytest.fixture(scope="module")
def serve() -> Iterator[Opens]:
    """Serves a state file on a free port, without the pause between two visits."""
    with ExitStack() as stack:

        def serve(path: Path, *, allow_decisions: bool = False, **limits: float) -> Client:
            visits = partial(Visits, **({"pause_seconds": 0.0} | limits))  # type: ignore[arg-type]
            settings = ConsoleConfig(listen="127.0.0.1:0", allow_decisions=allow_decisions)
            console = Console(stack.enter_context(assembly_of(path)), settings, visits=visits)
            return Client(stack.enter_context(console))

        yield serve


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state file with an upgrade, an arrival, one that stays exposed, and hostile names."""
    return write_lived_in(tmp_path_factory.mktemp("lived in"))


@pytest.fixture(scope="module")
def client(serve: Opens, lived_in: Path) -> Client:
    """A console over that file."""
    return serve(lived_in)


@pytest.fixture(scope="module")
def empty_client(serve: Opens, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A console over a state file without a snapshot."""
    return serve(write_empty(tmp_path_factory.mktemp("empty")))
