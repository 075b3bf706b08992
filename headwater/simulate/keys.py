"""Keys that are the same in every run, so that a seed gives the same bytes everywhere. They protect nothing."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.ids import CollectorId
from sync.signing import SigningKey

if TYPE_CHECKING:
    from gateway.sending import Sending
    from sync.signing import VerifyKey

COLLECTORS = tuple(CollectorId(f"sim-{letter}") for letter in "ab")
KEYS_EACH = 2


@functools.cache
def fixed_key(name: str) -> SigningKey:
    """Return the key of a name."""
    seed = hashlib.sha256(f"headwater simulation {name}".encode()).digest()
    return SigningKey(Ed25519PrivateKey.from_private_bytes(seed))


def portal_key() -> SigningKey:
    """Return the key that signs acks and commands."""
    return fixed_key("portal")


class CollectorKeys:
    """What one collector signs and verifies with; `rotate` takes the next key."""

    def __init__(self, name: CollectorId) -> None:
        self._name = name
        self._number = 0

    def rotate(self) -> None:
        """Sign with the next key from now on; what is sealed keeps its bytes."""
        self._number = (self._number + 1) % KEYS_EACH

    def portal_key_of(self, key_id: bytes) -> VerifyKey | None:
        """Return the portal's key by its key id."""
        key = portal_key()
        return key.verify_key if key_id == key.key_id else None

    def sending(self) -> Sending:
        """Return the production code that makes a batch's bytes, with the key of now."""
        return _sending(self._name, self._number)


@functools.cache
def _sending(name: CollectorId, number: int) -> Sending:
    from gateway.sending import Sending

    # Configuration and addresses are of no use here: nothing but `encode` is called.
    return Sending(None, None, fixed_key(f"{name} {number}"), portal_key().verify_key)  # type: ignore[arg-type]
