"""The telephone of a person: added with their consent, proven by a code, stopped by STOP, removed when they like.

Codes live by the machine's own clock. Whatever is wrong with a code is answered in the same words, and whether a number
is known here, belongs to somebody else, or said STOP is never told to who types it.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime, timedelta

import phonenumbers
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.crypto import salted_hmac
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

from portal.core.errors import Refused
from portal.core.models import User
from portal.core.public_id import new_public_id
from portal.core.services import audit, utility_settings
from portal.notifications.models import Category, Phone, PhoneCode, StoppedNumber
from portal.notifications.services import NewText, queue_texts

CODE_GOOD_FOR = timedelta(minutes=10)
TRIES_MAX = 5
SENDS_AN_HOUR, SENDS_A_DAY = 3, 5
_NUMBER_CHARS = 40
_TEXTABLE = frozenset({phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE})
"""In North America numbers do not tell mobile from fixed."""

_ADDED = gettext_noop("The number ending in %(end)s gets the texts about your water account from now on.")
_REMOVED = gettext_noop("The number ending in %(end)s gets no more texts about your water account.")


def phone_of(person: User) -> Phone | None:
    """Return the telephone that a person's texts go to: proven, with consent, and not stopped; None without one."""
    phone = Phone.objects.filter(user=person).first()
    return None if phone is None or is_stopped(phone.number) else phone


def is_stopped(number: str) -> bool:
    """Tell whether a number said STOP and has not said START since."""
    return StoppedNumber.objects.filter(number=number).exists()


def stopped_at(number: str) -> datetime | None:
    """Return when a number said STOP, None when it did not."""
    return StoppedNumber.objects.filter(number=number).values_list("stopped_at", flat=True).first()


