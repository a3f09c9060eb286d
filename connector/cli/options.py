"""What verbs share: common options, the configuration behind them, signals, and how checks and errors are shown."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, cast

import typer

from connector import telemetry
from connector.assembly import Assembly
from connector.cli import output
from connector.errors import ConnectorError, ProgramFault, Stopped
from connector.model import Check
from connector.operations.causes import by_cause, check_as_json
from connector.service.signals import SIGNAL_EXIT_CODES, heeded_signals
from connector.source.progress import Progress

if TYPE_CHECKING:
    from connector.config import Config
    from connector.config.tenants import Tenant

log = telemetry.logger(__name__)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for a poll to close the state file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


TENANTS_AT_ONCE_MAX: Final = 8
"""So many tenants are asked side by side; each has its sessions and, for the state file, its threads."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the verb: files, folders of files, and the tenant among them that is meant, where one is."""

    config_files: tuple[Path, ...]
    log_format: telemetry.LogFormat
    log_level: telemetry.Level
    tenant: str = ""

    def config_file(self) -> Path:
        """The only configuration file."""
        from connector.config import tenants

        return tenants.only(self._files())

    def _files(self) -> Sequence[Path]:
        from connector.config import tenants

        return [tenants.named(self.config_files, self.tenant)] if self.tenant else self.config_files

    def config(self) -> Config:
        """The only configuration, read and checked; from here on logs hide its secrets."""
        from connector import config

        loaded = config.load(self.config_file())
        telemetry.configure(self.log_format, self.log_level, loaded.secrets)
        return loaded

    def tenants(self) -> list[Tenant]:
        """All configurations, read and checked; from here on logs hide their secrets."""
        from connector.config import tenants

        loaded = tenants.load(self._files())
        secrets = [secret for tenant in loaded for secret in tenant.config.secrets]
        telemetry.configure(self.log_format, self.log_level, secrets)
        return loaded

    def hider(self, secrets: Iterable[str]) -> Callable[[Iterable[str]], None]:
        """A function that hides further secrets from the logs, beside those that are hidden already."""
        hidden = {*secrets}

        def hide(further: Iterable[str]) -> None:
            hidden.update(further)
            telemetry.configure(self.log_format, self.log_level, hidden)

        return hide

    def for_each_tenant(
        self, ask: Callable[[Tenant, Assembly], Answer], show: Callable[[Tenant, Answer], int], *, heading: bool = True
    ) -> int:
        """Ask for each tenant, and show its answer. Returns the highest exit code.

        Several are asked side by side, and shown in their order: most of the time is waiting for their answers. What
        one of them fails with is shown in its place, and stops no other.

        Args:
            ask: answers for a tenant, in a thread of its own where there are several.
            show: prints an answer; returns its exit code.
            heading: whether each of several has its name above it.
        """
        configured = self.tenants()
        if len(configured) == 1:
            with self._assembly_of(configured[0]) as assembly:
                return show(configured[0], ask(configured[0], assembly))

        def answer(tenant: Tenant) -> Answer:
            with telemetry.bind_tenant(tenant.name), self._assembly_of(tenant) as assembly:
                given = ask(tenant, assembly)
                # The parts that give an answer one by one are closed when this returns.
                return cast("Answer", list(given)) if isinstance(given, Iterator) else given

        exit_codes = []
        with ThreadPoolExecutor(TENANTS_AT_ONCE_MAX, thread_name_prefix="tenant") as pool:
            answers = [pool.submit(answer, tenant) for tenant in configured]
            for tenant, asked in zip(configured, answers, strict=True):
                if heading:
                    output.print_rule(f"{tenant.name}  {tenant.file}")
                try:
                    exit_codes.append(show(tenant, asked.result()))
                except ConnectorError as error:
                    show_error(error)
                    exit_codes.append(error.exit_code)
        return max(exit_codes)

    def has_several(self) -> bool:
        """Whether there are several configurations."""
        from connector.config import tenants

        return len(tenants.files(self._files())) > 1

    def _assembly_of(self, tenant: Tenant) -> Assembly:
        return Assembly(tenant.config, prompt=output.print_notice, rejected=tenant.rejected)

    def assembly(self, progress: Progress | None = None) -> Assembly:
        """The parts of the connector that the configuration describes."""
        return Assembly(self.config(), progress=progress, prompt=output.print_notice)


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """The first SIGTERM, SIGINT or SIGHUP sets `stop`; a second one ends the process as usual.

    What the block leaves undone for it ends the verb with the exit code of that signal, as shells give it: 143, 130 or
    129. A block that comes to its end all the same has its usual exit code. A SIGHUP that is ignored, as `nohup` does
    it, stays so.
    """
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in heeded_signals()}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        stop.set()
        restore()

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield
    except Stopped as error:
        if not received:
            raise
        output.print_notice(str(error))
        raise typer.Exit(SIGNAL_EXIT_CODES + received[0]) from error
    finally:
        restore()


def show_error(error: ConnectorError) -> None:
    """Show an error and its hint on stderr, without secrets: for people, or as a line of the JSON log.

    Of a bug, the JSON log has the traceback too; the console has it at debug.
    """
    cause = error.__cause__ if isinstance(error, ProgramFault) else None
    if telemetry.writes_json():
        text = "; ".join(line.strip() for line in str(error).splitlines())
        log.error(text, hint=error.hint, exit_code=error.exit_code, exc_info=cause)
        return
    message = "\n".join(str(telemetry.remove_secrets(line)) for line in str(error).splitlines())
    output.print_failure(message, error.hint)
    if cause is not None:
        log.debug("the traceback of that error", exc_info=cause)


def show_checks(checks: Iterable[Check], *, as_json: bool = False, tenant: str = "") -> int:
    """Print each check as soon as it is made. Returns the exit code: 0 where all are well, else the highest one.

    Args:
        checks: to be made.
        as_json: every finding as an object on its own line; for people, those that share a cause are one line.
        tenant: stands in each object.
    """
    exit_code = 0
    for check in checks if as_json else by_cause(checks):
        if as_json:
            output.print_json({"tenant": tenant, **check_as_json(check)})
        else:
            output.print_check(check)
        exit_code = exit_code if check.fine else max(exit_code, check.exit_code)
    return exit_code
