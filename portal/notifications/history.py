"""What was sent to a person, and whether a message that somebody holds in their hands is one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.db.models import Q

from portal.core.public_id import ALPHABET, LENGTH
from portal.notifications.models import Category, Channel, Message

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from portal.core.models import User

_TYPED_CHARS = 60


@dataclass(frozen=True, slots=True)
class Sighting:
    """All that is told to anybody about a message of ours: when, by which channel, about what. Nothing personal."""

    sent_at: datetime
    channel: Channel
    category: Category


def messages_for(person: User) -> QuerySet[Message]:
    """Return every message to a person, the newest first: by their sign-in, or to their verified address."""
    theirs = Q(user=person)
    if EmailAddress.objects.filter(user=person, email=person.email, verified=True).exists():
        theirs |= Q(user__isnull=True, channel=Channel.EMAIL, to=person.email)
    return Message.objects.filter(theirs).order_by("-queued_at", "-pk")


def code_typed(text: str) -> str:
    """Return the code that somebody typed from a message, as it is kept; empty for what can be none."""
    bare = "".join(one for one in text[:_TYPED_CHARS].lower() if one.isalnum())
    return bare if len(bare) == LENGTH and set(bare) <= set(ALPHABET) else ""


def sighting(text: str) -> Sighting | None:
    """Return what we sent under a code, None when we sent nothing with it; both with the same one question."""
    row = (
        Message.objects.filter(public_id=code_typed(text), sent_at__isnull=False)
        .values_list("sent_at", "channel", "category")
        .first()
    )
    return None if row is None or row[0] is None else Sighting(row[0], Channel(row[1]), Category(row[2]))
