"""Reading beside a poll: another process has the file, a page takes too long, many pages are asked for at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from connector.errors import StateError
from connector.state.state import StateFile
from connector.web.visits import Visit, Visits
from tests.support.bench import Bench
from tests.support.console import assembly_of, line
from tests.web.conftest import Opens

HOLDER = (
    "import sys; from pathlib import Path; from connector.state.state import StateFile;"
    " state = StateFile.open(Path(sys.argv[1]), memory_limit_mib=256, threads=1); print('held', flush=True);"
    " sys.stdin.read()"
)


@contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    """The state file is open for writing in a process of its own, as during a poll."""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": root},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file of one snapshot."""
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([line("a", "7")]))
        return bench.path


def _give(facts: dict[str, Any], _visit: Visit) -> dict[str, Any]:
    """A view of what is given."""
    return facts


def test_a_poll_that_has_the_file_is_a_normal_state(serve: Opens, path: Path) -> None:
    """What is known is shown with its time; what is not, is a page that says busy, 503, and when to ask again."""
    client = serve(path)
    before = client.ask("/devices").text
    with held_by_another_process(path):
        known, as_json = client.ask("/devices"), client.ask("/devices.json")
        assert (known.status, "as of 2026-11-24 04:00 UTC" in known.text, "a.x" in known.text) == (200, True, True)
        assert (as_json.status, as_json.json["busy"], as_json.json["as_of_time"]) == (200, True, "2026-11-24T04:00:00Z")
        for unknown in (client.ask("/changes"), client.ask("/exposure.csv"), client.ask("/products.json")):
            assert (unknown.status, unknown.headers["Retry-After"]) == (503, "5")
            assert "Traceback" not in unknown.text
        assert "normal state" in client.ask("/changes").text
        assert client.ask("/products.json").json["busy"] is True
    assert client.ask("/devices").text == before
    assert client.ask("/changes").status == 200


def test_a_file_that_is_missing_or_none_of_ours_is_a_page(serve: Opens, tmp_path: Path) -> None:
    """With what is wrong and what to do, and no traceback."""
    missing = serve(tmp_path / "missing.duckdb").ask("/overview.json")
    (tmp_path / "other.duckdb").write_bytes(b"x" * 5_000)
    other = serve(tmp_path / "other.duckdb").ask("/overview.json")
    assert (missing.status, bool(missing.json["hint"])) == (404, True)
    assert (other.status, bool(other.json["hint"])) == (503, True)


def test_a_visit_ends_in_time(path: Path) -> None:
    """A statement that takes longer is interrupted, and the file is free again at once."""

    def slow(visit: Visit) -> dict[str, Any]:
        statement = "SELECT count(*) FROM range(100_000_000) a, range(100_000) b WHERE a.range % 7 = b.range % 3"
        return {"number": visit.state.database.number(statement)}

    def slow_blocks(visit: Visit) -> dict[str, Any]:
        statement = "SELECT sum(a.range * b.range) FROM range(100_000_000) a, range(100_000) b"
        return {"blocks": list(visit.state.database.blocks(statement, [], 10))}

    visits = Visits(assembly_of(path), pause_seconds=0.0, seconds_max=0.2)
    for view in (slow, slow_blocks):
        with pytest.raises(StateError, match=r"longer than 0\.2 s"):
            visits.answer("/slow", view)
    assert visits.answer("/quick", lambda visit: {"rows": visit.state.database.number("SELECT 1")}).facts == {"rows": 1}


def test_between_two_visits_a_poll_gets_the_file(path: Path) -> None:
    """The pause is longer than a poll waits between two looks."""
    visits = Visits(assembly_of(path), pause_seconds=0.3)
    ends = []
    for _ in range(3):
        visits.answer("/page", lambda _: {})
        ends.append(monotonic())
    assert min(later - earlier for earlier, later in pairwise(ends)) >= 0.3


def test_what_is_remembered_is_limited(path: Path) -> None:
    """The pages that were read last are known while a poll has the file, and older ones are forgotten."""
    visits = Visits(assembly_of(path), pause_seconds=0.0)
    for number in range(40):
        facts = {"number": number}
        visits.answer(f"/{number}", partial(_give, facts))
    with held_by_another_process(path):
        assert visits.answer("/39", lambda _: {}).facts == {"number": 39}
        with pytest.raises(StateError, match=r"has .* open"):
            visits.answer("/0", lambda _: {})


def test_what_took_long_is_read_once_while_the_file_is_as_it_was(path: Path) -> None:
    """And again once the file has changed, or a decision was made; what is quick is read each time."""
    slow, quick = Visits(assembly_of(path), pause_seconds=0.0, slow_seconds=-1.0), Visits(assembly_of(path))
    calls: list[int] = []

    def view(_: Visit) -> dict[str, Any]:
        calls.append(1)
        return {"call": len(calls)}

    answers = [slow.answer(address, view).facts["call"] for address in ("/a", "/a", "/b", "/a")]
    assert (answers, slow.answer("/a", view).busy) == ([1, 1, 2, 1], False)
    with StateFile.open(path, memory_limit_mib=256) as state:
        state.database.rows("INSERT INTO meta VALUES ('x', 'y')")
    assert [slow.answer("/a", view).facts["call"] for _ in range(2)] == [3, 3]
    slow.decide(lambda _: {})
    assert slow.answer("/a", view).facts["call"] == 4
    assert [quick.answer("/a", view).facts["call"] for _ in range(2)] == [5, 6]


def test_many_requests_at_once_are_answered_or_asked_to_come_again(serve: Opens, path: Path) -> None:
    """A crawler of forty pages gets each of them, or 503; none fails in another way."""
    client = serve(path, pause_seconds=0.02)
    with ThreadPoolExecutor(40) as pool:
        statuses = list(pool.map(lambda number: client.ask(f"/changes?limit={number}").status, range(1, 41)))
    assert {*statuses} <= {200, 503}
    assert statuses.count(200) >= 16
    assert client.ask("/overview").status == 200
