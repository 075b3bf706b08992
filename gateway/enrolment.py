"""Enrolment of this collector: keys made on the box, a certificate for them from the portal's own authority.

Nothing is overwritten before the portal has said yes, so a refused or interrupted enrolment leaves the box as it was.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from domain.errors import ConfigError, ResourceUnavailable
from gateway.config import PortalConfig
from gateway.config_parse import broker_fault
from portal_client.client import PortalClient, proof_message
from portal_client.errors import NotEnrolled
from sync.signing import SigningKey

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import GatewayConfig
    from portal_client.models import Enrolment

KEYS = "keys"


def enrol_collector(config: GatewayConfig, *, portal_url: str, code: str, ca: Path | None) -> PortalConfig:
    """Enrol at a portal, write the key files, and return the [portal] section that names them.

    ca      the authority that signed the portal's own web certificate; None for the system's.
    raises  NotEnrolled, PortalError, ConfigError, ResourceUnavailable when the key folder cannot be written.
    """
    client = PortalClient(portal_url, ca=ca)
    tls_key = ec.generate_private_key(ec.SECP256R1())
    signing_key = SigningKey.generate()
    csr_pem = _request(config.collector.id, tls_key)
    done = client.enrol(
        code=code,
        csr_pem=csr_pem,
        signing_alg=signing_key.alg.name,
        signing_public=signing_key.verify_key.public,
        proof=signing_key.sign(proof_message(code, csr_pem)),
    )
    _check(config, done)
    folder = config.folder / KEYS
    files = {
        "ca.pem": done.ca.encode(),
        "certificate.pem": done.certificate.encode(),
        "tls.key": tls_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "signing.key": signing_key.pem(),
        "portal.pem": done.portal_key.encode(),
    }
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in files.items():
            write_private(folder / name, content)
    except OSError as error:
        raise ResourceUnavailable(
            f"{folder}: {error.strerror}. The portal enrolled this collector, but its keys could not be kept: "
            "make the folder writable and enrol again with a new code."
        ) from error
    before = config.portal
    made = PortalConfig(
        broker=done.broker,
        ca=folder / "ca.pem",
        certificate=folder / "certificate.pem",
        key=folder / "tls.key",
        signing_key=folder / "signing.key",
        portal_key=folder / "portal.pem",
    )
    if before is None:
        return made
    return replace(
        made,
        batch_max_reads=before.batch_max_reads,
        seal_every_s=before.seal_every_s,
        upload_bytes_per_s_max=before.upload_bytes_per_s_max,
    )


def _request(collector: str, key: ec.EllipticCurvePrivateKey) -> str:
    """Return a certificate request in PEM form."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(collector))])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _check(config: GatewayConfig, done: Enrolment) -> None:
    """Refuse an enrolment that this collector cannot use."""
    if done.collector != config.collector.id:
        raise NotEnrolled(
            f"the code belongs to collector {done.collector}, this one is {config.collector.id}: "
            "correct collector.id, or get a code for this name, and enrol again"
        )
    fault = broker_fault(done.broker)
    if fault:
        raise ConfigError(f'the portal names the broker "{done.broker}"   {fault}; the office must correct it')


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all, through the disk's cache."""
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
