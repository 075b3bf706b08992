"""Keeps the secrets of authenticator apps and recovery codes encrypted with today's key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from allauth.mfa.models import Authenticator
from django.db import transaction

from portal.core.sealing import Unreadable, is_current, seal, unseal

if TYPE_CHECKING:
    from datetime import datetime

_LOG = logging.getLogger(__name__)
_KINDS = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
_ALONE, _SEVERAL = ("secret", "seed"), "migrated_codes"
"""Under which names allauth keeps them: one text, or a list of them."""


def seal_second_steps(moment: datetime | None = None) -> int:
    """Seal what still lies open, or under a former key; return how many rows. Again: nothing changes.

    moment  of the schedule; what is to be done does not depend on it.
    """
    return sum(_sealed(key) for key in list(Authenticator.objects.filter(type__in=_KINDS).values_list("pk", flat=True)))


@transaction.atomic
def _sealed(key: int) -> bool:
    row = Authenticator.objects.select_for_update().filter(pk=key).first()
    if row is None:
        return False
    try:
        data = _anew(row.data)
    except Unreadable:
        _LOG.error("no key opens the second step of row %s: staff take it off, the person sets it up again", key)
        return False
    if data == row.data:
        return False
    row.data = data
    row.save(update_fields=["data"])
    return True


def _anew(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with every secret under today's key; raises Unreadable."""
    return data | {
        name: [_again(one) for one in value] if name == _SEVERAL else _again(value)
        for name, value in data.items()
        if name in (*_ALONE, _SEVERAL)
    }


def _again(text: str) -> str:
    return text if is_current(text) else seal(unseal(text))
