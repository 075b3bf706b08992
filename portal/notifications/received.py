"""What comes back from telephones: delivery states, and texts that say STOP, START, HELP or something else.

Each is applied once, whatever the provider repeats, in whatever order it comes.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.services import audit, utility_settings, utility_zone
from portal.notifications.models import Category, Channel, Message, Phone, ReceivedText, StoppedNumber
from portal.notifications.notify import language_of
from portal.notifications.services import NewText, queue_texts
from portal.notifications.sms import STOP_ANSWER

if TYPE_CHECKING:
    from portal.core.models import User

Kind = ReceivedText.Kind
_ORDER = {"accepted": 0, "scheduled": 0, "queued": 1, "sending": 2, "sent": 3, "failed": 4, "undelivered": 4}
_ORDER["delivered"] = 5
"""How far a text is: a state never goes back, and what arrived has arrived whatever is said later."""
STOPS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "ALTO", "PARAR"})
STARTS = frozenset({"START", "UNSTOP", "EMPEZAR"})
HELPS = frozenset({"HELP", "INFO", "AYUDA"})
_FIRST_WORD_STOPS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "ALTO", "PARAR"})
"""Enough as the first word of a sentence: `stop texting me` asks for nothing else. `End of May?` does not."""
_SPANISH = frozenset({"ALTO", "PARAR", "AYUDA", "EMPEZAR"})
_TEXT_CHARS = 1600


@dataclass(frozen=True, slots=True)
class Incoming:
    """One text as the provider hands it over.

    answered  the provider has answered it itself (Twilio's opt-out handling): we record it and keep quiet.
    """

    provider_id: str
    number: str
    text: str
    answered: bool = False


@transaction.atomic
def take_state(provider_id: str, state: str, error: str = "", *, code: str = "") -> bool:
    """Apply what the provider says became of a text; False when it changes nothing, or the text is not ours.

    error  why it did not arrive, in our words.
    code   our message's public id, which the callback's address carries: so a text is known to have gone out even when
           the worker that sent it died before it could write that down, and is not sent again.
    """
    row = _ours(provider_id, code) if state in _ORDER and provider_id else None
    if row is None or _ORDER[state] <= _ORDER.get(row.provider_state, -1):
        return False
    if row.provider_id not in ("", provider_id) and state != "delivered":
        return False  # an earlier copy of it: what counts is whether one arrived
    moment = now()
    row.provider_id, row.provider_state = provider_id, state
    row.sent_at, row.failed_at = row.sent_at or moment, None
    if row.secret:
        row.text = ""
    if state == "delivered":
        row.delivered_at, row.bounced_at, row.last_error = moment, None, ""
    elif state in ("failed", "undelivered"):
        row.bounced_at, row.last_error = moment, error[:200]
    row.save()
    return True


def _ours(provider_id: str, code: str) -> Message | None:
    """Return the text of a callback, its row locked."""
    texts = Message.objects.select_for_update().filter(channel=Channel.SMS)
    return texts.filter(provider_id=provider_id).first() or (texts.filter(public_id=code).first() if code else None)


def take_text(incoming: Incoming) -> Kind | None:
    """Apply one text that came in and queue its answer; None when it came before.

    STOP holds at once, for the number, whosever it is; only a START from the same telephone ends it.
    """
    kind, spanish = kind_of(incoming.text)
    with transaction.atomic():
        row, fresh = ReceivedText.objects.get_or_create(
            provider_id=incoming.provider_id,
            defaults={
                "number": incoming.number,
                "kind": kind,
                "text": incoming.text[:_TEXT_CHARS],
                "received_at": now(),
            },
        )
        if not fresh:
            return None
        answer = not incoming.answered
        if kind == Kind.STOP:
            answer = stop(incoming.number) and answer  # one confirmation, however often they say it
        elif kind == Kind.START:
            start(incoming.number)
        if answer:
            _answer(row, kind, spanish=spanish)
    return kind


def stop(number: str) -> bool:
    """Let a number get no more texts; False when it got none before."""
    _row, fresh = StoppedNumber.objects.get_or_create(
        number=number, defaults={"stopped_at": datetime.now(UTC), "source": "text"}
    )
    if fresh:
        _note("phone.stop", number)
    return fresh


def start(number: str) -> None:
    """Let a number get texts again: only what its own telephone sent may lead here."""
    if StoppedNumber.objects.filter(number=number).delete()[0]:
        _note("phone.start", number)


def kind_of(text: str) -> tuple[Kind, bool]:
    """Return what a text asks for, and whether it asked in Spanish."""
    plain = unicodedata.normalize("NFKD", text.upper())
    words = re.findall(r"[A-Z]+", "".join(c for c in plain if not unicodedata.combining(c)))
    whole = "".join(words)
    spanish = whole in _SPANISH or bool(words) and words[0] in _SPANISH
    if whole in STOPS or words and words[0] in _FIRST_WORD_STOPS:
        return Kind.STOP, spanish
    if whole in STARTS:
        return Kind.START, spanish
    if whole in HELPS:
        return Kind.HELP, spanish
    return Kind.OTHER, spanish


def _answer(row: ReceivedText, kind: Kind, *, spanish: bool) -> None:
    """Queue the one answer: to anything else than a keyword at most once a day of the utility's zone."""
    people = _people(row.number)
    utility = utility_settings()
    language = "es" if spanish else language_of(people[0], utility) if people else utility.default_language
    with translation.override(language):
        key, text = f"text-answer:{row.provider_id}", ""
        name, phone = utility.name, utility.contact_phone
        ask = _("Questions? Call %(phone)s.") % {"phone": phone} if phone else ""
        if kind == Kind.STOP:
            key = STOP_ANSWER + row.provider_id
            text = _("%(utility)s: You will get no more texts. Reply START to get them again.") % {"utility": name}
        elif kind == Kind.START:
            text = _("%(utility)s: You will get texts again. Reply STOP to end them.") % {"utility": name}
        elif kind == Kind.HELP:
            text = _("%(utility)s: texts about your water account. Reply STOP to end them.") % {"utility": name}
        else:
            key = f"text-answer:{row.number}:{row.received_at.astimezone(utility_zone()).date()}"
            text = _("%(utility)s: nobody reads replies to these texts. Reply HELP for help, STOP to end them.") % {
                "utility": name
            }
        # They write at this hour themselves, so the answer may come at this hour.
        queue_texts(
            [
                NewText(
                    key=key,
                    to=row.number,
                    text=f"{text} {ask}".strip(),
                    category=Category.ACCOUNT,
                    language=language,
                    user=people[0].pk if len(people) == 1 else None,
                    at_any_hour=True,
                )
            ]
        )


def _people(number: str) -> list[User]:
    return [phone.user for phone in Phone.objects.filter(number=number).select_related("user").order_by("pk")]


def _note(action: str, number: str) -> None:
    """Write down for each person with that number that their telephone did it."""
    for phone in Phone.objects.filter(number=number):
        audit(action, label="text message", target=phone)
