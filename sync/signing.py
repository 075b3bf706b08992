"""COSE_Sign1 (RFC 9052) for batches, acks, commands and reports: sign, verify, key ids. No I/O but key files.

A message is tag 18, [protected {1: alg, 4: kid}, {}, payload, signature]. What is signed also covers external_aad: the
CBOR list [domain label, collector id], so that an ack can never pass as a command, nor one collector's as another's.
The algorithm belongs to the enrolled key: a header that names another is refused. The envelope is read byte by byte
and accepted in one form only, so no parser sees bytes that are not signed.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from domain.errors import ConfigError
from domain.ids import BatchId, CollectorId, Stream
from sync import columns as col
from sync.batch import MAX_PLAIN_BYTES, Batch, decode_payload, encode_payload
from sync.errors import BadBatch, BadMessage, BadSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from pathlib import Path

    from domain.ids import PreviousEpoch
    from domain.reading import StoredEvent, StoredRead

BATCH, ACK, COMMAND, REPORT = "hw1.batch", "hw1.ack", "hw1.command", "hw1.report"
"""Domain labels."""

MAX_SIGNED_BYTES = 1024 * 1024
"""A message longer than this is refused unread."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KEY_ID_BYTES = 8
_SIGNATURE_BYTES = 64
_HEAD = bytes((0xD2, 0x84))  # tag 18, list of 4
_COMMAND_LONGEST_TEXT = 65_536


class Algorithm(IntEnum):
    """COSE algorithm numbers that an enrolled key may have (RFC 9053: EdDSA, here Ed25519 alone, and ES256)."""

    EDDSA = -8
    ES256 = -7


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key and the one algorithm it may be used with.

    public  32 bytes for EDDSA; the compressed point, 33 bytes, for ES256.
    """

    alg: Algorithm
    public: bytes
    _key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
        if self.alg is Algorithm.EDDSA:
            key = ed25519.Ed25519PublicKey.from_public_bytes(self.public)
        elif len(self.public) == 33:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.public)
        else:
            raise ValueError(f"an ES256 public key is a compressed point of 33 bytes, not {len(self.public)}")
        object.__setattr__(self, "_key", key)

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of sha256(algorithm number as CBOR + public bytes)."""
        return hashlib.sha256(cbor2.dumps(int(self.alg)) + self.public).digest()[:_KEY_ID_BYTES]

    @classmethod
    def from_pem(cls, pem: bytes) -> VerifyKey:
        """Return the key of a public PEM; raises ConfigError when it is none of Ed25519 and P-256."""
        try:
            key = serialization.load_pem_public_key(pem)
        except ValueError as error:
            raise ConfigError(f"not a public key in PEM form: {error}") from None
        return _verify_key(key)

    def pem(self) -> bytes:
        """Return the public key as PEM."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Return whether a 64-byte signature fits a message.

        For ES256 only the lower of the two valid values of s passes: else anyone on the way could turn a signed batch
        into a second one with the same content and another hash.
        """
        if len(signature) != _SIGNATURE_BYTES:
            return False
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
            else:
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                if s > _P256_ORDER // 2:
                    return False
                self._key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key; it never leaves the machine that made it."""

    def __init__(self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.verify_key = _verify_key(key.public_key())
        self.key_id = self.verify_key.key_id
        self.alg = self.verify_key.alg

    @classmethod
    def generate(cls, alg: Algorithm = Algorithm.EDDSA) -> SigningKey:
        """Return a new key."""
        if alg is Algorithm.EDDSA:
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Return the key of a PKCS8 PEM; raises ConfigError when it is none of Ed25519 and P-256."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"not a private key in PEM form without a password: {error}") from None
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise ConfigError("a signing key is Ed25519 or P-256")
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Return the key in a file; raises ConfigError naming the file and what to do."""
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"signing key {path}: {error.strerror}; enrol this collector to make one") from None
        return cls.from_pem(pem)

    def pem(self) -> bytes:
        """Return the private key as PKCS8 PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def save(self, path: Path) -> None:
        """Write the private key to a new file that only its owner reads; raises FileExistsError over another one."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.pem())
            file.flush()
            os.fsync(file.fileno())

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message (ES256: r and s, the lower s)."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def _verify_key(key: Any) -> VerifyKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return VerifyKey(Algorithm.EDDSA, key.public_bytes_raw())
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        return VerifyKey(Algorithm.ES256, point)
    raise ConfigError("a signing key is Ed25519 or P-256")


def external_aad(label: str, collector: CollectorId) -> bytes:
    """Return what is signed beside the message: the CBOR list [domain label, collector id]."""
    return cbor2.dumps([label, str(collector)], canonical=True)


