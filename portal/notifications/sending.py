"""Sends what is due: each message once, as far as SMTP and SMS providers can promise it.

A message is claimed in a transaction of its own (tries + 1, nobody else's for a while), sent outside any transaction,
and marked as sent. Two workers never hold the same one. Only when a worker dies, or the database goes away, between the
server's acceptance and the mark, may it be sent again: neither SMTP nor Twilio knows a key that makes sending safe to
repeat. Both copies of an email carry the same Message-ID, by which mail programs show them as one. Of a text the
provider's report usually comes before the claim ends, and then it is not sent again; without one it may come twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.db.models import F, Q

from portal.core.clock import now
from portal.core.sealing import Unreadable
from portal.core.services import utility_zone
from portal.notifications.attachments import maker_of, tell_lost
from portal.notifications.bounces import mark_bad
from portal.notifications.carriers import Carrier, CarrierAway, NotTaken
from portal.notifications.hours import text_time
from portal.notifications.mail import MailCarrier
from portal.notifications.models import Channel, Message
from portal.notifications.sms import TextCarrier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOG = logging.getLogger(__name__)
CLAIM = 20
TRIES_MAX = 14
LEASE = timedelta(minutes=15)
"""How long a claimed message is nobody else's: many times what sending CLAIM of them takes."""
FIRST_BACK_OFF, LONGEST_BACK_OFF = timedelta(minutes=1), timedelta(hours=6)
"""1, 2, 4, ... minutes, then every 6 hours: given up after a day and a half."""
_ERROR_CHARS = 200
_LABEL = "worker"
_CARRIERS: dict[Channel, Callable[[], Carrier]] = {Channel.EMAIL: MailCarrier, Channel.SMS: TextCarrier}


@dataclass(slots=True)
class Sent:
    """What one call did: sent, to be tried again, given up."""

    sent: int = 0
    later: int = 0
    failed: int = 0

    @property
    def all(self) -> int:
        """How many messages were tried."""
        return self.sent + self.later + self.failed


def send_due(moment: datetime | None = None, *, limit: int = 2_000, only_waited_for: bool = False) -> Sent:
    """Send messages whose time has come, at most `limit` of each channel; several workers may do so at once.

    moment           only for tests; without it every claim looks at the clock: a long call never holds a stale one.
    only_waited_for  leave alone what nobody sits and waits for; without it such messages still go first.
    """
    done = Sent()
    for channel in _CARRIERS:
        room = limit
        while room > 0:
            at, before = moment or now(), done.all
            claimed = _claim(channel, at, min(CLAIM, room), only_waited_for=only_waited_for)
            if not claimed or not _send_all(claimed, _CARRIERS[channel](), at, done):
                break
            room -= done.all - before
    return done


def waited_for(moment: datetime) -> bool:
    """Tell whether a message is due for which somebody sits and waits: a code, a link to sign in with."""
    return Message.objects.filter(to_send(moment), at_any_hour=True).exists()


def back_off(tries: int) -> timedelta:
    """Return how long to wait after the try number `tries` (from 1)."""
    doubled: timedelta = FIRST_BACK_OFF * (1 << min(tries - 1, 20))
    return min(doubled, LONGEST_BACK_OFF)


def to_send(moment: datetime) -> Q:
    """Return the condition of messages whose time has come."""
    return Q(sent_at__isnull=True, failed_at__isnull=True, next_try_at__lte=moment)


def _claim(channel: Channel, moment: datetime, most: int, *, only_waited_for: bool) -> list[Message]:
    wanted = to_send(moment) & Q(channel=channel)
    if only_waited_for or (channel == Channel.SMS and text_time(moment, utility_zone()) > moment):
        wanted &= Q(at_any_hour=True)
    with transaction.atomic():
        rows = Message.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
        claimed = list(rows.filter(wanted).order_by("-at_any_hour", "next_try_at", "pk")[:most])
        for message in claimed:
            message.tries += 1
            message.next_try_at = moment + max(LEASE, back_off(message.tries))
        Message.objects.bulk_update(claimed, ["tries", "next_try_at"])
    return claimed


def _send_all(messages: Sequence[Message], carrier: Carrier, moment: datetime, done: Sent) -> bool:
    """Send claimed messages over one connection; False when the server is away: the rest waits, untried."""
    waiting = list(messages)
    try:
        carrier.open()
        while waiting:
            _send_one(waiting[0], carrier, moment, done)
            waiting.pop(0)
    except CarrierAway as away:
        _give_back(waiting, moment, str(away))
        _LOG.warning("%s; messages wait", away)
        return False
    except NotTaken:
        _give_back(waiting[1:], moment, "the connection was lost")
        return False
    finally:
        carrier.close()
    return True


def _send_one(message: Message, carrier: Carrier, moment: datetime, done: Sent) -> None:
    try:
        provider_id = carrier.carry(message)
    except NotTaken as error:
        _missed(message, moment, error, done)
        if error.away:
            raise
    except Unreadable:
        _missed(message, moment, NotTaken("no key opens its text; the person asks anew", permanent=True), done)
    else:
        _mark_sent(message, moment, provider_id)
        done.sent += 1


def _mark_sent(message: Message, moment: datetime, provider_id: str) -> None:
    with transaction.atomic():
        # It may be marked already: the provider's report can be faster than its answer.
        Message.objects.filter(pk=message.pk, sent_at__isnull=True).update(
            sent_at=moment, last_error="", provider_id=provider_id, provider_state=""
        )
        if message.secret:
            Message.objects.filter(pk=message.pk).update(text="", html="")
        if message.attachment:
            maker, reference = maker_of(message.attachment)
            maker.sent(reference, moment)


@transaction.atomic
def _missed(message: Message, moment: datetime, error: NotTaken, done: Sent) -> None:
    given_up = error.for_good or message.tries >= TRIES_MAX
    row = Message.objects.filter(pk=message.pk, sent_at__isnull=True)
    said = str(error).replace(message.to, "the address")[:_ERROR_CHARS]
    missed = row.update(
        failed_at=moment if given_up else None, next_try_at=moment + back_off(message.tries), last_error=said
    )
    if not given_up:
        done.later += 1
        return
    if message.secret:
        row.update(text="", html="")
    if missed:
        tell_lost(message.attachment, moment, _LABEL)
    if error.nobody:
        mark_bad(message.to, said, label=_LABEL)
    done.failed += 1
    _LOG.warning("message %s is given up after %d tries", message.public_id, message.tries)


def _give_back(messages: Sequence[Message], moment: datetime, why: str) -> None:
    """Let messages that were claimed and not tried wait a minute: it was no try of theirs."""
    ids = [message.pk for message in messages]
    Message.objects.filter(pk__in=ids, sent_at__isnull=True).update(
        tries=F("tries") - 1, next_try_at=moment + FIRST_BACK_OFF, last_error=why[:_ERROR_CHARS]
    )
