"""The tools that the tests of this folder use: each is there, and is the one that is pinned."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import deploy_tools


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("helm", ["version", "--short"]),
        ("promtool", ["--version"]),
        ("splunk-appinspect", ["list", "version"]),
        ("buildah", ["--version"]),
        ("debootstrap", ["--version"]),
        ("node", ["--version"]),
        ("chromium", ["--version"]),
    ],
)
def test_a_tool_starts(name: str, command: list[str], tool: Callable[[str], Path]) -> None:
    """It is fetched or installed, and runs on this machine."""
    ran = subprocess.run([tool(name), *command], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, bool(ran.stdout)) == (0, True), ran.stderr


def test_helm_is_the_pinned_one(tool: Callable[[str], Path]) -> None:
    """What was fetched under a name is the version that the name stands for."""
    ran = subprocess.run([tool("helm"), "version", "--short"], capture_output=True, text=True, check=True, timeout=60)
    # Built from its module, it knows its minor version only.
    assert ran.stdout.partition("+")[0].strip() == deploy_tools.HELM.partition("@")[2].rpartition(".")[0]


@pytest.mark.parametrize(("name", "package"), [("kusto", "@kusto/language-service-next"), ("axe", "axe-core")])
def test_what_comes_from_npm_is_the_locked_one(name: str, package: str, tool: Callable[[str], Path]) -> None:
    """The package that was fetched has the version that the lock names."""
    fetched = json.loads((tool(name).parent / "package.json").read_text(encoding="utf-8"))
    locked = json.loads((deploy_tools.NPM / "package-lock.json").read_text(encoding="utf-8"))
    assert fetched["version"] == locked["packages"][f"node_modules/{package}"]["version"]


def test_the_locks_that_are_installed_together_agree() -> None:
    """Tools go into the environment of the tests, and the image is built by what builds there: one version each."""
    pins = {
        name: dict(
            re.findall(
                r"^([a-z0-9-]+)==([^\s;]+)",
                (deploy_tools.ROOT / f"requirements-{name}.lock").read_text(encoding="utf-8"),
                re.MULTILINE,
            )
        )
        for name in ("dev", "deploy", "build")
    }
    for name in ("deploy", "build"):
        shared = pins[name].keys() & pins["dev"].keys()
        assert {(library, pins[name][library]) for library in shared} <= set(pins["dev"].items())