def sign(payload: bytes, *, label: str, collector: CollectorId, key: SigningKey) -> bytes:
    """Return the COSE_Sign1 message of a payload."""
    protected = _protected(key.alg, key.key_id)
    signature = key.sign(_to_be_signed(protected, payload, label, collector))
    return _HEAD + b"".join((cbor2.dumps(protected), b"\xa0", cbor2.dumps(payload), cbor2.dumps(signature)))


def open_signed(data: bytes, *, label: str, collector: CollectorId, keys: Callable[[bytes], VerifyKey | None]) -> bytes:
    """Return the payload of a message whose signature fits.

    raises  BadMessage("oversized" or "envelope"), BadSignature.
    """
    if len(data) > MAX_SIGNED_BYTES:
        raise BadMessage("oversized", f"{len(data)} bytes")
    protected, payload, signature = _take_apart(data)
    # Exactly {1: alg, 4: kid} in deterministic CBOR: a2 01 alg 04 48 kid.
    if len(protected) != 5 + _KEY_ID_BYTES or protected[:2] != b"\xa2\x01" or protected[3:5] != b"\x04\x48":
        raise BadMessage("envelope", "protected header")
    key = keys(protected[5:])
    if key is None:
        raise BadSignature("unknown-key", protected[5:].hex())
    if protected != _protected(key.alg, protected[5:]):
        raise BadSignature("algorithm", f"the key is enrolled for {key.alg.name}")
    if key.key_id != protected[5:] or not key.verify(signature, _to_be_signed(protected, payload, label, collector)):
        raise BadSignature("signature")
    return payload


def batch_hash(data: bytes) -> bytes:
    """Return the sha256 of a batch's signed bytes: what the ack names and the next batch carries."""
    return hashlib.sha256(data).digest()


def sign_batch(batch: Batch, key: SigningKey) -> bytes:
    """Return a batch as the signed bytes that are stored, published and kept for ever."""
    return sign(encode_payload(batch), label=BATCH, collector=batch.id.collector, key=key)


class SealedContents(Protocol):
    """What a store asks to have sealed (buffer.model.SealRequest has these)."""

    @property
    def batch_id(self) -> BatchId:
        """Identity of the batch to be."""
        ...

    @property
    def previous_hash(self) -> bytes:
        """Hash of the batch before it."""
        ...

    @property
    def previous_epoch(self) -> PreviousEpoch | None:
        """The epoch before, in an epoch's first batches."""
        ...

    @property
    def beside(self) -> int:
        """Last sealed sequence of the other stream."""
        ...

    @property
    def sealed_at(self) -> datetime:
        """When it is sealed."""
        ...

    @property
    def reads(self) -> tuple[StoredRead, ...]:
        """Reads in rising append_seq."""
        ...

    @property
    def events(self) -> tuple[StoredEvent, ...]:
        """Events in rising append_seq."""
        ...


def batch_encoder(key: SigningKey) -> Callable[[SealedContents], bytes]:
    """Return the function that a store seals with: from what it asks to the signed bytes of a batch."""

    def encode(request: SealedContents) -> bytes:
        batch = Batch(
            request.batch_id,
            request.previous_hash,
            request.sealed_at,
            request.reads,
            request.events,
            request.previous_epoch,
            request.beside,
        )
        return sign_batch(batch, key)

    return encode


def open_batch(
    data: bytes,
    *,
    collector: CollectorId,
    keys: Callable[[bytes], VerifyKey | None],
    max_plain_bytes: int = MAX_PLAIN_BYTES,
) -> Batch:
    """Return a signed batch of the collector whose topic it came on.

    keys    finds the collector's enrolled, unrevoked key by its id.
    raises  BadBatch for bounds and form, BadSignature for anything about the key or the signature.
    """
    try:
        payload = open_signed(data, label=BATCH, collector=collector, keys=keys)
    except BadSignature:
        raise
    except BadMessage as error:
        raise BadBatch(error.reason_code, error.detail) from None
    batch = decode_payload(payload, max_plain_bytes=max_plain_bytes)
    if batch.id.collector != collector:
        raise BadBatch("collector", f"{batch.id.collector} on the topic of {collector}")
    return batch


@dataclass(frozen=True, slots=True)
class Ack:
    """The portal's word on one batch, given after its commit.

    committed    True: stored, the collector may drop it. False: refused for good, with the reason.
    reason_code  empty when committed.
    """

    batch_id: BatchId
    batch_hash: bytes
    committed: bool
    reason_code: str
    acked_at: datetime


def sign_ack(ack: Ack, key: SigningKey) -> bytes:
    """Return a signed ack."""
    payload = {
        0: ack.batch_id.epoch,
        1: int(ack.batch_id.stream),
        2: ack.batch_id.sequence,
        3: ack.batch_hash,
        4: ack.committed,
        5: ack.reason_code,
        6: col.microseconds(ack.acked_at),
    }
    return sign(cbor2.dumps(payload, canonical=True), label=ACK, collector=ack.batch_id.collector, key=key)


