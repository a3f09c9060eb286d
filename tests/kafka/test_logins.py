"""Logins with tokens: what AWS's signer gives, and what a client is given when there is no token."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from confluent_kafka import Consumer

from connector.errors import ConfigError, SinkRejected, SinkUnavailable
from connector.kafka.client import ClientEvents, create_client, merge_settings
from connector.kafka.logins import TokenLogin, aws_tokens
from connector.model import BrokerToken


@pytest.fixture
def clean_aws(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`clean_aws(AWS_ACCESS_KEY_ID=…)`: only these of AWS's variables, no files, and no metadata service."""

    def set_variables(**variables: str) -> None:
        nowhere = {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere"}
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"AWS_EC2_METADATA_DISABLED": "true", **nowhere, **variables}.items():
            monkeypatch.setenv(name, value)

    return set_variables


def test_a_token_for_amazon_msk_is_a_signed_request_to_connect(clean_aws: Callable[..., None]) -> None:
    """Signed for the region, with the credentials of the environment; it says itself when it expires."""
    clean_aws(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="canary")
    token = aws_tokens("eu-central-1")()
    url = urlsplit(base64.urlsafe_b64decode(token.text + "=" * (-len(token.text) % 4)).decode())
    asked = parse_qs(url.query)
    assert (url.scheme, url.hostname) == ("https", "kafka.eu-central-1.amazonaws.com")
    assert asked["Action"] == ["kafka-cluster:Connect"]
    assert asked["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert 0 < token.expires_at - time.time() <= float(asked["X-Amz-Expires"][0])
    assert "canary" not in token.text


def test_a_machine_without_credentials_of_aws_is_named(clean_aws: Callable[..., None]) -> None:
    """The hint names where they come from."""
    clean_aws()
    with pytest.raises(SinkUnavailable, match="no token for Amazon MSK") as refused:
        aws_tokens("eu-central-1")()
    assert "AWS_ACCESS_KEY_ID" in refused.value.hint


def test_the_token_is_what_librdkafka_is_given() -> None:
    """Text and expiry; over TLS only."""
    login = TokenLogin(lambda: BrokerToken("text", 5.0))
    assert login("") == ("text", 5.0)
    assert {key: value for key, value in login.settings.items() if key != "oauth_cb"} == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
    }


@pytest.mark.parametrize("error", [SinkRejected("refused"), SinkUnavailable("away"), ConfigError("no file")])
def test_a_client_without_a_token_is_not_made_and_says_why(error: Exception) -> None:
    """At once, with the reason: librdkafka would say after ten seconds that it was given none."""

    def obtain() -> BrokerToken:
        raise error

    client = {"bootstrap.servers": "localhost:1", "group.id": "g", **TokenLogin(obtain).settings}
    with pytest.raises(type(error)) as raised:
        create_client(Consumer, merge_settings(client, ClientEvents(), {}))
    assert raised.value is error
