"""Spark's session: how it is opened, and what its errors mean. Nothing else imports its libraries."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from connector.diff.engines.spark.dialect import REFUSED
from connector.errors import ConfigError, SnapshotError, SourceMalformed
from connector.telemetry import logger

log = logger(__name__)

SETTINGS: Final = {
    "spark.app.name": "mde-inventory-connector",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # A table of some hundred versions is described by little: one task reads that.
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.ui.showConsoleProgress": "false",
}
"""What a session is given where the configuration says nothing else."""

NEEDED: Final = {"spark.sql.session.timeZone": "UTC"}
"""What the meaning of a record depends on."""

JARS: Final = frozenset({"spark.jars", "spark.jars.packages"})
"""Either says where Delta Lake comes from; without one, the release of the Python package is asked for."""

MESSAGE_CHARACTERS_MAX: Final = 400
HINT: Final = "Nothing was staged; the next poll tries again. See the log of Spark's driver."


def open_session(settings: Mapping[str, Any]) -> Any:
    """The session of this process: the one that is there (Databricks, spark-submit), or another.

    Raises:
        ConfigError: the extra `spark` is not installed.
        SnapshotError: no session can be opened.
    """
    try:
        from delta import configure_spark_with_delta_pip
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigError(
            "engine.name is spark, and Spark is not installed",
            hint='Install the extra: pip install "mde-inventory-connector[spark]".',
        ) from error
    with translated(), _own_signals():
        session = SparkSession.getActiveSession()
        if session is None:
            builder = SparkSession.builder
            chosen = SETTINGS | {name: str(value) for name, value in settings.items()}
            for name, value in chosen.items():
                builder = builder.config(name, value)
            if not JARS & chosen.keys():
                builder = configure_spark_with_delta_pip(builder)
            session = builder.getOrCreate()
        for name, value in NEEDED.items():
            session.conf.set(name, value)
        log.info("Spark session", version=session.version, master=session.conf.get("spark.master", ""))
    return session


@contextmanager
def translated() -> Iterator[None]:
    """What goes wrong inside the block is one of our errors.

    Raises:
        SourceMalformed: a line was refused.
        SnapshotError: anything else that Spark failed at.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, OSError) as error:
        text = str(error)
        if (start := text.find(REFUSED)) >= 0:
            refusal = text[start:].splitlines()[0][:MESSAGE_CHARACTERS_MAX]
            raise SourceMalformed(f"a line cannot be read: {refusal}", hint="Nothing was staged.") from error
        raise SnapshotError(f"Spark failed: {_first_words(text)}", hint=HINT) from error


def _first_words(text: str) -> str:
    """What an error of the JVM says, without its frames."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("at ")]
    return " ".join(lines)[:MESSAGE_CHARACTERS_MAX]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Spark sets a handler of its own for SIGINT: the one that was there is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