def open_ack(data: bytes, *, collector: CollectorId, keys: Callable[[bytes], VerifyKey | None]) -> Ack:
    """Return a verified ack for this collector; raises BadMessage or BadSignature."""
    payload = open_signed(data, label=ACK, collector=collector, keys=keys)
    value = _payload_map(payload, frozenset(range(7)))
    try:
        stream, sequence = Stream(col.integer(value[1])), col.integer(value[2], 1, col.LIMIT)
        batch_id = BatchId(collector, col.octets(value[0], 16), stream, sequence)
        if type(value[4]) is not bool:
            raise BadMessage("format", "committed")
        acked_at = col.moment_at(col.integer(value[6]))
        return Ack(batch_id, col.octets(value[3], 32), value[4], col.text(value[5], 64), acked_at)
    except ValueError as error:
        raise BadMessage("range", str(error)[:200]) from None


@dataclass(frozen=True, slots=True)
class Command:
    """An order of the portal to one collector; nothing is ever written to a meter.

    nonce  16 random bytes, used once; the collector remembers it until the command expires.
    kind   `read-now`, `configure`, `rotate-key`; the body is the kind's own.
    """

    nonce: bytes
    kind: str
    issued_at: datetime
    expires_at: datetime
    body: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def sign_command(command: Command, *, collector: CollectorId, key: SigningKey) -> bytes:
    """Return a signed command for one collector."""
    payload = {
        0: command.nonce,
        1: command.kind,
        2: col.microseconds(command.issued_at),
        3: col.microseconds(command.expires_at),
        4: dict(command.body),
    }
    return sign(cbor2.dumps(payload, canonical=True), label=COMMAND, collector=collector, key=key)


def open_command(
    data: bytes,
    *,
    collector: CollectorId,
    keys: Callable[[bytes], VerifyKey | None],
    now: datetime,
    longest: timedelta,
) -> Command:
    """Return a verified command that has not expired; that its nonce is unused is for the store to say.

    longest  how long a command may be valid: the time for which nonces are remembered.
    raises   BadMessage or BadSignature.
    """
    payload = open_signed(data, label=COMMAND, collector=collector, keys=keys)
    value = _payload_map(payload, frozenset(range(5)))
    issued_at, expires_at = (col.moment_at(col.integer(value[key])) for key in (2, 3))
    if not issued_at <= expires_at <= issued_at + longest or not now < expires_at:
        raise BadMessage("expired", f"expired at {expires_at.isoformat()}")
    body = value[4]
    if type(body) is not dict or any(type(key) is not str for key in body):
        raise BadMessage("format", "a command's body")
    return Command(col.octets(value[0], 16), col.text(value[1], 40), issued_at, expires_at, MappingProxyType(body))


def _payload_map(payload: bytes, keys: frozenset[int]) -> dict[int, Any]:
    try:
        value = cbor2.loads(payload, max_depth=16, allow_indefinite=False, allow_duplicate_keys=False)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError) as error:
        raise BadMessage("format", f"CBOR: {error}"[:200]) from None
    return col.fields(value, required=keys)


def _protected(alg: Algorithm, key_id: bytes) -> bytes:
    return cbor2.dumps({1: int(alg), 4: key_id}, canonical=True)


def _to_be_signed(protected: bytes, payload: bytes, label: str, collector: CollectorId) -> bytes:
    """Return the Sig_structure of RFC 9052, section 4.4."""
    return cbor2.dumps(["Signature1", protected, external_aad(label, collector), payload], canonical=True)


def _take_apart(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (protected, payload, signature) of an envelope in its one deterministic form."""
    if data[:2] != _HEAD:
        raise BadMessage("envelope", "not tag 18")
    protected, at = _byte_string(data, 2)
    if data[at : at + 1] != b"\xa0":
        raise BadMessage("envelope", "unprotected header")
    payload, at = _byte_string(data, at + 1)
    signature, at = _byte_string(data, at)
    if at != len(data) or len(signature) != _SIGNATURE_BYTES:
        raise BadMessage("envelope", "length")
    return protected, payload, signature


def _byte_string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the CBOR byte string at an offset, its length written as shortly as can be, and the offset behind it."""
    head = data[at] if at < len(data) else 0
    size_bytes = {0x58: 1, 0x59: 2, 0x5A: 4}.get(head, 0)
    if size_bytes:
        size = int.from_bytes(data[at + 1 : at + 1 + size_bytes], "big")
        shortest = {1: 24, 2: 1 << 8, 4: 1 << 16}[size_bytes]
    else:
        size, shortest = head - 0x40, 0
    start = at + 1 + size_bytes
    if not shortest <= size or (not size_bytes and size > 23) or start + size > len(data):
        raise BadMessage("envelope", "a byte string")
    return data[start : start + size], start + size
