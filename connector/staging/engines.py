"""Which engine compares: the one place that knows more than one."""

from __future__ import annotations

from typing import Final

from connector.config import Config
from connector.diff.engines import Comparer
from connector.diff.engines.duckdb import DuckDBComparer
from connector.diff.engines.spark import SparkComparer

COMPARER: Final[Comparer] = DuckDBComparer()
"""The state file's own engine."""


def comparer_of(config: Config) -> Comparer:
    """The engine that a configuration names; Spark itself is started by its first comparison."""
    if config.engine.name == "duckdb":
        return COMPARER
    return SparkComparer(config.tables_path, config.engine.spark, first=COMPARER)
