"""The telephone of a person: who gets texts, and why somebody does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.notifications.models import Phone, StoppedNumber

if TYPE_CHECKING:
    from portal.core.models import User


def phone_of(person: User) -> Phone | None:
    """Return the telephone that a person's texts go to: proven, with consent, and not stopped; None without one."""
    phone = Phone.objects.filter(user=person).first()
    return None if phone is None or is_stopped(phone.number) else phone


def is_stopped(number: str) -> bool:
    """Tell whether a number said STOP and has not said START since."""
    return StoppedNumber.objects.filter(number=number).exists()
