"""The files that come with the connector, and the example filled in."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from connector.config import shipped
from connector.errors import ConfigError

DEPLOY = Path(__file__).parents[2] / "deploy"
CHOSEN: dict[str, dict[str, Any]] = {
    "source": {"tenant_id": "contoso.example", "client_secret": 'q"\\', "allowed_hosts": ["127.0.0.1"]},
    "kafka.client": {"bootstrap.servers": "k:9092", "sasl.username": "ü"},
    "schema_registry": {"url": "http://r:8081"},
}


@pytest.mark.parametrize("name", [shipped.EXAMPLE, shipped.UNIT])
def test_the_files_of_deploy_come_with_the_connector(name: str) -> None:
    """In a checkout they are those of `deploy/`; the wheel has copies of them."""
    assert shipped.read(name) == (DEPLOY / name).read_text(encoding="utf-8")
    assert f'"deploy/{name}" = "connector/deploy/{name}"' in (DEPLOY.parent / "pyproject.toml").read_text()


def test_the_example_filled_in_differs_in_what_was_chosen() -> None:
    """Every other key keeps its value, and every key its comment; nothing that was chosen is left to CHANGE."""
    example = shipped.read(shipped.EXAMPLE)
    filled = shipped.fill_in(example, CHOSEN)
    expected = tomllib.loads(example)
    expected["source"] |= CHOSEN["source"]
    expected["kafka"]["client"] |= CHOSEN["kafka.client"]
    expected["schema_registry"] |= CHOSEN["schema_registry"]
    assert tomllib.loads(filled) == expected
    assert "Microsoft Entra tenant, its GUID or one of its domains.\ntenant_id" in filled
    assert re.findall(r"CHANGE\n(\S+) = ", filled) == ["client_id"]


def test_a_value_that_the_example_has_no_key_for_is_refused() -> None:
    """Nothing is left out silently."""
    with pytest.raises(ConfigError, match=r"source\.tenant"):
        shipped.fill_in(shipped.read(shipped.EXAMPLE), {"source": {"tenant": "x"}})


def test_a_file_that_is_missing_is_an_error_with_a_hint() -> None:
    """The installation is damaged."""
    with pytest.raises(ConfigError, match="cannot be read"):
        shipped.read("none.toml")
