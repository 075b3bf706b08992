"""Telephones: consent in its words, a code that is right once, limits that hold, one answer for all that is wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from allauth.account.models import EmailAddress

from portal.core.errors import Refused
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.notifications import phones
from portal.notifications.models import Message, Phone, PhoneCode, StoppedNumber
from portal.notifications.phones import (
    consent_wording,
    hidden_number,
    number_text,
    number_typed,
    phone_of,
    prove,
    remove_phone,
    send_code,
)
from portal.notifications.provider import TextProvider
from portal.notifications.sending import send_due

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.fixtures import SettingsWrapper

NUMBER, E164 = "405-555-0123", "+14055550123"


@pytest.fixture
def ana(db: None, settings: SettingsWrapper, tmp_path: Path) -> User:
    """A person with a verified address, in a portal that offers texts."""
    settings.SMS = TextProvider(tmp_path / "outbox", account="AC1", sender="+14055550100")
    UtilitySettings.objects.create(pk=1, name="City Water")
    return _person("ana")


def _person(name: str) -> User:
    person = User.objects.create_user(f"{name}@example.org", language="en")
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    return person


def _code() -> str:
    text = Message.objects.filter(channel="sms").latest("pk").says
    found = re.search(r"\b\d{6}\b", text)
    assert found, text
    return found[0]


def _wrong() -> str:
    return f"{(int(_code()) + 1) % 1_000_000:06d}"


def _later(moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return moment

    monkeypatch.setattr(phones, "datetime", Clock)


@pytest.mark.parametrize(
    "typed", ["405-555-0123", "(405) 555 0123", "+1 405 555 0123", "1.405.555.0123", " 4055550123 "]
)
def test_a_number_is_known_however_it_is_typed(typed: str) -> None:
    assert number_typed(typed) == E164
    assert (number_text(E164), hidden_number(E164)) == ("(405) 555-0123", "…0123")


@pytest.mark.parametrize(
    "typed",
    ["", "555-0123", "911", "800-555-1234", "+52 55 1234 5678", "405-555-0123 ext. 4", "405-555-01234", "x" * 99],
)
def test_what_cannot_get_texts_here_is_refused(typed: str) -> None:
    with pytest.raises(Refused, match="Write a mobile number"):
        number_typed(typed)


def test_the_right_code_adds_the_telephone_with_the_consent_in_its_words(ana: User) -> None:
    row = send_code(ana, NUMBER, agreed=True)
    message = Message.objects.get(channel="sms")
    assert (message.to, message.user, message.at_any_hour, message.secret) == (E164, ana, True, True)
    assert _code().encode() not in bytes(row.code_hash)
    phone = prove(ana, f" {_code()[:3]} {_code()[3:]} ")
    assert phone_of(ana) == phone
    assert (phone.number, phone.consent_text, phone.consent_language) == (E164, consent_wording(), "en")
    assert "City Water" in phone.consent_text
    assert phone.consented_at == row.created_at
    told = Message.objects.get(channel="email")
    assert "ending in 0123" in told.text
    assert E164 not in told.text
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"phone.code", "phone.verify"}


def test_nobody_gets_texts_who_did_not_agree(ana: User) -> None:
    with pytest.raises(Refused, match="Tick the box"):
        send_code(ana, NUMBER, agreed=False)
    assert not Message.objects.exists()


def test_a_code_is_right_once(ana: User) -> None:
    send_code(ana, NUMBER, agreed=True)
    code = _code()
    prove(ana, code)
    with pytest.raises(Refused) as again:
        prove(ana, code)
    assert again.value.code == "code"


def test_after_five_wrong_codes_the_right_one_is_wrong_too(ana: User) -> None:
    send_code(ana, NUMBER, agreed=True)
    said = set()
    for typed in [_wrong()] * 4 + [""] + [_code()]:
        with pytest.raises(Refused) as refused:
            prove(ana, typed)
        said.add((refused.value.code, str(refused.value)))
    assert len(said) == 1
    assert PhoneCode.objects.get().tries == 5
    assert phone_of(ana) is None


def test_a_code_is_good_for_ten_minutes_and_for_who_asked(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    row = send_code(ana, NUMBER, agreed=True)
    with pytest.raises(Refused):
        prove(_person("ben"), _code())
    _later(row.expires_at, monkeypatch)
    with pytest.raises(Refused):
        prove(ana, _code())
    assert phone_of(ana) is None


def test_another_code_voids_the_one_before(ana: User) -> None:
    send_code(ana, NUMBER, agreed=True)
    first = _code()
    send_code(ana, NUMBER, agreed=True)
    if first != _code():
        with pytest.raises(Refused):
            prove(ana, first)
    assert prove(ana, _code()).number == E164


def test_removing_the_telephone_voids_a_code_that_was_asked_for(ana: User) -> None:
    send_code(ana, NUMBER, agreed=True)
    remove_phone(ana)
    assert PhoneCode.objects.filter(closed_at__isnull=True).count() == 0
    with pytest.raises(Refused):
        prove(ana, _code())


def test_three_codes_an_hour_and_five_a_day_for_a_person_and_for_a_number(
    ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime.now(UTC)
    for n in range(3):
        send_code(ana, f"405-555-012{n}", agreed=True)
    with pytest.raises(Refused) as refused:
        send_code(ana, NUMBER, agreed=True)
    assert refused.value.code == "too-often"
    others = [_person(f"other{n}") for n in range(4)]
    for other in others[:3]:
        send_code(other, NUMBER, agreed=True)
    with pytest.raises(Refused):  # nobody floods a telephone from several sign-ins
        send_code(others[3], NUMBER, agreed=True)
    _later(start + timedelta(hours=1, minutes=1), monkeypatch)
    for n in range(2):
        send_code(ana, f"405-555-013{n}", agreed=True)
    with pytest.raises(Refused):
        send_code(ana, "405-555-0140", agreed=True)
    _later(start + timedelta(days=1, hours=2), monkeypatch)
    assert send_code(ana, "405-555-0140", agreed=True)


def test_changing_the_number_needs_its_code_and_the_old_one_counts_until_then(ana: User) -> None:
    send_code(ana, NUMBER, agreed=True)
    prove(ana, _code())
    send_code(ana, "405-555-0199", agreed=True)
    assert phone_of(ana) == Phone.objects.get(number=E164)
    with pytest.raises(Refused):
        prove(ana, _wrong())
    prove(ana, _code())
    assert Phone.objects.get().number == "+14055550199"
    assert AuditEntry.objects.filter(action="phone.change").count() == 1
    assert remove_phone(ana)
    assert (phone_of(ana), remove_phone(ana)) == (None, False)
    assert Message.objects.filter(channel="email").count() == 3


def test_stop_outlives_removing_and_adding_the_number(ana: User) -> None:
    send_code(ana, NUMBER, agreed=True)
    prove(ana, _code())
    StoppedNumber.objects.create(number=E164, stopped_at=datetime.now(UTC), source="text")
    assert phone_of(ana) is None
    remove_phone(ana)
    send_code(ana, NUMBER, agreed=True)  # says the same to whoever types a stopped number
    text = Message.objects.filter(channel="sms").latest("pk")
    send_due()
    text.refresh_from_db()
    assert text.failed_at
    assert (text.text, "STOP" in text.last_error) == ("", True)


# the page


def test_the_page_leads_from_a_number_to_a_confirmed_telephone(client: Client, ana: User) -> None:
    client.force_login(ana)
    address = "/profile/phone/"
    assert "Add your mobile number" in client.get(address).content.decode()
    answer = client.post(address, {"number": "12", "consent": "yes"})
    assert answer.status_code == 422
    assert '<a href="#phone-number">' in answer.content.decode()
    answer = client.post(address, {"number": NUMBER})
    assert answer.status_code == 422
    assert '<a href="#phone-consent">' in answer.content.decode()
    page = client.post(address, {"number": NUMBER, "consent": "yes"}, follow=True).content.decode()
    assert "(405) 555-0123" in page
    assert _code() not in page
    answer = client.post("/profile/phone/confirm/", {"code": _wrong()})
    assert answer.status_code == 422
    assert 'autocomplete="one-time-code"' in answer.content.decode()
    page = client.post("/profile/phone/confirm/", {"code": _code()}, follow=True).content.decode()
    assert 'id="phone-held">(405) 555-0123' in page
    StoppedNumber.objects.create(number=E164, stopped_at=datetime.now(UTC), source="text")
    assert "Text START to (405) 555-0100" in client.get(address).content.decode()
    page = client.post("/profile/phone/remove/", follow=True).content.decode()
    assert "phone-held" not in page


def test_without_a_provider_no_texts_are_offered(client: Client, ana: User, settings: SettingsWrapper) -> None:
    settings.SMS = TextProvider(Path())
    settings.DEMO = False
    client.force_login(ana)
    assert 'id="no-texts"' in client.get("/profile/phone/").content.decode()
    client.post("/profile/phone/", {"number": NUMBER, "consent": "yes"})
    assert not PhoneCode.objects.exists()


def test_strangers_are_sent_to_sign_in(client: Client, ana: User) -> None:
    for address in ("/profile/phone/", "/profile/phone/confirm/", "/profile/phone/remove/", "/profile/messages/"):
        answer = client.post(address) if address != "/profile/messages/" else client.get(address)
        assert answer.status_code == 302
        assert "login" in answer["Location"]
