"""Certificates created on the fly for the simulator's hosts: valid ones, and those that a client must refuse.

The CA's certificate is written to a file that clients use as their CA bundle.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import trustme


class Certificate(StrEnum):
    """Which certificate a host presents."""

    VALID = "valid"
    SELF_SIGNED = "self_signed"
    """Self-signed, unknown to the CA bundle."""
    UNKNOWN_CA = "unknown_ca"
    """For the right name, from an authority that is not in the CA bundle."""
    WRONG_NAME = "wrong_name"
    EXPIRED = "expired"


class Authority:
    """A certificate authority created for one run."""

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="mde-inventory-connector simulator")

    def write_bundle(self, path: Path) -> None:
        """Write the CA's certificate in PEM form."""
        self._authority.cert_pem.write_to_path(path)

    def context(self, host: str, certificate: Certificate) -> ssl.SSLContext:
        """A server's TLS context for a host, with the certificate of the given kind."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        if certificate is Certificate.SELF_SIGNED:
            lone = trustme.CA(organization_name=host)
            with lone.cert_pem.tempfile() as chain, lone.private_key_pem.tempfile() as key:
                context.load_cert_chain(chain, key)
            return context
        authority = trustme.CA() if certificate is Certificate.UNKNOWN_CA else self._authority
        name = "another-host.example" if certificate is Certificate.WRONG_NAME else host
        now = datetime.now(UTC)
        ends = now - timedelta(days=1) if certificate is Certificate.EXPIRED else now + timedelta(days=30)
        authority.issue_cert(name, not_before=now - timedelta(days=90), not_after=ends).configure_cert(context)
        return context
