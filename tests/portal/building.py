"""Builds what the portal's tests need: enrolled collectors that sign batches, meters, premises, people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from domain.clock import ClockState
from domain.ids import BatchId, CollectorId, MeterId, RegisterId, Stream
from domain.reading import Event, EventKind, ReadQuality, Register, RegisterRead, StoredEvent, StoredRead
from domain.units import Unit
from portal.core.models import User
from portal.customers import services as customers
from portal.customers.models import Account, ServicePoint
from portal.fleet import services as fleet
from portal.fleet.models import Collector
from portal.metering import services as metering
from portal.metering.models import Installation
from sync.batch import NO_PREVIOUS, Batch
from sync.signing import SigningKey, batch_hash, sign_batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOON = datetime(2026, 6, 17, 17, 0, tzinfo=UTC)
"""Noon in Chicago."""

BOOT = bytes(range(16))


def total(
    meter: str = "EFE-00000001", *, unit: Unit = Unit.CUBIC_METRE, scale: int = -3, modulus: int | None = 10**8
) -> Register:
    return Register(MeterId(meter), RegisterId("total"), unit, scale, modulus)


def clock_at(moment: datetime) -> ClockState:
    since_us = (moment - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return ClockState(BOOT, since_us * 1000, synchronised=True)


def read(register: Register, count: int, at: datetime, quality: ReadQuality = ReadQuality.MEASURED) -> RegisterRead:
    return RegisterRead(register, count, at, clock_at(at), quality)


def event(kind: EventKind, at: datetime, *, event_id: str, meter: str | None = None, **detail: str | int) -> Event:
    return Event(event_id, kind, at, clock_at(at), None if meter is None else MeterId(meter), detail)


@dataclass
class Box:
    """A collector as the portal's tests need it: numbers appends, chains and signs batches."""

    name: CollectorId
    key: SigningKey
    epoch: bytes = bytes(range(100, 116))
    last_append: int = 0
    sequences: dict[Stream, int] = field(default_factory=dict)
    hashes: dict[Stream, bytes] = field(default_factory=dict)

    def batch(
        self,
        reads: Sequence[RegisterRead] = (),
        events: Sequence[Event] = (),
        *,
        stream: Stream = Stream.BULK,
        sealed_at: datetime = NOON,
    ) -> Batch:
        """The next batch of a stream."""
        first = self.last_append + 1
        stored = tuple(StoredRead(first + n, item) for n, item in enumerate(reads))
        happened = tuple(StoredEvent(first + len(stored) + n, item) for n, item in enumerate(events))
        self.last_append += len(stored) + len(happened)
        sequence = self.sequences.get(stream, 0) + 1
        self.sequences[stream] = sequence
        identity = BatchId(self.name, self.epoch, stream, sequence)
        return Batch(identity, self.hashes.get(stream, NO_PREVIOUS), sealed_at, stored, happened)

    def sign(self, batch: Batch, key: SigningKey | None = None) -> bytes:
        signed = sign_batch(batch, key or self.key)
        self.hashes[batch.id.stream] = batch_hash(signed)
        return signed

    def sealed(
        self, reads: Sequence[RegisterRead] = (), events: Sequence[Event] = (), stream: Stream = Stream.BULK
    ) -> bytes:
        """The signed bytes of the next batch."""
        return self.sign(self.batch(reads, events, stream=stream))


def csr(name: str, key: ec.EllipticCurvePrivateKey | None = None) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM), key


def enrolled(name: str = "hw-test-1", *, folder: Path | None = None) -> Box:
    """Enrol a collector as the API does; with a folder its certificate and key are written there for a broker."""
    code, _ = fleet.make_enrolment_code(name)
    request, tls_key = csr(name)
    signing_key = SigningKey.generate()
    done = fleet.enrol(
        code=code,
        csr_pem=request,
        alg="EDDSA",
        public_key=signing_key.verify_key.public,
        proof=signing_key.sign(fleet.proof_message(code, request)),
    )
    if folder is not None:
        (folder / f"{name}.pem").write_text(done.certificate, encoding="ascii")
        (folder / f"{name}.key").write_bytes(
            tls_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return Box(CollectorId(name), signing_key)


def collector_row(box: Box) -> Collector:
    return Collector.objects.get(collector_id=box.name)


def person(email: str = "ana@example.org", **fields: object) -> User:
    return User.objects.create_user(email, "correct-horse-7", **fields)


def home(
    register: Register,
    start: datetime,
    *,
    user: User | None = None,
    address: str = "12 Elm Street",
    account: str = "1000001",
    first_count: int | None = None,
) -> tuple[ServicePoint, Installation]:
    """A premise with an installed meter and, when a user is given, somebody who lives there from the same moment."""
    service_point = customers.ensure_premise(address)
    row = metering.claim_register(register, at=start)
    installation = metering.install_meter(row.meter, service_point, start, register=row, first_count=first_count)
    if user is not None:
        payer, _ = Account.objects.get_or_create(number=account)
        customers.move_in(payer, service_point, start)
        customers.grant_access(payer, user, at=start)
    return service_point, installation


def sent_mail() -> list[Any]:
    """Send what waits, as the worker does, and return every email that went out in this test."""
    from django.core import mail

    from portal.notifications.sending import send_due

    send_due()
    return list(mail.outbox)
