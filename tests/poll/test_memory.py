"""One budget of memory for several tenants: who waits, for how long, and who comes next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from connector.errors import StateFull, Stopped
from connector.poll.memory import MemoryBudget, MemoryShare

LONG = 60.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for polls."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    ends = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def share(budget: MemoryBudget, tenant: str, mib: int, stop: threading.Event | None = None) -> MemoryShare:
    """A poll's share."""
    return budget.share(tenant, mib, seconds_max=LONG, stop=stop or threading.Event())


def waiter(pool: ThreadPoolExecutor, budget: MemoryBudget, tenant: str, mib: int, order: list[str]) -> Future[bool]:
    """A poll that waits in a thread of its own, and ends at once when it has its memory."""

    def poll() -> bool:
        with share(budget, tenant, mib) as memory:
            waited = memory.take()
            order.append(tenant)
            return waited

    future = pool.submit(poll)
    until(lambda: budget.waiting_seconds(tenant) > 0 or future.done())
    return future


def test_polls_that_fit_together_wait_for_nobody() -> None:
    """Memory is taken once for a poll, and given back at its end."""
    budget = MemoryBudget(300)
    with share(budget, "a", 100) as a, share(budget, "b", 200) as b:
        assert [a.take(), b.take(), a.take()] == [False] * 3
        with share(budget, "c", 300) as nothing_taken:
            assert nothing_taken is not None
    with share(budget, "d", 300) as whole:
        assert not whole.take()


def test_nobody_overtakes_whoever_waits_longest(pool: ThreadPoolExecutor) -> None:
    """A large poll gets its turn although small ones would fit before it; each tenant says how long it has waited."""
    budget, order = MemoryBudget(300), list[str]()
    with share(budget, "a", 200) as held:
        held.take()
        large = waiter(pool, budget, "large", 300, order)
        small = [waiter(pool, budget, f"small-{number}", 100, order) for number in range(2)]
        assert order == []
        # Asked from the shortest wait to the longest: time goes on between two questions.
        waits = [budget.waiting_seconds(tenant) for tenant in ("a", "small-1", "small-0", "large")]
        assert waits == sorted(waits)
        assert waits[1] > waits[0] == 0
    assert [future.result(LONG) for future in (large, *small)] == [True] * 3
    assert order[0] == "large"
    assert budget.waiting_seconds("large") == 0


def test_a_stop_ends_the_wait_and_the_next_in_line_goes_on(pool: ThreadPoolExecutor) -> None:
    """Stopped cleanly, without the memory; nothing of the budget is lost by it."""
    budget, order, stop = MemoryBudget(100), list[str](), threading.Event()
    with share(budget, "a", 100) as held:
        held.take()
        stopped = pool.submit(share(budget, "stopped", 100, stop).take)
        until(lambda: budget.waiting_seconds("stopped") > 0)
        behind = waiter(pool, budget, "behind", 100, order)
        stop.set()
        with pytest.raises(Stopped):
            stopped.result(LONG)
    assert behind.result(LONG)
    assert order == ["behind"]


def test_a_wait_has_an_end() -> None:
    """Beyond its limit the poll fails, to be tried again, and says what to raise."""
    budget = MemoryBudget(100)
    with share(budget, "a", 100) as held:
        held.take()
        with pytest.raises(StateFull, match="waited 0 s for 50 MiB") as failed:
            budget.share("b", 50, seconds_max=0, stop=threading.Event()).take()
    assert failed.value.retryable
    assert "state.memory_budget_mib" in failed.value.hint
    with share(budget, "b", 100) as later:
        assert not later.take()
