"""Tokens of Entra ID for Kafka brokers: the same identities and requests as for the API, for another scope."""

from __future__ import annotations

import time

from connector.errors import ConfigError, SinkRejected, SinkUnavailable, SourceDenied, SourceError
from connector.model import BrokerToken
from connector.source.http.tokens import Tokens

LOGIN_HINT = (
    "Check kafka.auth, kafka.auth_client_id, kafka.auth_tenant_id and kafka.auth_scope; the identity needs the roles"
    " Azure Event Hubs Data Sender and Data Receiver."
)


class BrokerTokens:
    """Obtains the tokens of one identity for the brokers; usable from any thread.

    Args:
        tokens: of that identity, for the brokers' scope.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def obtain(self) -> BrokerToken:
        """A token that is valid now, and when it expires.

        Raises:
            SinkRejected: the login service refuses.
            SinkUnavailable: it cannot be reached, or does not work.
            ConfigError: the platform's token cannot be read.
            Stopped: asked to stop.
        """
        try:
            text, seconds = self._tokens.token_with_seconds()
        except SourceDenied as error:
            raise SinkRejected(f"Kafka: no token for the brokers: {error}", hint=LOGIN_HINT) from error
        except SourceError as error:
            raise SinkUnavailable(f"Kafka: no token for the brokers: {error}", hint=LOGIN_HINT) from error
        except ConfigError as error:
            raise ConfigError(f"kafka.auth: {error}", hint=error.hint) from error
        return BrokerToken(text, time.time() + seconds)
