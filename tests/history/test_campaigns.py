"""Campaigns: the changes of a snapshot folded by what happened, held against an oracle that folds them by hand."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.history.campaigns import CampaignRules, fold, messages_of, without_keys
from connector.history.filters import Selection
from connector.model import ChangeType, StagedSnapshot
from connector.staging import derived
from tests.support.bench import EASY, SLOW, START, Bench, record, staging_rules
from tests.support.campaign_oracle import campaigns_of
from tests.support.estate import Estate
from tests.support.oracle import Record, Rules

TENANT = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"


def in_order(campaigns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Campaigns in an order that does not depend on how they were found."""
    return sorted(campaigns, key=lambda campaign: campaign["sampleEventId"])


def agree(bench: Bench, staged: StagedSnapshot) -> None:
    """The fold of a snapshot, of a part of it, and of its widest campaigns, is the oracle's."""
    changes = bench.changes(staged)
    news = [change for change in changes if change["changeType"] != "BASELINE"]
    for devices_min in (1, 3):
        campaigns, left = fold(bench.state, staged, devices_min=devices_min)
        expected = campaigns_of(changes, devices_min)
        assert in_order(without_keys(campaigns)) == in_order(expected)
        if campaigns:
            assert left == len(news) - sum(campaign["changes"] for campaign in expected)
        widths = [campaign["devices"] for campaign in campaigns]
        assert widths == sorted(widths, reverse=True)
    campaigns, left = fold(bench.state, staged, Selection(types=(ChangeType.REMOVED,)))
    assert (in_order(without_keys(campaigns)), left) == (in_order(campaigns_of(changes, kinds=["REMOVED"])), 0)


@given(seed=st.integers(0, 2**32))
@SLOW
def test_a_fold_is_what_the_oracle_folds(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over random histories: upgrades from several versions, twins, devices that leave and return, approvals."""
    random = Random(seed)
    rules = random.choice((EASY, Rules(max_added_share=10**6, missing_device_snapshots=2, min_removed=3)))
    with Bench(tmp_path_factory.mktemp("campaigns"), rules=rules, random=random) as bench:
        estate = Estate(random)
        for number in range(7):
            if number:
                estate.evolve()
                random.choice((estate.leave_or_return, estate.lose_many, lambda: None))()
            staged = bench.take(bench.snapshot(estate.lines() or [estate.line(next(iter(estate.records)))]))
            bench.confirm_baseline()
            agree(bench, staged)
            for approved in derived.approve_held(bench.state, staging_rules(bench.rules), now=START):
                agree(bench, approved)


def browser(number: int, version: str, **more: Any) -> Record:
    """A browser on one of many devices."""
    return record(f"d{number:04}", "chrome", version) | {"deviceName": f"pc-{number}", **more}


def test_an_upgrade_of_many_devices_is_one_campaign(tmp_path: Path) -> None:
    """From whichever version they came; a count of weaknesses that moves alone is another piece of news."""
    with Bench(tmp_path) as bench:
        jre = [record(f"d{number:04}", "jre", "8") | {"numberOfWeaknesses": 0} for number in range(12)]
        bench.take(bench.snapshot([*(browser(number, f"143.0.{number % 2}") for number in range(12)), *jre]))
        bench.confirm_baseline()
        later = [line | {"numberOfWeaknesses": 2} for line in jre]
        staged = bench.take(bench.snapshot([*(browser(number, "143.0.110") for number in range(12)), *later]))
        (weaknesses, upgrade), left = fold(bench.state, staged)
    names = ("changeType", "reason", "softwareName", "softwareVersion", "previousVersion", "versionsBefore", "devices")
    assert [upgrade[name] for name in names] == ["CHANGED", "UPGRADED", "chrome", "143.0.110", None, 2, 12]
    assert upgrade["sampleDeviceIds"] == [f"d{number:04}" for number in range(10)]
    assert upgrade["sampleDeviceNames"] == [f"pc-{number}" for number in range(10)]
    steps = ("softwareName", "changedFields", "previousNumberOfWeaknesses", "numberOfWeaknesses", "devices")
    assert [weaknesses[name] for name in steps] == ["jre", ["numberOfWeaknesses"], 0, 2, 12]
    assert left == 0


def test_what_leaves_in_several_versions_is_one_campaign_and_new_devices_another(tmp_path: Path) -> None:
    """An agent that is uninstalled, in the group that all its devices are in; devices with all their software."""
    group = {"rbacGroupId": 7, "rbacGroupName": "Servers"}
    with Bench(tmp_path) as bench:
        stays = [browser(number, "143", **group) for number in range(6)]
        agents = [record(f"d{number:04}", "agent", f"7.{number % 3}") | group for number in range(6)]
        bench.take(bench.snapshot(stays + agents))
        bench.confirm_baseline()
        new = [record(f"n{number}", product, "1") for number in range(3) for product in ("a", "b")]
        staged = bench.take(bench.snapshot(stays + new))
        (agent, devices), _ = fold(bench.state, staged)
    names = ("reason", "softwareName", "softwareVersion", "versionsBefore", "devices", "changes", "rbacGroupName")
    assert [agent[name] for name in names] == ["UNINSTALLED", "agent", None, 3, 6, 6, "Servers"]
    assert [devices[name] for name in names] == ["NEW_DEVICE", None, "1", 0, 3, 6, None]


def test_messages_are_the_same_at_every_call_and_of_one_id_each(tmp_path: Path) -> None:
    """What is published again after a crash is what was published before it; small campaigns and none are left out."""
    rules = CampaignRules(enabled=True, min_devices=2)
    with Bench(tmp_path) as bench:
        bench.take(bench.snapshot([browser(number, "1") for number in range(4)]))
        bench.confirm_baseline()
        lines = [browser(number, "2" if number < 3 else "3") for number in range(4)]
        staged = bench.take(bench.snapshot([*lines, record("n1", "a", "1"), record("n2", "b", "1")]))
        first = list(messages_of(bench.state, staged, rules, tenant_id=TENANT))
        bench.reopen()
        assert list(messages_of(bench.state, staged, rules, tenant_id=TENANT)) == first
        off = CampaignRules(enabled=False, min_devices=2)
        assert list(messages_of(bench.state, staged, off, tenant_id=TENANT)) == []
    assert [(campaign["reason"], campaign["devices"]) for campaign in first] == [("UPGRADED", 3), ("NEW_DEVICE", 2)]
    assert len({campaign["campaignId"] for campaign in first}) == 2
