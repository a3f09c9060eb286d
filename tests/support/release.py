"""`make release-check`: what a release brings beside its code, in dist/, and what is checked of it.

- the wheel and the source distribution, built twice: both times the same bytes
- `sbom.cdx.json`: what is installed with it (CycloneDX), from requirements.lock, with hashes
- `licences.tsv`: the licence of each library, which must be one that `ALLOWED` names
- known vulnerabilities of the locked libraries, by pip-audit, which takes PyPI's JSON API

The exit code is 1 where one of them is wrong or could not be checked.
"""

from __future__ import annotations

import email.parser
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = ROOT / "requirements.lock"
SOURCES: Final = (
    "connector", "schemas", "docs", "deploy", "tests/FAULTS.md", "pyproject.toml", "README.md", "CHANGELOG.md",
    "CONTRIBUTING.md", "LICENSE",
)  # fmt: skip
"""What the build reads."""

ALLOWED: Final = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"}
)
"""Licences that allow the library in a product under Apache-2.0; MPL-2.0 as long as its files are unchanged."""

CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Classifiers of PyPI, for libraries that give no expression."""

SPELLINGS: Final = {"Apache 2.0": "Apache-2.0", "Apache License 2.0": "Apache-2.0", "BSD": "BSD-3-Clause"}


def build(target: Path) -> dict[str, str]:
    """Build wheel and source distribution from a copy of the sources; returns the SHA-256 of each by its name."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "source"
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, copy / name)
        shutil.copyfile(ROOT / ".gitignore", copy / ".gitignore")
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-d", str(target)],
            cwd=copy,
            env={key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"},
            check=True,
            capture_output=True,
            timeout=300,
        )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(target.iterdir())}


def locked() -> dict[str, str]:
    """The libraries of the lock that this machine installs, with their versions."""
    pins = re.findall(r"^([a-z0-9._-]+)==([^\s;]+)(?: ; (.*?))?\s*\\?$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: version for name, version, marker in pins if not marker or _is_installed(name)}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def licence_of(name: str) -> str:
    """The licence of an installed library as an SPDX expression, or as it calls it."""
    said = email.parser.Parser().parsestr(importlib.metadata.distribution(name).read_text("METADATA") or "")
    if expression := said["License-Expression"]:
        return expression
    classifiers = [
        line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License ::")
    ]
    known = [CLASSIFIERS[line] for line in classifiers if line in CLASSIFIERS]
    short = (said["License"] or "").splitlines()[0:1]
    return " OR ".join(known) or SPELLINGS.get("".join(short), "".join(short)) or "unknown"


def is_allowed(expression: str) -> bool:
    """Whether one of the alternatives of an expression asks for allowed licences only."""
    return any(
        all(part.strip("() ") in ALLOWED for part in alternative.split(" AND "))
        for alternative in expression.strip("()").split(" OR ")
    )


def licences() -> Iterator[tuple[str, str, str]]:
    """Library, version and licence."""
    for name, version in locked().items():
        yield name, version, licence_of(name)


def write_sbom(target: Path) -> None:
    """The bill of materials of the locked libraries."""
    command = Path(sys.executable).parent / "cyclonedx-py"
    options = ["requirements", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
    subprocess.run([str(command), *options, "-o", str(target), str(LOCK)], check=True, capture_output=True, timeout=300)


def vulnerabilities() -> list[str]:
    """What is known against the locked libraries, and what could not be looked up."""
    options = ["-r", str(LOCK), "--require-hashes", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
    ran = subprocess.run(
        [sys.executable, "-m", "pip_audit", *options], capture_output=True, text=True, check=False, timeout=900
    )
    try:
        audited = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [f"NOT AUDITED: {ran.stderr.strip()[-300:]}"]
    skipped = [library["name"] for library in audited if "skip_reason" in library]
    found = [
        f"{library['name']} {library['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for library in audited
        for known in library.get("vulns", [])
    ]
    return found + ([f"NOT AUDITED, unknown to the index in use: {', '.join(skipped)}"] if skipped else [])


def check_build(dist: Path) -> list[str]:
    """Build into dist/ and once more; returns what differs."""
    first = build(dist)
    with tempfile.TemporaryDirectory() as again:
        second = build(Path(again))
    sums = "".join(f"{digest}  {name}\n" for name, digest in first.items())
    (dist / "SHA256SUMS").write_text(sums, encoding="ascii")
    return [f"{name} is not reproducible" for name in first if second.get(name) != first[name]]


def check_bill_of_materials(dist: Path) -> list[str]:
    """Write it; returns the locked libraries that it lacks."""
    write_sbom(dist / "sbom.cdx.json")
    text = (dist / "sbom.cdx.json").read_text(encoding="utf-8")
    return [f"{name} {version} is missing" for name, version in locked().items() if f"/{name}@{version}" not in text]


def check_licences(dist: Path) -> list[str]:
    """Write the list of licences; returns those that are not allowed."""
    rows = list(licences())
    (dist / "licences.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return [f"{name} {version}: {licence} is not allowed" for name, version, licence in rows if not is_allowed(licence)]


def main() -> int:
    """Do all of it."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    steps: dict[str, Callable[[], list[str]]] = {
        "build, twice": lambda: check_build(dist),
        "bill of materials": lambda: check_bill_of_materials(dist),
        "licences": lambda: check_licences(dist),
        "known vulnerabilities": vulnerabilities,
    }
    wrong = 0
    for name, step in steps.items():
        problems = step()
        wrong += len(problems)
        print(f"{name}: {'WRONG' if problems else 'well'}", flush=True)
        for problem in problems:
            print(f"  {problem}")
    print(f"in {dist}: {', '.join(sorted(path.name for path in dist.iterdir()))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
