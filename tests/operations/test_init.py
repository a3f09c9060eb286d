"""Writing a first configuration."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.operations.init import check_absent, write_configuration


def test_a_configuration_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, with the values that were chosen."""
    file = tmp_path / "connector.toml"
    write_configuration(file, {"source": {"tenant_id": "contoso.example"}})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tomllib.loads(file.read_text(encoding="utf-8"))["source"]["tenant_id"] == "contoso.example"


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_there_is_left_as_it_is(is_link: bool, tmp_path: Path) -> None:
    """A file, or a link that leads nowhere."""
    file = tmp_path / "connector.toml"
    if is_link:
        file.symlink_to(tmp_path / "nowhere")
    else:
        file.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists"):
        check_absent(file)
    with pytest.raises(ConfigError, match="exists"):
        write_configuration(file, {})
    assert is_link == file.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["connector.toml"]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """As an error with a hint, and no traceback."""
    with pytest.raises(ConfigError, match="cannot be written"):
        write_configuration(tmp_path / "none" / "connector.toml", {})
