from __future__ import annotations

import itertools
from datetime import date

import pytest

from connector.diff.versions import version_reason
from connector.model import Reason
from connector.simulator.fleet.catalogue import KINDS, Branch, Product, read_product, read_products

TABLES = ("systems", "windows", "macos", "linux", "non_cpe")


def products() -> list[Product]:
    """Every product of every table."""
    return [product for table in TABLES for product in read_products(table)]


def test_the_catalogue_is_large_and_spelled_as_the_api_spells() -> None:
    """Some hundred products, names in lower case, vendors without blanks, the documented examples among them."""
    keys = {(product.vendor, product.name) for product in products()}
    assert len(keys) > 300
    assert [key for key in keys if key[1] != key[1].lower() or " " in f"{key[0]}{key[1]}"] == []
    assert {
        ("microsoft", "edge_chromium-based"),
        ("microsoft", "windows_11"),
        ("oracle", "jre"),
        ("7-zip", "7-zip"),
        ("google", "chrome"),
        ("apache", "log4j"),
    } <= keys


def test_paths_of_all_platforms_occur() -> None:
    """Windows drives and registry hives, application bundles, Unix paths."""
    disk = [path for product in products() for path in product.disk_paths]
    registry = [path for product in products() for path in product.registry_paths]
    for beginning in ("C:\\Program Files\\", "C:\\Users\\{user}\\", "/Applications/", "/usr/"):
        assert any(path.startswith(beginning) for path in disk), beginning
    assert all(path.startswith("HKEY_") for path in registry)
    assert not [path for path in disk if path.startswith("HK")]


def test_versions_never_stop_and_each_is_an_upgrade_of_the_one_before() -> None:
    """After the listed releases the number keeps growing, in the order by which upgrades are recognised."""
    for product in products():
        for branch in product.branches:
            versions = [branch.version(release) for release in range(len(branch.versions) + 5)]
            reasons = {version_reason(*pair) for pair in itertools.pairwise(versions)}
            assert reasons == {Reason.UPGRADED}, (product.key, versions)


def test_no_version_belongs_to_two_branches() -> None:
    """Branches of a product can stand side by side on a device without two records having one key."""
    for product in products():
        versions = [
            branch.version(release) for branch in product.branches for release in range(len(branch.versions) + 50)
        ]
        assert len(set(versions)) == len(versions), product.key


def test_epochs_occur_on_linux() -> None:
    """Package managers put an epoch before the version."""
    versions = {branch.version(0) for product in read_products("linux") for branch in product.branches}
    assert any(version.startswith("1:") for version in versions)
    assert any(version.startswith("0:5.14.0-427.") for version in versions)


def test_operating_systems_are_shared_out_wholly() -> None:
    """For each kind of device the shares of its systems add up to 100."""
    systems = read_products("systems")
    assert {kind: sum(system.shares.get(kind, 0) for system in systems) for kind in KINDS} == dict.fromkeys(KINDS, 100)


def test_the_end_of_support_draws_near_and_comes() -> None:
    """Nothing is said until half a year before; on the day itself support has ended."""
    ends = date(2026, 11, 10)
    version, software = Branch(("1",), ends), Branch(("1",), ends, whole_product=True)
    assert [version.support(day) for day in (date(2026, 5, 13), date(2026, 5, 14), date(2026, 11, 9), ends)] == [
        ("None", None),
        ("Upcoming EOS Version", ends),
        ("Upcoming EOS Version", ends),
        ("EOS Version", ends),
    ]
    assert [software.support(day)[0] for day in (date(2026, 11, 9), ends)] == ["Upcoming EOS Software", "EOS Software"]


def test_a_line_is_read_as_the_docstring_says() -> None:
    """Columns, options, weights, dates and shorthands."""
    line = r"- a_b | w97 s6 | c28 sbs keep | *7 1.0 1.1 @2024-11-12; 2:3.0-[4].el9 !2025-01-01 | PF\a\{v}.exe; HKUN\a"
    assert read_product(line) == Product(
        vendor=None,
        name="a_b",
        shares={"w": 97, "s": 6},
        cadence_days=28,
        side_by_side=True,
        keeps_old=True,
        branches=(
            Branch(("1.0", "1.1"), date(2024, 11, 12), weight=7),
            Branch(("2:3.0-[4].el9",), date(2025, 1, 1), whole_product=True),
        ),
        disk_paths=("C:\\Program Files\\a\\{v}.exe",),
        registry_paths=("HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\a",),
    )


def test_the_number_in_brackets_goes_on() -> None:
    """Otherwise the last number does, as far at a time as between the last two versions."""
    assert [Branch(("1:3.0.7-[27].el9",)).version(release) for release in (0, 1, 3)] == [
        "1:3.0.7-27.el9",
        "1:3.0.7-28.el9",
        "1:3.0.7-30.el9",
    ]
    assert [Branch(("1.0.20", "1.0.35")).version(release) for release in (-1, 1, 2)] == ["1.0.20", "1.0.35", "1.0.50"]


def test_a_line_of_another_form_is_refused() -> None:
    """A missing column is an error that quotes the line."""
    with pytest.raises(ValueError, match="not five columns: microsoft word"):
        read_product("microsoft word | w80 | 1.0")
