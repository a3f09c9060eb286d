"""The verbs around a poll: `check`, `setup`, `poll`, `run`, `status`, `tail`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.assembly import Assembly
from connector.cli import output
from connector.cli.lines.dry_run import LIMIT_ON_A_TERMINAL, DryRunLines
from connector.cli.options import Json, show_checks, show_error, stopped_by_signals
from connector.cli.streams import until_the_reader_leaves
from connector.clock import utc_now
from connector.errors import ConfigError, OutputError
from connector.model import Check, Topic
from connector.state.publisher_lock import PublisherLock
from connector.wording import counted

if TYPE_CHECKING:
    from connector.config import Config
    from connector.config.tenants import Tenant
    from connector.operations.run import CurrentParts
    from connector.poll.memory import MemoryBudget
    from connector.poll.result import PollResult
    from connector.service.polls import Polled
    from connector.service.state_watch import StateWatcher


def check(context: typer.Context, as_json: Json = False) -> None:
    """Check configuration, token, permission, API, topics and schema registry; failures come with a hint."""
    from connector.operations.check import check_everything

    raise typer.Exit(
        context.obj.for_each_tenant(
            lambda tenant, assembly: check_everything(assembly, tenant.file),
            lambda tenant, checks: show_checks(checks, as_json=as_json, tenant=tenant.name),
            heading=not as_json,
        )
    )


def setup(
    context: typer.Context,
    replay_topic: Annotated[
        str, typer.Option(metavar="TOPIC", help="Also create this topic for `replay --topic`, with its schema.")
    ] = "",
) -> None:
    """Create the topics with the right settings and register the schemas; safe to rerun."""
    from connector.operations.setup import set_up, set_up_replay_topic

    def made(_tenant: Tenant, assembly: Assembly) -> Iterator[Check]:
        yield from set_up(assembly)
        if replay_topic:
            yield from set_up_replay_topic(assembly, replay_topic)

    raise typer.Exit(context.obj.for_each_tenant(made, lambda _tenant, checks: show_checks(checks)))


def poll(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes; write and publish nothing.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Changes and alerts of a dry run to show; all unless stdout is a terminal."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Poll once: fetch the export, stage what changed, publish it."""
    exit_code = 0
    unwritten: OutputError | None = None
    with ExitStack() as stack:
        assembly = stack.enter_context(context.obj.assembly(output.FetchProgress()))
        stack.enter_context(stopped_by_signals(assembly.stop))
        if not dry_run:
            stack.enter_context(assembly.publisher_lock("poll"))
        lines = DryRunLines(limit or (LIMIT_ON_A_TERMINAL if sys.stdout.isatty() else None))
        show = None if as_json else lines.show
        pipeline = assembly.pipeline
        for result in pipeline.dry_run(show) if dry_run else pipeline.poll(folds=as_json):
            try:
                lines.end(result.campaigns)
                if as_json:
                    output.print_json(result.as_json())
                else:
                    output.print_poll(result)
            except OutputError as error:
                unwritten = error  # the poll is what counts: it goes on to its end
            if result.outage:
                show_error(result.outage)
            exit_code = max(exit_code, result.exit_code)
    if unwritten:
        show_error(unwritten)
        exit_code = exit_code or unwritten.exit_code
    raise typer.Exit(exit_code)


