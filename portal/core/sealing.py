"""Secrets that must be read again, encrypted: of authenticator apps, recovery codes, links in messages that wait.

The key is derived from the portal's secret key, which lies in a file of its own: a copy of the database alone opens
nothing. After a change of that key the former ones, in SECRET_KEY_FALLBACKS, still open what they sealed.
"""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

MARK = "f1:"
"""Before every sealed text. No secret begins like that: theirs are Base32 and hexadecimal."""
SECOND_STEPS = b"headwater portal: secrets of second steps, 1"
MESSAGES = b"headwater portal: texts of messages that wait, 1"
"""What a key is for: nothing that was sealed for one thing opens as another, whatever somebody moves in the tables."""


class Unreadable(ValueError):
    """A sealed text that no key of ours opens: the key is gone, or somebody changed the text."""


def seal(text: str, what: bytes = SECOND_STEPS) -> str:
    """Return a text encrypted and authenticated with today's key (Fernet: AES-128-CBC, HMAC-SHA256)."""
    return MARK + _keys(what).encrypt(text.encode()).decode()


def unseal(sealed: str, what: bytes = SECOND_STEPS) -> str:
    """Return what was sealed; a text that never was, from before there was sealing, as it is.

    raises  Unreadable.
    """
    if not sealed.startswith(MARK):
        return sealed
    try:
        return _keys(what).decrypt(sealed.removeprefix(MARK)).decode()
    except InvalidToken as error:
        raise Unreadable("no key of the portal's opens this") from error


def is_current(sealed: str) -> bool:
    """Tell whether the secret of a second step is sealed with today's key."""
    try:
        _fernet(settings.SECRET_KEY, SECOND_STEPS).decrypt(sealed.removeprefix(MARK))
    except InvalidToken:
        return False
    return sealed.startswith(MARK)


def _keys(what: bytes) -> MultiFernet:
    return MultiFernet([_fernet(key, what) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


@lru_cache(maxsize=8)
def _fernet(secret: str, what: bytes) -> Fernet:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=what).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
