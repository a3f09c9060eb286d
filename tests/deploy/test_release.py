"""What a release brings beside its code: the same bytes whoever builds it, a bill of materials, known licences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import release


def test_wheel_and_source_distribution_are_reproducible(tmp_path: Path) -> None:
    """Built twice, in other folders and at other times, they are the same bytes."""
    first, second = release.build(tmp_path / "first"), release.build(tmp_path / "second")
    assert (first, [name.rpartition(".")[2] for name in first]) == (second, ["whl", "gz"])


def test_the_bill_of_materials_names_every_locked_library_with_its_hashes(tmp_path: Path) -> None:
    """CycloneDX, made of the lock: nothing that is installed is missing from it."""
    file = tmp_path / "sbom.json"
    release.write_sbom(file)
    written = json.loads(file.read_text(encoding="utf-8"))
    components = {part["name"].lower().replace("_", "-"): part for part in written["components"]}
    locked = release.locked()
    assert written["bomFormat"] == "CycloneDX"
    assert {name: components[name]["version"] for name in locked} == locked
    assert [name for name in locked if not components[name].get("purl", "").startswith("pkg:pypi/")] == []
    assert "sha256" in file.read_text(encoding="utf-8").lower().replace("sha-256", "sha256")


def test_every_library_has_a_licence_that_allows_its_use() -> None:
    """A new dependency with another licence is noticed before it is released."""
    rows = list(release.licences())
    assert len(rows) > 20
    assert [row for row in rows if not release.is_allowed(row[2])] == []


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("(Apache-2.0 AND MIT)", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("unknown", False),
    ],
)
def test_an_expression_is_allowed_where_one_alternative_is(expression: str, allowed: bool) -> None:
    """All parts of it."""
    assert release.is_allowed(expression) is allowed
