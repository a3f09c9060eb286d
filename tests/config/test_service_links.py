from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config import Config
from connector.config.service_links import find_service_links
from connector.config.tables import PREFIX
from connector.errors import ConfigError
from tests.support.configured import config_of

KUBERNETES = {
    "MDE_INVENTORY_SERVICE_HOST": "10.96.12.7",
    "MDE_INVENTORY_SERVICE_PORT": "9464",
    "MDE_INVENTORY_SERVICE_PORT_METRICS": "9464",
    "MDE_INVENTORY_PORT": "tcp://10.96.12.7:9464",
    "MDE_INVENTORY_PORT_9464_TCP": "tcp://10.96.12.7:9464",
    "MDE_INVENTORY_PORT_9464_TCP_PROTO": "tcp",
    "MDE_INVENTORY_PORT_9464_TCP_PORT": "9464",
    "MDE_INVENTORY_PORT_9464_TCP_ADDR": "10.96.12.7",
}
"""What Kubernetes gives every pod beside a Service named `mde-inventory`."""

OTHER_SERVICES = {
    "MDE_INVENTORY_SOURCE_SERVICE_HOST": "fd00::7",
    "MDE_INVENTORY_SOURCE_SERVICE_PORT_DNS_TCP": "53",
    "MDE_INVENTORY_SOURCE_PORT": "udp://[fd00::7]:53",
    "MDE_INVENTORY_SOURCE_PORT_53_UDP": "udp://[fd00::7]:53",
    "MDE_INVENTORY_SOURCE_PORT_53_UDP_PROTO": "udp",
    "MDE_INVENTORY_SOURCE_PORT_53_UDP_ADDR": "fd00::7",
    "MDE_INVENTORY_SERVICE_SERVICE_HOST": "10.96.12.8",
    "MDE_INVENTORY_SERVICE_PORT_9464_TCP": "tcp://10.96.12.8:9464",
    "MDE_INVENTORY_SERVICE_PORT": "tcp://10.96.12.8:9464",
    "MDE_INVENTORY_PORT_SERVICE_PORT": "1",
}
"""Services named `mde-inventory-source`, `-service` and `-port`, with IPv6, other protocols and named ports."""

DOCKER = {
    "MDE_INVENTORY_NAME": "/consumer/mde_inventory",
    "MDE_INVENTORY_PORT": "tcp://172.17.0.5:9464",
    "MDE_INVENTORY_PORT_9464_TCP_ADDR": "172.17.0.5",
    "MDE_INVENTORY_ENV_PYTHON_VERSION": "3.13.1",
    "MDE_INVENTORY_ENV_LANG": "C.UTF-8",
    "MDE_INVENTORY_ENV_MDE_INVENTORY_HTTP__LISTEN": "0.0.0.0:9464",
}
"""What Docker gives a container that is linked to one named `mde-inventory`, with that one's environment."""


@pytest.mark.parametrize("links", [KUBERNETES, OTHER_SERVICES, DOCKER])
def test_what_a_platform_announces_is_no_key_of_ours(links: dict[str, str]) -> None:
    """Services and links whose names begin like our variables change nothing, and stop nothing."""
    assert find_service_links(links, PREFIX) == set(links)
    assert config_of(links).model_dump() == config_of().model_dump()


MISSPELLED = {
    "MDE_INVENTORY_SERVICE_HOST": "defender.example",
    "MDE_INVENTORY_SERVICE_PORT": "https",
    "MDE_INVENTORY_SERVICE_HOST_METRICS": "10.96.12.7",
    "MDE_INVENTORY_PORT": "9464",
    "MDE_INVENTORY_HTTP_PORT": "9464",
    "MDE_INVENTORY_HTTP_LISTEN": "10.96.12.7:9464",
    "MDE_INVENTORY_PORT_9464_TCP": "9464",
    "MDE_INVENTORY_PORT_9464_TCP_PROTO": "https",
    "MDE_INVENTORY_PORT_9464_TCP_NAME": "tcp",
    "MDE_INVENTORY_SOURSE__PORT": "tcp://10.96.12.7:9464",
    "MDE_INVENTORY_HTPP__SERVICE_HOST": "10.96.12.7",
    "MDE_INVENTORY_SERVICE_REGISTRY_URL": "http://10.96.12.7:8081",
    "MDE_INVENTORY_TENANT_NAME": "contoso",
    "MDE_INVENTORY_ENV_LANG": "C",
    "MDE_INVENTORY_SOURCE_TENANT_ID": "contoso.example",
}


@pytest.mark.parametrize(("variable", "value"), MISSPELLED.items())
def test_a_misspelled_key_is_refused_also_beside_a_service(variable: str, value: str) -> None:
    """The name and the value must both have the form of a link; a table with a key never has."""
    beside = {name: text for name, text in KUBERNETES.items() if name != variable}
    with pytest.raises(ConfigError) as caught:
        config_of({**beside, variable: value})
    tables = ", ".join(sorted(Config.model_fields))
    assert str(caught.value) == f"connector.toml: 1 problem\n  {variable}: no such table; allowed are {tables}"


@given(st.from_regex(r"MDE_INVENTORY_[A-Z0-9_]{0,30}", fullmatch=True), st.text(max_size=30))
def test_any_variable_is_a_link_or_none(name: str, value: str) -> None:
    """Nothing breaks the recognition, and a key of ours is never ignored."""
    links = find_service_links({name: value}, PREFIX)
    assert links <= {name}
    assert not links or "__" not in name
