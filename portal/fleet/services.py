"""The portal's own keys; collectors: enrolment codes, enrolment, revocation. The only door to the fleet's rows."""

from __future__ import annotations

import functools
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.db import transaction

from domain.ids import CollectorId
from portal.core.errors import NotInitialised, Refused
from portal.core.files import write_private
from portal.core.public_id import ALPHABET
from portal.core.services import audit
from portal.fleet import broker
from portal.fleet.ca import CertificateAuthority, needs_renewal
from portal.fleet.errors import EnrolmentRefused
from portal.fleet.models import Certificate, Collector, CollectorKey, EnrolmentCode
from sync.signing import Algorithm, SigningKey, VerifyKey

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.fleet.ca import Issued

CODE_VALID = timedelta(days=7)
_CODE_PREFIX, _CODE_LENGTH = "hwc-", 16
_PROOF_LABEL = b"hw1.enrol"


@functools.lru_cache(maxsize=4)
def portal_signing_key(portal_dir: str) -> SigningKey:
    """Return the key that signs acks and commands, from the state directory; raises NotInitialised."""
    file = _signing_key_file(Path(portal_dir))
    if not file.exists():
        raise NotInitialised(f"{file} is missing; run `headwater portal init`, or restore it from the backup")
    return SigningKey.load(file)


def ensure_keys(portal_dir: Path, *, broker_url: str) -> None:
    """Make what is missing: signing key, authority, the broker's and the ingest's certificates."""
    signing_key = _signing_key_file(portal_dir)
    if not signing_key.exists():
        write_private(signing_key, SigningKey.generate().pem())
    authority = CertificateAuthority.ensure(portal_dir / "ca")
    write_private(portal_dir / "broker" / "ca.pem", authority.pem)
    names = ["localhost", "127.0.0.1", "::1", urlsplit(broker_url).hostname or "localhost"]
    if needs_renewal(portal_dir / "broker" / "server.pem", names, authority=authority):
        _save(portal_dir / "broker", "server", authority.issue_server(names))
    if needs_renewal(portal_dir / "broker" / "ingest.pem", [], authority=authority):
        _save(portal_dir / "broker", "ingest", authority.issue_client(broker.INGEST_NAME))


def _signing_key_file(portal_dir: Path) -> Path:
    return portal_dir / "keys" / "portal_signing.pem"


def _save(directory: Path, name: str, issued: Issued) -> None:
    assert issued.key_pem is not None
    write_private(directory / f"{name}.key", issued.key_pem)
    write_private(directory / f"{name}.pem", issued.pem)


@transaction.atomic
def make_enrolment_code(
    name: str, *, valid: timedelta = CODE_VALID, actor: User | None = None, label: str = ""
) -> tuple[str, EnrolmentCode]:
    """Return a one-time code (to be shown once; only its hash is kept) for a collector, new or known.

    raises  Refused when the name is no collector id.
    """
    try:
        collector_id = CollectorId(name)
    except ValueError as error:
        raise Refused("collector-id", str(error)) from error
    if collector_id.startswith("portal-"):
        raise Refused("collector-id", f"{name!r}: names that start with portal- belong to the portal's own processes")
    collector, _ = Collector.objects.get_or_create(collector_id=collector_id)
    if collector.revoked_at is not None:
        raise Refused("revoked", f"{collector_id} was revoked; enrol the box under another name")
    text = "".join(secrets.choice(ALPHABET) for _ in range(_CODE_LENGTH))
    code = _CODE_PREFIX + "-".join(text[n : n + 4] for n in range(0, _CODE_LENGTH, 4))
    row = EnrolmentCode.objects.create(
        collector=collector, code_hash=_code_hash(code), expires_at=datetime.now(UTC) + valid
    )
    audit("enrolment.code", actor=actor, label=label, target=collector)
    return code, row


def _code_hash(code: str) -> bytes:
    """Return the hash of a code however it was typed: in capitals, without its dashes, with spaces."""
    plain = "".join(character for character in code.lower() if character.isalnum()).removeprefix("hwc")
    return hashlib.sha256(plain.encode()).digest()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a newly enrolled collector is given. Certificates and the portal's verification key are PEM."""

    collector: str
    certificate: str
    ca: str
    portal_key: str
    broker: str
    partition: int


def proof_message(code: str, csr_pem: bytes) -> bytes:
    """Return what a collector signs with its signing key (raw signature, 64 bytes) to prove that it holds it.

    `hw1.enrol`, a zero byte, the code as it was sent, a zero byte, the SHA-256 of the request's PEM as it was sent.
    """
    return b"\0".join((_PROOF_LABEL, code.encode(), hashlib.sha256(csr_pem).digest()))