def number_typed(text: str) -> str:
    """Return a number as it was typed in E.164; raises Refused(`number`) for one that we do not text."""
    wrong = Refused("number", _("Write a mobile number with its area code, such as 405-555-0123."))
    regions = settings.SMS.regions
    try:
        number = phonenumbers.parse(text[:_NUMBER_CHARS], regions[0])
    except phonenumbers.NumberParseException as error:
        raise wrong from error
    known = phonenumbers.is_valid_number(number) and phonenumbers.number_type(number) in _TEXTABLE
    if not known or number.extension or phonenumbers.region_code_for_number(number) not in regions:
        raise wrong
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def number_text(number: str) -> str:
    """Return a number as people of its country write it: `(405) 555-0123`."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return number
    at_home = phonenumbers.region_code_for_number(parsed) == settings.SMS.regions[0]
    style = phonenumbers.PhoneNumberFormat.NATIONAL if at_home else phonenumbers.PhoneNumberFormat.INTERNATIONAL
    return phonenumbers.format_number(parsed, style)


def hidden_number(number: str) -> str:
    """Return `…0123`: enough to recognise one's own number, too little to call another's."""
    return f"…{number[-4:]}"


def consent_wording() -> str:
    """Return what a person agrees to, in the language of the page."""
    return _(
        "I agree that %(utility)s sends texts about my water account to this number: the alerts and reminders that I "
        "choose, so how many depends on my choices. Message and data rates may apply. I can end them at any time by "
        "replying STOP, or HELP for help. I do not have to agree to this to have water service."
    ) % {"utility": utility_settings().name}


@transaction.atomic
def send_code(person: User, typed: str, *, agreed: bool) -> PhoneCode:
    """Send a code to a number as it was typed; a code sent before is void from now on.

    raises  Refused: `number`; `consent` without it; `too-often` beyond 3 an hour or 5 a day for the person or number.
    """
    number = number_typed(typed)
    if not agreed:
        raise Refused("consent", _("Tick the box: we may send texts only to people who agree to it."))
    # One at a time for a person, so that two requests at once do not both see room for one more.
    User.objects.select_for_update().get(pk=person.pk)
    moment = datetime.now(UTC)
    asked = PhoneCode.objects.filter(Q(user=person) | Q(number=number))
    for most, span in ((SENDS_AN_HOUR, timedelta(hours=1)), (SENDS_A_DAY, timedelta(days=1))):
        if asked.filter(created_at__gt=moment - span).count() >= most:
            raise Refused("too-often", _("We have sent as many codes as we may for now. Try again later."))
    PhoneCode.objects.filter(user=person, closed_at__isnull=True).update(closed_at=moment)
    digits = f"{secrets.randbelow(1_000_000):06d}"
    row = PhoneCode.objects.create(
        user=person,
        number=number,
        code_hash=_hash(person, number, digits),
        consent_text=consent_wording(),
        consent_language=get_language() or settings.LANGUAGE_CODE,
        created_at=moment,
        expires_at=moment + CODE_GOOD_FOR,
    )
    text = _("%(utility)s: %(digits)s is your code, good for 10 minutes. We never ask for it. Reply STOP to end texts.")
    queue_texts(
        [
            NewText(
                key=f"phone-code:{row.pk}",
                to=number,
                text=text % {"utility": utility_settings().name, "digits": digits},
                category=Category.ACCOUNT,
                language=row.consent_language,
                user=person.pk,
                at_any_hour=True,
                secret=True,
            )
        ]
    )
    audit("phone.code", actor=person, target=person)
    return row


def open_code(person: User) -> PhoneCode | None:
    """Return the code that a person can type now, None without one."""
    return (
        PhoneCode.objects.filter(user=person, closed_at__isnull=True, expires_at__gt=datetime.now(UTC))
        .order_by("-created_at", "-pk")
        .first()
    )


def prove(person: User, typed: str) -> Phone:
    """Take the code that somebody typed; their texts go to that number from now on, the one before gets none.

    raises  Refused(`code`), in the same words for one that is wrong, late, tried too often, or was never sent.
    """
    with transaction.atomic():
        row = PhoneCode.objects.select_for_update().filter(user=person, closed_at__isnull=True).order_by("-pk").first()
        moment = datetime.now(UTC)
        digits = "".join(one for one in typed[:_NUMBER_CHARS] if one.isdigit())
        right = False
        if row is not None:
            expected = _hash(person, row.number, digits)
            right = hmac.compare_digest(bytes(row.code_hash), expected) and row.expires_at > moment
            row.tries += 1
            row.closed_at = moment if right or row.tries >= TRIES_MAX or row.expires_at <= moment else None
            row.save(update_fields=["tries", "closed_at"])
        if row is not None and right:
            return _add(person, row, moment)
    # Raised outside, so that the try counts.
    raise Refused("code", _("This code is not right, or no longer good. Type it again, or ask for another."))


@transaction.atomic
def remove_phone(person: User) -> bool:
    """Forget a person's telephone and void its codes; False when there was none."""
    PhoneCode.objects.filter(user=person, closed_at__isnull=True).update(closed_at=datetime.now(UTC))
    phone = Phone.objects.filter(user=person).first()
    if phone is None:
        return False
    audit("phone.remove", actor=person, target=phone)
    _tell(person, _REMOVED, phone.number)
    phone.delete()
    return True


def _add(person: User, row: PhoneCode, moment: datetime) -> Phone:
    before = Phone.objects.filter(user=person).first()
    phone, _created = Phone.objects.update_or_create(
        user=person,
        defaults={
            "number": row.number,
            "consented_at": row.created_at,
            "consent_text": row.consent_text,
            "consent_language": row.consent_language,
            "verified_at": moment,
        },
    )
    User.objects.filter(pk=person.pk).update(phone_given="")  # what they gave when registering was for this
    changed = before is not None and before.number != row.number
    audit("phone.change" if changed else "phone.verify", actor=person, target=phone)
    _tell(person, _ADDED, row.number)
    return phone


def _tell(person: User, text: str, number: str) -> None:
    """Write to the person by email: whoever sits at their sign-in, they learn of it."""
    from portal.notifications.notify import BY_EMAIL, Notice, notify, person_language

    with person_language(person):
        notice = Notice(
            key=f"phone:{new_public_id()}",
            category=Category.ACCOUNT,
            subject=_("your telephone number for texts was changed"),
            text=f"{_(text) % {'end': number[-4:]}}\n\n{_('If that was not you, change your password and call us.')}",
            sms="",
            link="/profile/phone/",
        )
        notify(person, notice, by=BY_EMAIL)


def _hash(person: User, number: str, digits: str) -> bytes:
    keyed = salted_hmac("portal.notifications.phone-code", f"{person.pk}:{number}:{digits}", algorithm="sha256")
    return bytes(keyed.digest())
