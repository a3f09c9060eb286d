"""TLS with the configured certificate, which may be renewed while the console serves."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from connector.config import ConsoleConfig
from connector.errors import ConfigError
from connector.private_files import stamps
from connector.telemetry import logger

log = logger(__name__)

HINT: Final = "Give a PEM file with the certificate and its chain, and one with its key, without a password."


def encryption_of(settings: ConsoleConfig) -> ssl.SSLContext | None:
    """TLS with the configured certificate; None where there is none.

    Each connection looks whether the files changed, so a renewed certificate counts from the next one on.

    Raises:
        ConfigError: certificate or key cannot be used.
    """
    certificate, key = settings.tls_certificate_path, settings.tls_key_path
    if certificate is None:
        return None
    files = Files(certificate, key)

    def renew(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = files.current()

    context = files.current()
    context.sni_callback = renew  # which is called whether or not a name is asked for
    return context


class Files:
    """The certificate with its chain, and its key.

    Raises:
        ConfigError: they cannot be used.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._certificate, self._key = certificate, key
        self._paths = tuple(filter(None, (certificate, key)))
        self._stamps = stamps(*self._paths)
        self._context = self._load()

    def current(self) -> ssl.SSLContext:
        """With what the files have now; with what they had last, where one of them cannot be used."""
        now = stamps(*self._paths)
        if now != self._stamps:
            self._stamps = now
            try:
                self._context = self._load()
            except ConfigError as error:
                # Most often one of the two was replaced, and the other is about to be.
                log.warning("the console's certificate changed and cannot be used; the one before stays", error=error)
            else:
                log.info("the console's certificate was renewed", path=str(self._certificate))
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Without a password: OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"console.tls_certificate_path and tls_key_path cannot be used: {error.strerror or error}"
                if isinstance(error, OSError)
                else f"console.tls_key_path cannot be used: {error}",
                hint=HINT,
            ) from error
        return context
