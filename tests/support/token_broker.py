"""A real broker that takes tokens over TLS (SASL OAUTHBEARER), and a token endpoint over HTTPS that gives them.

The tokens are JWTs without a signature, which Kafka's own validator for tests takes: their subject is the principal.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.support.broker import LocalBroker, free_ports

PRINCIPAL: Final = "connector"

PROPERTIES: Final = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},TOKENS://127.0.0.1:{tokens_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},TOKENS://127.0.0.1:{tokens_port}
controller.quorum.voters=1@127.0.0.1:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TOKENS:SASL_SSL
listener.name.tokens.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.tokens.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.tokens.oauthbearer.connections.max.reauth.ms=4000
listener.name.tokens.ssl.keystore.type=PEM
listener.name.tokens.ssl.keystore.location={keystore}
"""


class TokenBroker(LocalBroker):
    """A local broker with a second listener, at `token_servers`, that only takes tokens.

    Args:
        folder: for its data.
        authority: signs its certificate.
    """

    token_servers: str

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self._authority = authority
        super().__init__(folder)

    def _format(self) -> None:
        super()._format()
        keystore = self._folder / "broker.pem"
        certificate = self._authority.issue_cert("127.0.0.1", "localhost")
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        chain = [part.bytes() for part in certificate.cert_chain_pems]
        # Java reads keys in PKCS #8 only.
        keystore.write_bytes(b"".join([key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), *chain]))
        controller_port, tokens_port = free_ports(2)
        self.token_servers = f"127.0.0.1:{tokens_port}"
        text = PROPERTIES.format(
            port=self._port, controller_port=controller_port, tokens_port=tokens_port, keystore=keystore
        )
        with self._properties.open("a", encoding="utf-8") as file:
            file.write(text)


def unsigned_token(seconds: float, **claims: Any) -> str:
    """A JWT without a signature, valid for that time."""
    now = time.time()
    claims = {"sub": PRINCIPAL, "iat": now - 1, "exp": now + seconds} | claims
    return f"{_encode({'alg': 'none'})}.{_encode(claims)}."


class TokenEndpoint:
    """What of Entra ID a client needs to get a token: discovery, the token endpoint, and that of managed identities.

    Attributes:
        seconds: how long its tokens are valid.
        refusing: the error that it answers with, while there is one.
        requests: the forms, or queries, of the token requests.
    """

    def __init__(self) -> None:
        self.seconds = 3600.0
        self.refusing: dict[str, str] | None = None
        self.requests: list[dict[str, str]] = []
        self.url = ""

    @classmethod
    @contextmanager
    def serving(cls, authority: trustme.CA) -> Iterator[TokenEndpoint]:
        """One that serves over HTTPS on 127.0.0.1."""
        endpoint = cls()
        server = ThreadingHTTPServer(("127.0.0.1", 0), endpoint._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        endpoint.url = f"https://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, path: str, form: Mapping[str, str] | None) -> tuple[int, dict[str, Any]]:
        """The status and the document for a request; `form` of a POST."""
        query = dict(parse_qsl(urlsplit(path).query))
        if form is None and "resource" in query:
            self.requests.append(query)
            expires_on = str(round(time.time() + self.seconds))
            token = unsigned_token(self.seconds, aud=query["resource"])
            return 200, {"token_type": "Bearer", "expires_on": expires_on, "access_token": token, **query}
        if form is None:
            tenant = f"{self.url}{path.partition('/v2.0/')[0]}"
            return 200, {
                "issuer": f"{tenant}/v2.0",
                "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{tenant}/oauth2/v2.0/token",
            }
        self.requests.append(dict(form))
        if self.refusing is not None:
            return 401, self.refusing
        token = unsigned_token(self.seconds, aud=form["scope"].removesuffix("/.default"))
        return 200, {"token_type": "Bearer", "expires_in": round(self.seconds), "access_token": token}

    def _handler(endpoint) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's below
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(*endpoint.answer(self.path, None))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._send(*endpoint.answer(self.path, dict(parse_qsl(body))))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _send(self, status: int, document: dict[str, Any]) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


def _encode(values: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
