"""Logs in to brokers with tokens (SASL OAUTHBEARER), which Amazon MSK and Event Hubs take in place of passwords.

librdkafka asks for a token when a client is made, and again before the last one expires, in a thread of its own. The
settings are the same for producers, consumers and the admin client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from connector.errors import ConfigError, SinkUnavailable
from connector.model import BrokerToken

AWS_HINT: Final = (
    "Give the connector credentials of AWS: a role of its instance, pod or task, or $AWS_ACCESS_KEY_ID and"
    " $AWS_SECRET_ACCESS_KEY."
)


class TokenLogin:
    """librdkafka's callback `oauth_cb`.

    Args:
        obtain: gives a token that is valid now; raises a `ConnectorError` where it cannot.
    """

    def __init__(self, obtain: Callable[[], BrokerToken]) -> None:
        self._obtain = obtain

    def __call__(self, _: str) -> tuple[str, float]:
        """The token, and when it expires, in seconds since 1970."""
        token = self._obtain()
        return token.text, token.expires_at

    @property
    def settings(self) -> dict[str, Any]:
        """What they add to `[kafka.client]`. Tokens go to a verified broker only."""
        return {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": self}

    def prepare(self) -> None:
        """Obtain a token: librdkafka would only say, ten seconds later, that it was given none.

        Raises:
            ConnectorError: as `obtain`.
        """
        self._obtain()


def aws_tokens(region: str) -> Callable[[], BrokerToken]:
    """Gives tokens for Amazon MSK with IAM, signed with the credentials that AWS's own clients would find.

    Raises:
        ConfigError: the extra `aws` is not installed.
    """
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - only where the extra is there
    except ImportError as error:
        raise ConfigError(
            'kafka.auth: "aws_msk_iam" needs the extra `aws`, which is not installed',
            hint='Install it: pip install "mde-inventory-connector[aws]".',
        ) from error

    def obtain() -> BrokerToken:
        try:
            text, expires_at_ms = MSKAuthTokenProvider.generate_auth_token(region)
        except Exception as error:
            # It passes on whatever AWS's library raises, without credentials for instance.
            raise SinkUnavailable(f"Kafka: no token for Amazon MSK: {error}", hint=AWS_HINT) from error
        return BrokerToken(text, expires_at_ms / 1000)

    return obtain