def run(
    context: typer.Context,
    keep_answering: Annotated[
        bool,
        typer.Option("--keep-answering", help="After polling has ended, for instance fenced, answer until stopped."),
    ] = False,
) -> None:
    """Poll until stopped, one tenant or several, with health and metrics over HTTP; SIGTERM finishes cleanly."""
    from connector.cli.console import served_beside_polls
    from connector.config.tenants import console_of, listen_of, memory_budget_of
    from connector.operations.run import CurrentParts, take_locks
    from connector.poll.memory import MemoryBudget
    from connector.service.metrics import Metrics
    from connector.service.service import Service

    configured, stop = context.obj.tenants(), threading.Event()
    budget = MemoryBudget(total) if (total := memory_budget_of(configured)) else None
    with ExitStack() as stack:

        def make(tenant: Tenant, config: Config) -> Assembly:
            seconds, mib = config.poll.interval_seconds, config.state.memory_limit_mib
            memory = partial(budget.share, tenant.name, mib, seconds_max=seconds, stop=stop) if budget else None
            return Assembly(config, prompt=output.print_notice, stop=stop, rejected=tenant.rejected, memory=memory)

        assemblies = [stack.enter_context(make(tenant, tenant.config)) for tenant in configured]
        locks = take_locks(assemblies, stack)
        hide = context.obj.hider(secret for tenant in configured for secret in tenant.config.secrets)
        current = [
            CurrentParts(tenant.file, assembly, partial(make, tenant), hide)
            for tenant, assembly in zip(configured, assemblies, strict=True)
        ]
        for parts in current:
            stack.callback(parts.close)
        watchers = [assembly.state_watcher() for assembly in assemblies]
        polled = [_polled(*each, budget) for each in zip(configured, current, watchers, locks, strict=True)]
        named = {tenant.name: assembly for tenant, assembly in zip(configured, assemblies, strict=True)}
        stack.enter_context(served_beside_polls(named, console_of(configured)))
        service = Service(
            polled, listen=listen_of(configured), metrics=Metrics(), stop=stop, keep_answering=keep_answering
        )
        raise typer.Exit(service.run())


def _polled(
    tenant: Tenant, current: CurrentParts, watcher: StateWatcher, lock: PublisherLock, budget: MemoryBudget | None
) -> Polled:
    """A tenant as `run` polls it; its first poll creates its parts, so that a fault in them stops no other tenant."""
    from connector.service.polls import Polled

    def poll() -> Iterable[PollResult]:
        lock.renew()
        return current().pipeline.poll()

    waiting = partial(budget.waiting_seconds, tenant.name) if budget else None
    return Polled(tenant.name, poll, tenant.config.poll.interval_seconds, watcher, lock.release, waiting)


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show the last snapshots, the backlog, what is held and the age of the data."""
    from connector.operations.status import read_status

    def read(_tenant: Tenant, assembly: Assembly) -> dict[str, Any]:
        with assembly.read_state() as state:
            return read_status(assembly, state, at=utc_now())

    several = context.obj.has_several()
    answers: dict[str, dict[str, Any]] = {}

    def show(tenant: Tenant, answer: dict[str, Any]) -> int:
        if as_json:
            output.print_json({"tenant": tenant.name, **answer} if several else answer)
        elif several:
            answers[tenant.name] = answer
        else:
            output.print_status(answer)
        return 0

    exit_code = context.obj.for_each_tenant(read, show, heading=False)
    if answers:
        output.print_tenants(answers)
    raise typer.Exit(exit_code)


def tail(
    context: typer.Context,
    topic: Annotated[
        str, typer.Option(help="changes, alerts, snapshots, checkpoints, inventory, or the full name of a topic.")
    ] = (Topic.CHANGES.value),
    begin: Annotated[str, typer.Option("--from", metavar="beginning|end", help="Where to start.")] = "end",
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Stop after this many messages.")] = None,
    as_json: Json = False,
) -> None:
    """Print the decoded messages of a topic as they arrive (read_committed)."""
    if begin not in ("beginning", "end"):
        raise ConfigError(f"--from {begin}: must be beginning or end", hint="The default is end.")
    with context.obj.assembly() as assembly, until_the_reader_leaves():
        name = assembly.topic(Topic(topic)) if topic in list(Topic) else topic
        where = "its beginning" if begin == "beginning" else "now on; --from beginning shows earlier messages too"
        end = "messages until Ctrl-C" if limit is None else f"{counted(limit, 'message')}, or Ctrl-C"
        output.print_notice(f"reading {name} from {where}; waiting for {end}")
        for message in assembly.reader().follow(name, from_beginning=begin == "beginning", limit=limit):
            value = None if message.value is None else assembly.messages.decode(message.value)
            if as_json:
                output.print_json(message.place | {"value": value})
            else:
                output.print_message(message.place, value)
            sys.stdout.flush()
