"""The portal's own certificate authority: ECDSA P-256, for the broker, the portal's clients and the collectors.

Certificates live in the machine's own time, also in a demo whose clock runs faster.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portal.core.errors import NotInitialised
from portal.core.files import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CA_VALID = timedelta(days=20 * 365)
CLIENT_VALID = timedelta(days=2 * 365)
SERVER_VALID = timedelta(days=2 * 365)
RENEW_BEFORE = timedelta(days=60)
_BACKDATE = timedelta(days=1)  # machines whose clocks are a little behind


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and, when the authority made it, its private key; both PEM."""

    certificate: x509.Certificate
    key_pem: bytes | None = None

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()


class CertificateAuthority:
    """Signs certificates with the key in one directory (ca.key, ca.pem)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self.certificate = key, certificate

    @property
    def pem(self) -> bytes:
        """The authority's own certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def ensure(cls, directory: Path) -> CertificateAuthority:
        """Return the authority in a directory, made when there is none."""
        if not (directory / "ca.pem").exists():
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _self_signed(key)
            write_private(directory / "ca.key", _key_pem(key))
            write_private(directory / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
        return cls.load(directory)

    @classmethod
    def load(cls, directory: Path) -> CertificateAuthority:
        """Return the authority in a directory; raises NotInitialised."""
        try:
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        except OSError as error:
            raise NotInitialised(f"{error.filename}: {error.strerror}; run `headwater portal init`") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise NotInitialised(f"{directory / 'ca.key'} is no P-256 key; restore it from the backup")
        return cls(key, certificate)

    def issue_server(self, names: Iterable[str]) -> Issued:
        """Return a server certificate with its key for host names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = sorted(set(names))
        builder = self._builder(wanted[0], key.public_key(), SERVER_VALID, ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, wanted))), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()), _key_pem(key))

    def issue_client(self, common_name: str) -> Issued:
        """Return a client certificate with its key, for a process of the portal itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(common_name, key.public_key(), CLIENT_VALID, ExtendedKeyUsageOID.CLIENT_AUTH)
        return Issued(builder.sign(self._key, hashes.SHA256()), _key_pem(key))

    def sign_request(self, request: x509.CertificateSigningRequest, *, common_name: str) -> Issued:
        """Return a client certificate for a request's key, under the name that the portal gives it.

        Nothing but the public key is taken from the request; its signature must have been checked.
        """
        public = request.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise TypeError("a collector's TLS key is P-256")
        builder = self._builder(common_name, public, CLIENT_VALID, ExtendedKeyUsageOID.CLIENT_AUTH)
        return Issued(builder.sign(self._key, hashes.SHA256()))

    def revocation_list(self, serials: Iterable[tuple[int, datetime]]) -> bytes:
        """Return the list of revoked certificates (serial, when) as PEM, for brokers that read one."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - _BACKDATE).next_update(now + CLIENT_VALID)
        for serial, revoked_at in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked_at)
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self,
        common_name: str,
        public: ec.EllipticCurvePublicKey,
        valid: timedelta,
        usage: x509.ObjectIdentifier,
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC).replace(microsecond=0)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(issuer, critical=False)
        )


def needs_renewal(certificate_file: Path, names: Iterable[str], *, authority: CertificateAuthority) -> bool:
    """Whether a certificate is absent, near its end, from another authority, or lacks one of the names."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return True
    ending = certificate.not_valid_after_utc < datetime.now(UTC) + RENEW_BEFORE
    return ending or not {_general_name(name) for name in names} <= _alternative_names(certificate)


def _alternative_names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC).replace(microsecond=0)
    name = _name("Headwater portal CA")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + CA_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, digital_signature: bool = False, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
