"""Client certificates for tests, signed by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID


def certificate_of(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, days: int = 30, name: str = "connector"
) -> x509.Certificate:
    """A certificate of a key, which ends in so many days."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )


def pem_of(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, certificate: x509.Certificate, *, password: str | None = None
) -> bytes:
    """Certificate, then key, in one PEM file."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def pfx_of(key: rsa.RSAPrivateKey, certificate: x509.Certificate, *, password: str | None = None) -> bytes:
    """The same as PFX, with another certificate beside it."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    other = certificate_of(ec.generate_private_key(ec.SECP256R1()), name="issuer")
    return pkcs12.serialize_key_and_certificates(b"connector", key, certificate, [other], encryption)
