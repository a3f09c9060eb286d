"""Folders of heavier tests: a run has them only where it names them."""

from __future__ import annotations

from pathlib import Path

import pytest


def leave_out(here: Path, collection_path: Path, config: pytest.Config) -> bool | None:
    """For `pytest_ignore_collect`: whether a path in the folder `here` is left out of a run; None for any other."""
    named = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    is_named = any(here in (path, *path.parents) for path in named)
    return None if is_named or here not in (collection_path, *collection_path.parents) else True
