"""What Twilio posts to us: believed with its signature alone, applied once, in whatever order; and attacks on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from portal.core.models import AuditEntry, User, UtilitySettings
from portal.notifications import received
from portal.notifications.models import Message, Phone, ReceivedText, StoppedNumber
from portal.notifications.provider import TextProvider
from portal.notifications.received import kind_of
from portal.notifications.services import Category, NewText, queue_texts
from tests.portal.twilio_server import ACCOUNT, NUMBER, TOKEN, signature

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.fixtures import SettingsWrapper

SITE = "https://water.city.example"
STATUS, INBOUND = "/hooks/sms/status/", "/hooks/sms/inbound/"
TO = "+14055550123"
NOON = datetime(2026, 7, 4, 17, tzinfo=UTC)
Kind = ReceivedText.Kind


@pytest.fixture(autouse=True)
def _portal(settings: SettingsWrapper, db: None) -> None:
    settings.SMS = TextProvider(Path(), ACCOUNT, TOKEN, sender=NUMBER)
    UtilitySettings.objects.create(pk=1, name="City Water", portal_url=SITE + "/", contact_phone="405-555-0100")


@pytest.fixture
def ana() -> User:
    person = User.objects.create_user("ana@example.org", language="en")
    Phone.objects.create(
        user=person, number=TO, consented_at=NOON, verified_at=NOON, consent_text="Yes", consent_language="en"
    )
    return person


def _post(client: Client, path: str, fields: dict[str, str], **headers: str) -> int:
    signed = {"X-Twilio-Signature": signature(TOKEN, SITE + path, fields), **headers}
    body = urlencode(fields)
    answer = client.post(path, body, content_type="application/x-www-form-urlencoded", headers=signed)
    return int(answer.status_code)


def _says(client: Client, text: str, sid: str = "SM1", **fields: str) -> int:
    return _post(
        client, INBOUND, {"AccountSid": ACCOUNT, "MessageSid": sid, "From": TO, "To": NUMBER, "Body": text, **fields}
    )


def _sent(**fields: Any) -> Message:
    queue_texts([NewText("k1", TO, "hello", Category.ALERT)])
    Message.objects.update(**{"sent_at": NOON, "provider_id": "SM9", **fields})
    return Message.objects.get()


def _state(client: Client, state: str, **fields: str) -> Message:
    assert _post(client, STATUS, {"MessageSid": "SM9", "MessageStatus": state, "AccountSid": ACCOUNT, **fields}) == 200
    return Message.objects.get()


def test_a_text_is_on_its_way_and_arrives(client: Client) -> None:
    _sent()
    assert _state(client, "queued").provider_state == "queued"
    assert _state(client, "sent").delivered_at is None
    assert _state(client, "delivered").delivered_at is not None


def test_states_never_go_back(client: Client) -> None:
    _sent()
    arrived = _state(client, "delivered").delivered_at
    for late in ("sent", "queued", "undelivered", "failed", "delivered", "nonsense"):
        message = _state(client, late, ErrorCode="30003")
        assert (message.provider_state, message.delivered_at, message.bounced_at) == ("delivered", arrived, None)


def test_a_text_that_did_not_arrive_says_why(client: Client) -> None:
    _sent()
    message = _state(client, "undelivered", ErrorCode="30006")
    assert message.bounced_at
    assert message.last_error == "30006 a landline, or a carrier that takes no texts"
    for code in ("", "٣٠٠٠٣", "9" * 40):
        Message.objects.update(provider_state="sent", bounced_at=None)
        assert "gave no reason" in _state(client, "failed", ErrorCode=code).last_error


def test_texts_that_are_not_ours_are_ignored_quietly(client: Client) -> None:
    message = _sent()
    assert _post(client, STATUS, {"MessageSid": "SM-other", "MessageStatus": "delivered"}) == 200
    assert _post(client, STATUS, {"MessageStatus": "delivered"}) == 200
    Message.objects.update(provider_id="")
    assert _post(client, STATUS, {"MessageSid": "", "MessageStatus": "delivered"}) == 200
    message.refresh_from_db()
    assert message.provider_state == ""


def test_the_code_in_the_address_finds_a_text_whose_id_was_never_written_down(client: Client) -> None:
    message = _sent(sent_at=None, provider_id="")
    path = f"{STATUS}?message={message.public_id}"
    assert _post(client, path, {"MessageSid": "SM5", "MessageStatus": "sent"}) == 200
    message.refresh_from_db()
    assert (message.provider_id, message.sent_at is not None) == ("SM5", True)


# attacks

FIELDS = {"AccountSid": ACCOUNT, "MessageSid": "SM1", "From": TO, "To": NUMBER, "Body": "STOP"}


@pytest.mark.parametrize(
    ("why", "sign"),
    [
        ("no signature", ""),
        ("not base64", "\N{GREEK SMALL LETTER ALPHA}" * 28),
        ("another token", signature("another", SITE + INBOUND, FIELDS)),
        ("another address", signature(TOKEN, "https://evil.example" + INBOUND, FIELDS)),
        ("clear text", signature(TOKEN, SITE.replace("https", "http") + INBOUND, FIELDS)),
        ("another hook", signature(TOKEN, SITE + STATUS, FIELDS)),
        ("a query more", signature(TOKEN, SITE + INBOUND + "?a=1", FIELDS)),
        ("other fields", signature(TOKEN, SITE + INBOUND, {**FIELDS, "Body": "START"})),
        ("a field less", signature(TOKEN, SITE + INBOUND, {"From": TO})),
        ("a truncated signature", signature(TOKEN, SITE + INBOUND, FIELDS)[:-2]),
        ("the empty token", signature("", SITE + INBOUND, FIELDS)),
    ],
)
def test_what_twilio_did_not_sign_changes_nothing(client: Client, why: str, sign: str) -> None:
    assert _post(client, INBOUND, FIELDS, **{"X-Twilio-Signature": sign}) == 403, why
    assert not StoppedNumber.objects.exists()
    assert not ReceivedText.objects.exists()


def test_a_host_that_the_caller_names_is_not_believed(client: Client, settings: SettingsWrapper) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    sign = signature(TOKEN, "https://evil.example" + INBOUND, FIELDS)
    assert _post(client, INBOUND, FIELDS, **{"X-Twilio-Signature": sign, "Host": "evil.example"}) == 403
    assert _post(client, INBOUND, FIELDS, Host="evil.example") == 200  # a proxy in front may name itself


def test_without_a_token_or_an_address_nothing_is_believed(client: Client, settings: SettingsWrapper) -> None:
    settings.SMS = TextProvider(Path(), "", "")
    sign = signature("", SITE + INBOUND, FIELDS)
    assert _post(client, INBOUND, FIELDS, **{"X-Twilio-Signature": sign}) == 403
    settings.SMS = TextProvider(Path(), ACCOUNT, TOKEN)
    UtilitySettings.objects.update(portal_url="")
    assert _post(client, INBOUND, FIELDS) == 403


def test_a_body_that_was_cut_or_lengthened_on_the_way_is_refused(client: Client) -> None:
    headers = {"X-Twilio-Signature": signature(TOKEN, SITE + INBOUND, FIELDS)}
    body = urlencode(FIELDS)
    for changed in (body[:-1], body[:20], body + "&Body=START", body + "&X=1"):
        answer = client.post(INBOUND, changed, content_type="application/x-www-form-urlencoded", headers=headers)
        assert answer.status_code == 403, changed
    assert not StoppedNumber.objects.exists()


def test_only_small_signed_forms_are_read(client: Client) -> None:
    assert client.get(INBOUND).status_code == 405
    assert client.post(INBOUND, b"x" * 20_000, content_type="application/x-www-form-urlencoded").status_code == 413
    assert client.post(INBOUND, FIELDS).status_code == 403  # multipart
    assert client.post(INBOUND, "{}", content_type="application/json").status_code == 403


def test_another_account_and_senders_that_are_no_numbers_are_ignored(client: Client) -> None:
    assert _says(client, "STOP", AccountSid="ACother") == 200
    assert _says(client, "STOP", From="whatsapp:+14055550123") == 200
    assert _says(client, "STOP", sid="") == 200
    assert not ReceivedText.objects.exists()


# what people text


def _answers() -> list[str]:
    return list(Message.objects.order_by("pk").values_list("text", flat=True))


def test_stop_holds_at_once_and_is_confirmed_once(client: Client, ana: User) -> None:
    assert _says(client, " Stop. ") == 200
    assert StoppedNumber.objects.get().number == TO
    assert _says(client, " Stop. ") == 200  # repeated by the provider
    assert _says(client, "stop", sid="SM2") == 200  # repeated by the person
    [answer] = Message.objects.all()
    assert answer.text == (
        "City Water: You will get no more texts. Reply START to get them again. Questions? Call 405-555-0100."
    )
    assert (answer.at_any_hour, answer.user, answer.to) == (True, ana, TO)
    assert AuditEntry.objects.filter(action="phone.stop").count() == 1
    _says(client, "START", sid="SM3")
    assert not StoppedNumber.objects.exists()
    assert "You will get texts again" in _answers()[-1]


def test_a_stop_replayed_after_start_does_not_stop_again(client: Client) -> None:
    _says(client, "STOP", sid="SM1")
    _says(client, "START", sid="SM2")
    _says(client, "STOP", sid="SM1")
    assert not StoppedNumber.objects.exists()


def test_what_twilio_answered_itself_is_recorded_and_not_answered_twice(client: Client) -> None:
    _says(client, "STOP", OptOutType="STOP")
    assert StoppedNumber.objects.exists()
    assert _answers() == []


def test_help_names_the_utility_and_anything_else_is_answered_once_a_day(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "now", lambda: NOON)
    _says(client, "HELP", sid="SM1")
    _says(client, "When is the end of this?", sid="SM2")
    _says(client, "hello?", sid="SM3")
    helped, other = _answers()
    assert helped == (
        "City Water: texts about your water account. Reply STOP to end them. Questions? Call 405-555-0100."
    )
    assert "nobody reads replies" in other
    monkeypatch.setattr(received, "now", lambda: NOON.replace(day=5))
    _says(client, "hello again", sid="SM4")
    assert len(_answers()) == 3
    assert ReceivedText.objects.count() == 4


@pytest.mark.parametrize(
    ("text", "kind", "spanish"),
    [
        ("STOP", Kind.STOP, False),
        ("Stop all", Kind.STOP, False),
        ("stop texting me", Kind.STOP, False),
        ("Opt-out", Kind.STOP, False),
        ("QUIT!", Kind.STOP, False),
        ("Alto", Kind.STOP, True),
        ("parar por favor", Kind.STOP, True),
        ("end of May?", Kind.OTHER, False),
        ("please cancel my Monday visit", Kind.OTHER, False),
        ("UnStop", Kind.START, False),
        ("start", Kind.START, False),
        ("info", Kind.HELP, False),
        ("AYUDA", Kind.HELP, True),
        ("", Kind.OTHER, False),
        ("\N{PILE OF POO}", Kind.OTHER, False),
    ],
)
def test_what_a_text_asks_for(text: str, kind: Kind, spanish: bool) -> None:
    assert kind_of(text) == (kind, spanish)


def test_who_writes_in_spanish_is_answered_in_spanish(client: Client) -> None:
    _says(client, "ALTO")
    assert Message.objects.get().language == "es"
