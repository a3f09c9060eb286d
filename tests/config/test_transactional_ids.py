from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config.transactional_ids import TOPIC_PREFIX, default_transactional_id
from connector.config.values import check_kafka_name
from tests.support.configured import config_of

GUID = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"
WORDS = ("contoso", "com", "au", "mde", "software", "onmicrosoft", GUID)
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(".".join)


@pytest.mark.parametrize(
    ("tenant_id", "topic_prefix"),
    [
        (GUID, "mde.software"),
        (GUID, "prod.mde.software"),
        (GUID.upper(), "mde"),
        ("contoso.com", "mde.software"),
        ("contoso.com.au", "mde.software"),
        ("contoso.onmicrosoft.com", "mde.software"),
        ("contoso.com", "mde"),
        ("contoso.com.au", "mde"),
    ],
)
def test_common_tenants_keep_the_id_that_they_had(tenant_id: str, topic_prefix: str) -> None:
    """Joined by a dot, as in all versions: under it their checkpoints stand."""
    assert default_transactional_id(tenant_id, topic_prefix) == f"mde-inventory.{tenant_id}.{topic_prefix}"


@pytest.mark.parametrize(
    ("tenant_id", "topic_prefix"),
    [
        ("contoso.com", "au.mde"),
        ("contoso.com", "au.mde.software"),
        ("contoso.mde", "software"),
        (f"{GUID}.com", "mde.software"),
    ],
)
def test_a_pair_that_another_one_could_be_taken_for_has_a_slash(tenant_id: str, topic_prefix: str) -> None:
    """No name of a tenant, of a topic or of a configured id can have one."""
    assert default_transactional_id(tenant_id, topic_prefix) == f"mde-inventory.{tenant_id}/{topic_prefix}"
    with pytest.raises(ValueError, match="letters, digits, dots"):
        check_kafka_name("a/b")


@given(NAMES, NAMES, NAMES, NAMES)
def test_no_two_tenants_have_the_same_id(one: str, one_prefix: str, other: str, other_prefix: str) -> None:
    """Whatever words they are made of."""
    is_same = default_transactional_id(one, one_prefix) == default_transactional_id(other, other_prefix)
    assert is_same == ((one, one_prefix) == (other, other_prefix))


@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=6))
def test_wherever_the_tenant_ends_the_id_is_another(words: list[str]) -> None:
    """The same words, cut at each dot."""
    pairs = [(".".join(words[:cut]), ".".join(words[cut:])) for cut in range(1, len(words))]
    assert len({default_transactional_id(*pair) for pair in pairs}) == len(pairs)


def test_the_default_prefix_is_the_configurations() -> None:
    """What reads like it is read by what stands in the configuration."""
    assert config_of().kafka.topic_prefix == TOPIC_PREFIX
