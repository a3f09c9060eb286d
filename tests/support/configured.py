"""The smallest configuration that is valid, and the rules that come of it: the defaults, from where they stand."""

from __future__ import annotations

from functools import cache
from typing import Any

from connector.config import Config, from_values
from connector.staging.stage import StagingRules

SECRET = "canary-secret-4711"


def tables(**changed: dict[str, Any]) -> dict[str, Any]:
    """The smallest configuration, with keys changed, or taken out where None."""
    least: dict[str, dict[str, Any]] = {
        "source": {"tenant_id": "contoso.example", "client_id": "app", "client_secret": SECRET},
        "kafka": {"client": {"bootstrap.servers": "localhost:9092"}},
        "schema_registry": {"url": "http://localhost:8081"},
    }
    for table, keys in changed.items():
        merged = {**least.get(table, {}), **keys}
        least[table] = {key: value for key, value in merged.items() if value is not None}
    return least


def config_of(environ: dict[str, str] | None = None, **changed: dict[str, Any]) -> Config:
    """That configuration, checked."""
    return from_values(tables(**changed), environ or {}, name="connector.toml")


@cache
def default_rules() -> StagingRules:
    """The rules of a configuration that sets none."""
    return StagingRules.of(config_of())
