"""Logs: what an operator reads of the connector.

Owns structlog and the set-up of the standard library's logging, through which requests, urllib3, msal and librdkafka
speak. Every line, whoever wrote it, passes one chain: named after the tenant whose thread wrote it, secrets removed,
control characters made visible, sizes limited. Must not decide what is worth a line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO, cast, get_args

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from connector.errors import ConfigError, ConnectorError
from connector.redaction import Redactor, Shown

LogFormat = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_ROOT: Final = "connector"
_HEAD: Final = ("timestamp", "level", "logger", "event")
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"

logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def logger(name: str) -> FilteringBoundLogger:
    """A logger: `log.info("event in plain words", key=value)`. Silent until `configure` is called.

    An exception goes in as `error=error` or `exc_info=error`; one of ours is shown as message and hint.
    """
    return cast(
        "FilteringBoundLogger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
            cache_logger_on_first_use=True,
        ),
    )


def configure(log_format: LogFormat, level: Level = "info", secrets: Iterable[str] = ()) -> None:
    """Write logs to stderr from now on. May be called again; the last call counts.

    Libraries are heard from `warning` on; at `debug` in full. What escapes a thread, or the program, is logged too: the
    interpreter's own report of it would show secrets.

    Args:
        log_format: `console` for people (colours on a terminal only), `json` for machines: one object a line.
        level: what is less important is not written.
        secrets: values to remove from everything that is written.

    Raises:
        ConfigError: an unknown format or level.
    """
    for name, given, allowed in (("format", log_format, LogFormat), ("level", level, Level)):
        if given not in get_args(allowed):
            raise ConfigError(f"log {name} {given!r}", hint=f"Allowed are {', '.join(get_args(allowed))}.")
    threshold = getattr(logging, level.upper())
    redactor = Redactor(secrets)
    render: Processor = _render_json if log_format == "json" else _Console(colours=_has_colours())
    chain: list[Processor] = [merge_contextvars, _Explain(redactor, debug=level == "debug"), _Clean(redactor), render]
    handler = _StderrHandler(redactor)
    handler.setFormatter(ProcessorFormatter(processors=chain, use_get_message=True))
    root = logging.getLogger()
    for former in [former for former in root.handlers if isinstance(former, _StderrHandler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(threshold if level == "debug" else max(threshold, logging.WARNING))
    logging.getLogger(_ROOT).setLevel(threshold)
    logging.captureWarnings(capture=True)
    _install_hooks()


@contextmanager
def tenant_named(tenant: str) -> Iterator[None]:
    """Every line that this thread writes in the block, a library's too, carries `tenant`.

    A thread that it starts does so where it runs in a copy of this one's context.
    """
    with bound_contextvars(tenant=tenant):
        yield


def without_secrets(value: object) -> Shown:
    """A value as logs would show it, for what is shown elsewhere: the secrets given to `configure` are removed."""
    configured = [handler.redactor for handler in logging.getLogger().handlers if isinstance(handler, _StderrHandler)]
    return (configured[0] if configured else Redactor()).value(value)


class _StderrHandler(logging.Handler):
    """Writes to whatever `sys.stderr` is at the moment, so that a progress bar may stand in for it."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. A line that cannot be made is named instead; a closed stderr leaves nobody to tell."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - foreign arguments are formatted here; their values must not be shown raw
            text = f"a log line of {record.name!r} could not be written: {type(error).__name__}"
        with suppress(OSError, ValueError):
            stream: TextIO = sys.stderr
            stream.write(text + "\n")
            stream.flush()


class _Explain:
    """Exceptions in words: ours as message and hint, with a traceback at debug only; foreign ones always with one."""

    def __init__(self, redactor: Redactor, *, debug: bool) -> None:
        self._redactor = redactor
        self._debug = debug

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        raised = _exception(event.pop("exc_info", None))
        if raised is not None:
            event.setdefault("error", raised)
        error = event.get("error")
        if isinstance(error, ConnectorError) and error.hint:
            event.setdefault("hint", error.hint)
        shown = raised if raised is not None else error
        if isinstance(shown, BaseException) and (self._debug or not isinstance(shown, ConnectorError)):
            event["traceback"] = self._redactor.lines("".join(traceback.format_exception(shown)).rstrip("\n"))
        return event


class _Clean:
    """Puts time, level, logger and event first, and passes everything through the redactor."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event.pop("_record")
        event.pop("_from_structlog", None)
        tracebacks = event.pop("traceback", None)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {
            "timestamp": now,
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event.pop("event", ""),
        }
        rest = {key: value for key, value in event.items() if key not in _HEAD}
        cleaned = {key: self._redactor.value(value) for key, value in head.items()}
        cleaned |= {self._redactor.line(key): self._redactor.item(key, value) for key, value in rest.items()}
        return {**cleaned, **({"traceback": tracebacks} if tracebacks else {})}


class _Console:
    """One line for people: time, level, logger, event, then `key=value`. A traceback follows, each line marked."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> str:
        tracebacks = event.pop("traceback", [])
        timestamp, level, name, words = (str(event.pop(key)) for key in _HEAD)
        pairs = [f"{self._coloured(f'{key}=', _DIM)}{_quoted(value)}" for key, value in event.items()]
        start = [self._coloured(timestamp, _DIM), self._coloured(f"{level:<7}", _COLOURS.get(level, _COLOURS["error"]))]
        first = " ".join([*start, self._coloured(name, _DIM), words, *pairs])
        return "\n".join([first, *(f"    | {line}" for line in tracebacks)])

    def _coloured(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text


def _quoted(value: Shown) -> str:
    """A value as it stands where it is one word, else quoted: a name with ` key=value` in it must stay one value."""
    if isinstance(value, str) and value and not any(mark.isspace() or mark in "\"'=" for mark in value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _render_json(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    lines: list[str] = event.pop("traceback", [])
    return json.dumps({**event, **({"traceback": "\n".join(lines)} if lines else {})}, ensure_ascii=False)


def _exception(given: Any) -> BaseException | None:  # noqa: ANN401 - whatever a caller gave as `exc_info`
    if isinstance(given, BaseException):
        return given
    raised = given if isinstance(given, tuple) else sys.exc_info() if given else (None, None, None)
    return cast("BaseException | None", raised[1])


def _has_colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Hooks:
    """The interpreter's reports of uncaught exceptions, as log lines. Another's hook is asked as well."""

    def __init__(self) -> None:
        self.program = sys.excepthook
        self.thread = threading.excepthook

    def report_program(self, kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
        """Stands in for `sys.excepthook`."""
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, place)
            return
        logger(_ROOT).error("an error was not caught", exc_info=error)
        if self.program is not sys.__excepthook__:
            self.program(kind, error, place)

    def report_thread(self, args: threading.ExceptHookArgs) -> None:
        """Stands in for `threading.excepthook`."""
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            logger(_ROOT).error("an error was not caught in a thread", exc_info=args.exc_value)
        if self.thread is not threading.__excepthook__:
            self.thread(args)


def _install_hooks() -> None:
    ours = getattr(sys.excepthook, "__self__", None), getattr(threading.excepthook, "__self__", None)
    if any(isinstance(hook, _Hooks) for hook in ours):
        return
    hooks = _Hooks()
    sys.excepthook = hooks.report_program
    threading.excepthook = hooks.report_thread
