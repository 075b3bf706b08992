"""What can go wrong between a stored read and its acknowledgement.

SyncError                  broker or portal out of reach, or a message that cannot be trusted
  NotConnected             the broker does not answer: retried with back-off
  BadMessage(reason_code)  a message that is not what it must be; the same bytes will never be better
    BadBatch               a batch: envelope, bounds, types or ranges
    BadSignature           any signed message: unknown key, another algorithm, or a signature that does not fit
  BatchRejected            the portal refused a batch for good; it is set aside, never dropped
"""

from __future__ import annotations

from domain.errors import HeadwaterError

REASONS = {
    "oversized": "more bytes, reads or events than the receiver accepts",
    "envelope": "not a COSE_Sign1 message as docs/reference/wire-format.md writes it",
    "version": "a version of the format that this program does not know",
    "compression": "an unknown compression, or bytes that do not decompress",
    "not-deterministic": "CBOR in another than its one deterministic form",
    "format": "a field is missing, of another type, or there are fields too many",
    "range": "a number, time or name is outside what it may be",
    "order": "append_seq does not rise",
    "collector": "the message names another collector than the topic it came on",
    "unknown-key": "no enrolled, unrevoked key of this collector has this key id",
    "algorithm": "the header names another algorithm than the enrolled key's",
    "signature": "the signature does not fit the bytes",
    "expired": "a command after its expiry, or one that is valid for too long",
}
"""Reason codes of BadMessage and what they mean; the portal adds its own (docs/reference/wire-format.md)."""


class SyncError(HeadwaterError):
    """Something between the store and the portal failed."""

    exit_code = 7


class NotConnected(SyncError):
    """The broker cannot be reached or refused us; retried with back-off."""


class BadMessage(SyncError):
    """A received message that can never be accepted.

    reason_code  one of REASONS.
    """

    permanent = True

    def __init__(self, reason_code: str, detail: str = "") -> None:
        self.reason_code = reason_code
        self.detail = detail
        explained = REASONS.get(reason_code, reason_code)
        super().__init__(f"{reason_code}: {explained}" + (f" ({detail})" if detail else ""))

    def as_json(self) -> dict[str, object]:
        """Return the error with its reason code."""
        return {**super().as_json(), "reason_code": self.reason_code}


class BadBatch(BadMessage):
    """A batch that is malformed, oversized or out of range."""


class BadSignature(BadMessage):
    """A signed message whose key, algorithm or signature is not the enrolled one."""


class BatchRejected(SyncError):
    """The portal refused a batch for good; the store keeps it set aside for a person to look at."""

    permanent = True

    def __init__(self, batch: str, reason_code: str) -> None:
        self.batch, self.reason_code = batch, reason_code
        super().__init__(f"the portal rejected batch {batch}: {reason_code}. It is kept; see headwater gateway status")
