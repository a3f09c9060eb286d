"""Logs, which operators read.

Sets up structlog and the standard library's logging, which requests, urllib3, msal and librdkafka use. Every line,
whoever wrote it, passes through one chain: labelled with the tenant whose thread wrote it, secrets removed, control
characters made visible, sizes limited.

structlog is imported with the first line that is written: a command that writes none does without.
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
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, cast, get_args

from connector.errors import ConfigError, ConnectorError
from connector.redaction import SECRET_CHARACTERS_MIN, JsonValue, Redactor

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LogFormat = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

_ROOT: Final = "connector"
_HEAD: Final = ("timestamp", "level", "logger", "event")
_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"
_TENANT: Final[ContextVar[str | None]] = ContextVar("tenant", default=None)

logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def logger(name: str) -> FilteringBoundLogger:
    """Create a logger: `log.info("event in plain words", key=value)`. It is silent until `configure` is called.

    Pass an exception as `error=error` or `exc_info=error`; one of ours is shown as message and hint.
    """
    return cast("FilteringBoundLogger", _LazyLogger(name))


class _LazyLogger:
    """The methods of structlog's logger, which is made with the first line that is not below the level."""

    def __init__(self, name: str) -> None:
        self._library = logging.getLogger(name)

    def debug(self, event: str, **values: object) -> None:
        """Log at `debug`."""
        self._log("debug", event, values)

    def info(self, event: str, **values: object) -> None:
        """Log at `info`."""
        self._log("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """Log at `warning`."""
        self._log("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        """Log at `error`."""
        self._log("error", event, values)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what else structlog's logger has: `exception`, `bind`
        return getattr(self._wrapped, name)

    def _log(self, level: Level, event: str, values: dict[str, object]) -> None:
        if self._library.isEnabledFor(getattr(logging, level.upper())):
            getattr(self._wrapped, level)(event, **values)

    @cached_property
    def _wrapped(self) -> FilteringBoundLogger:
        import structlog

        return cast(
            "FilteringBoundLogger",
            structlog.wrap_logger(
                self._library,
                processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
                wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
                cache_logger_on_first_use=True,
            ),
        )


def configure(log_format: LogFormat, level: Level = "info", secrets: Iterable[str] = ()) -> None:
    """Write logs to stderr from now on. May be called again; the last call counts.

    Libraries are logged from `warning` on, and in full at `debug`. Uncaught exceptions of threads and of the program
    are logged too, since the interpreter's own report would show secrets.

    Args:
        log_format: `console` for people (colours on a terminal only), `json` for machines: one object per line.
        level: the minimum level to log.
        secrets: values to remove from everything that is written.

    Raises:
        ConfigError: an unknown format or level.
    """
    for name, value, allowed in (("format", log_format, LogFormat), ("level", level, Level)):
        if value not in get_args(allowed):
            raise ConfigError(f"log {name} {value!r}", hint=f"Allowed are {', '.join(get_args(allowed))}.")
    threshold = getattr(logging, level.upper())
    secrets = list(secrets)
    redactor = Redactor(secrets)
    render: Processor = _render_json if log_format == "json" else _Console(colours=_use_colours())
    chain: list[Processor] = [_name_tenant, _Explain(redactor, debug=level == "debug"), _Clean(redactor), render]
    handler = _StderrHandler(redactor, is_json=log_format == "json")
    handler.setFormatter(_LazyFormatter(chain))
    root = logging.getLogger()
    for previous in [handler for handler in root.handlers if isinstance(handler, _StderrHandler)]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(threshold if level == "debug" else max(threshold, logging.WARNING))
    logging.getLogger(_ROOT).setLevel(threshold)
    logging.captureWarnings(capture=True)
    _install_hooks()
    if any(0 < len(secret) < SECRET_CHARACTERS_MIN for secret in secrets):
        logger(__name__).warning(
            f"a secret of fewer than {SECRET_CHARACTERS_MIN} characters cannot be kept out of logs; use a longer one"
        )


@contextmanager
def bind_tenant(tenant: str) -> Iterator[None]:
    """Label every line that this thread writes in the block, including those of libraries, with `tenant`.

    This holds for a thread that it starts only if that runs in a copy of this thread's context.
    """
    token = _TENANT.set(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)


def remove_secrets(value: object) -> JsonValue:
    """Redact a value as logs do, to show it elsewhere: the secrets given to `configure` are removed."""
    configured = _configured()
    return (configured.redactor if configured else Redactor()).value(value)


def writes_json() -> bool:
    """Whether the log is JSON, so that whatever else goes to stderr must be too."""
    configured = _configured()
    return configured is not None and configured.is_json


def announce(text: str) -> None:
    """Write a text to the log whatever its level: instructions without which nothing goes on."""
    root = logging.getLogger(_ROOT)
    root.handle(root.makeRecord(_ROOT, logging.INFO, __file__, 0, text, (), None))


def _configured() -> _StderrHandler | None:
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, _StderrHandler)]
    return handlers[0] if handlers else None


class _StderrHandler(logging.Handler):
    """Writes to whatever `sys.stderr` is at that moment, since a progress bar may replace it."""

    def __init__(self, redactor: Redactor, *, is_json: bool) -> None:
        super().__init__()
        self.redactor = redactor
        self.is_json = is_json

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. If it cannot be formatted, a line that says so is written; a closed stderr is ignored."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - foreign arguments are formatted here; their values must not be shown raw
            text = f"a log line of {record.name!r} could not be written: {type(error).__name__}"
        with suppress(OSError, ValueError):
            stream: TextIO = sys.stderr
            stream.write(text + "\n")
            stream.flush()


class _LazyFormatter(logging.Formatter):
    """structlog's formatter, made with the first line."""

    def __init__(self, chain: list[Processor]) -> None:
        super().__init__()
        self._chain = chain

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        return self._wrapped.format(record)

    @cached_property
    def _wrapped(self) -> logging.Formatter:
        from structlog.stdlib import ProcessorFormatter

        return ProcessorFormatter(processors=self._chain, use_get_message=True)


def _name_tenant(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Labels a line with the tenant whose thread wrote it."""
    tenant = _TENANT.get()
    return event if tenant is None else {"tenant": tenant, **event}


class _Explain:
    """Renders exceptions: ours as message and hint, with a traceback at debug only; foreign ones always with one."""

    def __init__(self, redactor: Redactor, *, debug: bool) -> None:
        self._redactor = redactor
        self._debug = debug

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        raised = _find_exception(event.pop("exc_info", None))
        if raised is not None:
            event.setdefault("error", raised)
        error = event.get("error")
        if isinstance(error, ConnectorError) and error.hint:
            event.setdefault("hint", error.hint)
        exception = raised if raised is not None else error
        if isinstance(exception, BaseException) and (self._debug or not isinstance(exception, ConnectorError)):
            text = "".join(traceback.format_exception(exception)).rstrip("\n")
            event["traceback"] = self._redactor.lines(text)
        return event


class _Clean:
    """Puts time, level, logger and event first, and redacts everything."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event.pop("_record")
        event.pop("_from_structlog", None)
        traceback_lines = event.pop("traceback", None)
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
        return {**cleaned, **({"traceback": traceback_lines} if traceback_lines else {})}


class _Console:
    """Renders one line for people: time, level, logger, event, then `key=value`; then any traceback, line by line."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> str:
        traceback_lines = event.pop("traceback", [])
        timestamp, level, name, message = (str(event.pop(key)) for key in _HEAD)
        pairs = [f"{self._colour(f'{key}=', _DIM)}{_quote(value)}" for key, value in event.items()]
        start = [self._colour(timestamp, _DIM), self._colour(f"{level:<7}", _COLOURS.get(level, _COLOURS["error"]))]
        first = " ".join([*start, self._colour(name, _DIM), message, *pairs])
        return "\n".join([first, *(f"    | {line}" for line in traceback_lines)])

    def _colour(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text


def _quote(value: JsonValue) -> str:
    """Quote a value unless it is a single word: a name that contains ` key=value` must remain one value."""
    if isinstance(value, str) and value and not any(character.isspace() or character in "\"'=" for character in value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _render_json(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    lines: list[str] = event.pop("traceback", [])
    return json.dumps({**event, **({"traceback": "\n".join(lines)} if lines else {})}, ensure_ascii=False)


def _find_exception(exc_info: Any) -> BaseException | None:  # noqa: ANN401 - whatever a caller passes as `exc_info`
    if isinstance(exc_info, BaseException):
        return exc_info
    current = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else (None, None, None)
    return cast("BaseException | None", current[1])


def _use_colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Hooks:
    """Logs uncaught exceptions instead of the interpreter's report; hooks installed by others are still called."""

    def __init__(self) -> None:
        self.program = sys.excepthook
        self.thread = threading.excepthook

    def report_program(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Replaces `sys.excepthook`."""
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        logger(_ROOT).error("uncaught exception", exc_info=error)
        if self.program is not sys.__excepthook__:
            self.program(kind, error, trace)

    def report_thread(self, args: threading.ExceptHookArgs) -> None:
        """Replaces `threading.excepthook`."""
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            logger(_ROOT).error("uncaught exception in a thread", exc_info=args.exc_value)
        if self.thread is not threading.__excepthook__:
            self.thread(args)


def _install_hooks() -> None:
    ours = getattr(sys.excepthook, "__self__", None), getattr(threading.excepthook, "__self__", None)
    if any(isinstance(hook, _Hooks) for hook in ours):
        return
    hooks = _Hooks()
    sys.excepthook = hooks.report_program
    threading.excepthook = hooks.report_thread
