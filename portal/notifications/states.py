"""How far a message is, in the words that residents and staff read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext_lazy

from portal.notifications.models import Channel, Message

if TYPE_CHECKING:
    from datetime import datetime

    from django_stubs_ext import StrPromise


class State(Enum):
    """How far a message is."""

    WAITING = "waiting"
    LATER = "later"
    SENT = "sent"
    DELIVERED = "delivered"
    CAME_BACK = "came-back"
    GIVEN_UP = "given-up"


WORDS: dict[State, StrPromise] = {
    State.WAITING: gettext_lazy("waiting to be sent"),
    State.LATER: gettext_lazy("could not be sent yet, is tried again"),
    State.SENT: gettext_lazy("sent"),
    State.DELIVERED: gettext_lazy("delivered"),
    State.CAME_BACK: gettext_lazy("did not arrive"),
    State.GIVEN_UP: gettext_lazy("could not be sent"),
}
TONES = {
    State.WAITING: "",
    State.LATER: "warn",
    State.SENT: "good",
    State.DELIVERED: "good",
    State.CAME_BACK: "bad",
    State.GIVEN_UP: "bad",
}
_OPEN = Q(sent_at__isnull=True, failed_at__isnull=True)
IN: dict[State, Q] = {
    State.WAITING: _OPEN & Q(tries=0),
    State.LATER: _OPEN & Q(tries__gt=0),
    State.SENT: Q(sent_at__isnull=False, delivered_at__isnull=True, bounced_at__isnull=True),
    State.DELIVERED: Q(delivered_at__isnull=False, bounced_at__isnull=True),
    State.CAME_BACK: Q(bounced_at__isnull=False),
    State.GIVEN_UP: Q(failed_at__isnull=False),
}
"""The messages in each state, as a condition."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one message is, and since when (for one that waits: when it is tried)."""

    state: State
    at: datetime

    @property
    def words(self) -> StrPromise:
        """Say it."""
        return WORDS[self.state]

    @property
    def tone(self) -> str:
        """Return the colour of its tag."""
        return TONES[self.state]


def standing_of(message: Message) -> Standing:
    """Return how far a message is. Of an email nobody hears that it was delivered: `sent` is the last good word."""
    if message.bounced_at is not None:
        return Standing(State.CAME_BACK, message.bounced_at)
    if message.delivered_at is not None and message.channel == Channel.SMS:
        return Standing(State.DELIVERED, message.delivered_at)
    if message.sent_at is not None:
        return Standing(State.SENT, message.sent_at)
    if message.failed_at is not None:
        return Standing(State.GIVEN_UP, message.failed_at)
    return Standing(State.LATER if message.tries else State.WAITING, message.next_try_at)
