"""What `init` does: writes a configuration that only its owner can read, from the example."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connector import private_files
from connector.config import shipped
from connector.errors import ConfigError


def check_absent(file: Path) -> None:
    """Refuse to write over a file.

    Raises:
        ConfigError: it is there.
    """
    if os.path.lexists(file):
        raise ConfigError(
            f"{file} exists", hint="Name another with --config, or move it away; `mde-inventory check` looks at it."
        )


def write_configuration(file: Path, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the example with these values, mode 0600.

    Raises:
        ConfigError: the file is there, or cannot be written.
    """
    text = shipped.fill_in(shipped.read(shipped.EXAMPLE), tables)
    check_absent(file)
    try:
        private_files.replace(file, text.encode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}", hint="Name another with --config.") from error
