"""Addresses from which messages come back: marked by staff or by a delivery report, cleared by their owner."""

from __future__ import annotations

from portal.notifications.models import BadAddress


def is_bad(address: str) -> bool:
    """Tell whether messages to an address come back and its owner has not confirmed it since."""
    return BadAddress.objects.filter(email=address.lower()).exists()