def enrol(*, code: str, csr_pem: bytes, alg: str, public_key: bytes, proof: bytes) -> Enrolment:
    """Enrol a collector: its one-time code, its TLS key in a signed request, its batch key with a proof.

    raises  EnrolmentRefused; a code is used up only by an enrolment that succeeds.
    """
    request = _checked_request(csr_pem)
    key = _checked_key(alg, public_key)
    if not key.verify(proof, proof_message(code, csr_pem)):
        raise EnrolmentRefused("proof", "the proof is not the signing key's signature over code and request")
    with transaction.atomic():
        row = (
            EnrolmentCode.objects.select_for_update()
            .select_related("collector")
            .filter(code_hash=_code_hash(code), used_at__isnull=True, expires_at__gt=datetime.now(UTC))
            .first()
        )
        if row is None or row.collector.revoked_at is not None:
            raise EnrolmentRefused(
                "code", "the code is unknown, used or expired; get a new one from the office (portal enrol-code)"
            )
        issued = _enrol(row.collector, request, key)
        row.used_at = datetime.now(UTC)
        row.save(update_fields=["used_at"])
        transaction.on_commit(broker.refresh)
    portal_dir = Path(settings.PORTAL_DIR)
    return Enrolment(
        collector=row.collector.collector_id,
        certificate=issued.pem.decode(),
        ca=CertificateAuthority.load(portal_dir / "ca").pem.decode(),
        portal_key=portal_signing_key(str(portal_dir)).verify_key.pem().decode(),
        broker=settings.BROKER_URL,
        partition=CollectorId(row.collector.collector_id).partition,
    )


def _checked_request(csr_pem: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        public = request.public_key()
        good = isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)
    except (ValueError, TypeError) as error:
        raise EnrolmentRefused("csr", "the request is not a certificate signing request in PEM form") from error
    if not good or not request.is_signature_valid:
        raise EnrolmentRefused("csr", "the request's key must be P-256 and its signature must fit")
    return request


def _checked_key(alg: str, public_key: bytes) -> VerifyKey:
    try:
        return VerifyKey(Algorithm[alg.upper()], public_key)
    except (KeyError, ValueError) as error:
        raise EnrolmentRefused(
            "signing-key", "the signing key must be EDDSA (32 bytes) or ES256 (compressed point, 33 bytes)"
        ) from error


def _enrol(collector: Collector, request: x509.CertificateSigningRequest, key: VerifyKey) -> Issued:
    kid = key.key_id.hex()
    known = CollectorKey.objects.filter(kid=kid).first()
    if known is not None and (known.collector_id != collector.pk or known.revoked_at is not None):
        raise EnrolmentRefused("signing-key", "this signing key is enrolled already or was revoked; make a new one")
    if known is None:
        CollectorKey.objects.create(collector=collector, kid=kid, alg=key.alg.name, public_key=key.public)
    authority = CertificateAuthority.load(Path(settings.PORTAL_DIR) / "ca")
    issued = authority.sign_request(request, common_name=collector.collector_id)
    certificate = issued.certificate
    Certificate.objects.create(
        collector=collector,
        common_name=collector.collector_id,
        serial=f"{certificate.serial_number:x}",
        fingerprint=issued.fingerprint,
        pem=issued.pem.decode(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
    collector.enrolled_at = collector.enrolled_at or datetime.now(UTC)
    collector.save(update_fields=["enrolled_at"])
    audit("collector.enrol", label=f"collector {collector.collector_id}", target=collector, detail={"kid": kid})
    return issued


@transaction.atomic
def revoke_collector(collector: Collector, *, reason: str, actor: User | None = None, label: str = "") -> None:
    """Revoke a collector: its keys, its certificates and its place at the broker. What it delivered stays."""
    row = Collector.objects.select_for_update().get(pk=collector.pk)
    now = datetime.now(UTC)
    row.revoked_at = row.revoked_at or now
    row.save(update_fields=["revoked_at"])
    CollectorKey.objects.filter(collector=row, revoked_at__isnull=True).update(revoked_at=now)
    Certificate.objects.filter(collector=row, revoked_at__isnull=True).update(revoked_at=now)
    EnrolmentCode.objects.filter(collector=row, used_at__isnull=True).update(used_at=now)
    audit("collector.revoke", actor=actor, label=label, target=row, reason=reason)
    transaction.on_commit(broker.refresh)


@transaction.atomic
def revoke_key(key: CollectorKey, *, reason: str, actor: User | None = None, label: str = "") -> None:
    """Revoke one signing key: nothing that it signed is taken any more."""
    # Ingest holds this row while it applies a batch: what is being applied comes before the revocation, or not at all.
    Collector.objects.select_for_update().get(pk=key.collector_id)
    CollectorKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=datetime.now(UTC))
    audit(
        "collector-key.revoke", actor=actor, label=label, target=key.collector, reason=reason, detail={"kid": key.kid}
    )
