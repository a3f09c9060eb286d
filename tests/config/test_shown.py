"""The settings that apply, one by one: where each value comes from, and that no secret is among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connector import config
from connector.config.shown import SECRET, settings
from tests.support.configured import tables


def shown(environ: dict[str, str], **more: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Value and source of each key."""
    checked = config.from_values(tables(**more), environ, name="connector.toml")
    return {setting.key: (setting.value, setting.source) for setting in settings(checked, environ)}


def test_every_key_says_where_its_value_comes_from() -> None:
    """A variable, one that gives a whole table as JSON, the file, another key, or the default."""
    rows = shown(
        {
            "MDE_INVENTORY_POLL__INTERVAL_SECONDS": "7200",
            "MDE_INVENTORY_GUARD": '{"min_removed": 5}',
            "MDE_INVENTORY_KAFKA__CLIENT__LINGER_MS": "7",
            "OTHER": "1",
        },
        state={"path": "here/state.duckdb"},
    )
    assert {
        key: rows[key]
        for key in (
            "poll.interval_seconds",
            "guard.min_removed",
            "guard.max_removed_share",
            "kafka.client.linger.ms",
            "state.path",
            "source.api_url",
            "alerts.date_thresholds_days",
        )
    } == {
        "poll.interval_seconds": (7200, "environment"),
        "guard.min_removed": (5, "environment"),
        "guard.max_removed_share": (rows["guard.max_removed_share"][0], "default"),
        "kafka.client.linger.ms": (rows["kafka.client.linger.ms"][0], "environment"),
        "state.path": (str(Path("here/state.duckdb")), "file"),
        "source.api_url": ("https://api.security.microsoft.com", "derived"),
        "alerts.date_thresholds_days": ([90, 30, 7, 0], "default"),
    }


def test_no_secret_is_among_the_settings() -> None:
    """Neither of the login nor of the clients of Kafka and of the registry; that there is one is said."""
    rows = shown(
        {"MDE_INVENTORY_SOURCE__CLIENT_SECRET": "canary-1"},
        kafka={"client": {"bootstrap.servers": "broker:9093", "sasl.password": "canary-2"}},
        schema_registry={"url": "https://registry", "basic.auth.user.info": "user:canary-3"},
    )
    assert "canary" not in repr(rows)
    assert {key: rows[key] for key in rows if rows[key][0] == SECRET} == {
        "source.client_secret": (SECRET, "environment"),
        "kafka.client.sasl.password": (SECRET, "file"),
        "schema_registry.basic.auth.user.info": (SECRET, "file"),
    }
