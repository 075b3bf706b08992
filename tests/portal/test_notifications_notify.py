"""The door for messages to people: who is reached by which channel, in which language, once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from portal.core.models import User, UtilitySettings
from portal.core.templatetags.portal import letter
from portal.notifications import services
from portal.notifications.hours import text_time
from portal.notifications.models import BadAddress, Message, Phone, StoppedNumber
from portal.notifications.notify import Channel, Notice, notify, person_language
from portal.notifications.sending import send_due
from portal.notifications.services import NewText, code_text, queue_texts

BOTH = frozenset(Channel)
NOON = datetime(2026, 7, 4, 17, tzinfo=UTC)


@pytest.fixture
def ana(db: None) -> User:
    """A person with a verified address and a verified telephone."""
    UtilitySettings.objects.create(
        pk=1, name="City Water", portal_url="https://water.city.example/", contact_phone="405-555-0100"
    )
    person = User.objects.create_user("ana@example.org")
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    Phone.objects.create(
        user=person,
        number="+14055550123",
        consented_at=NOON,
        verified_at=NOON,
        consent_text="Yes",
        consent_language="en",
    )
    return person


def notice(**fields: Any) -> Notice:
    return Notice(
        **{
            "key": "leak:1",
            "category": "alert",
            "subject": "Water is running",
            "text": "Water has run for 5 hours.",
            "sms": "Water has run for 5 hours.",
            "link": "/alerts/abc/",
            **fields,
        }
    )


def test_a_notice_goes_once_by_every_channel_asked_for(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "now", lambda: NOON)
    email, text = notify(ana, notice(), by=BOTH)
    assert [one.pk for one in notify(ana, notice(text="Another"), by=BOTH)] == [email.pk, text.pk]
    assert Message.objects.count() == 2
    assert (email.channel, email.to, email.category, email.user) == ("email", ana.email, "alert", ana)
    assert email.subject == "City Water: Water is running"
    for part in ("Water has run", "https://water.city.example/alerts/abc/", code_text(email.public_id), "405-555-0100"):
        assert part in email.text
        assert part in email.html
    assert (text.channel, text.to, text.next_try_at) == ("sms", "+14055550123", NOON)
    assert text.text == (
        "City Water: Water has run for 5 hours. https://water.city.example/alerts/abc/ "
        f"Code {code_text(text.public_id)}. Reply STOP to end texts."
    )
    assert [one.channel for one in notify(ana, notice(key="k2"), by=frozenset({Channel.EMAIL}))] == ["email"]


def test_nobody_gets_what_they_cannot_or_do_not_want_to_get(ana: User) -> None:
    StoppedNumber.objects.create(number="+14055550123", stopped_at=NOON, source="text")
    assert [one.channel for one in notify(ana, notice(), by=BOTH)] == ["email"]
    BadAddress.objects.create(email=ana.email, since=NOON, reason="550")
    assert notify(ana, notice(key="k2"), by=BOTH) == []
    assert [one.channel for one in notify(ana, notice(key="k3", category="account"), by=BOTH)] == ["email"]
    EmailAddress.objects.update(verified=False)
    assert notify(ana, notice(key="k4", category="account"), by=BOTH) == []
    Phone.objects.all().delete()
    assert notify(ana, notice(key="k5"), by=BOTH) == []


def test_messages_come_in_the_language_of_the_person_else_of_the_utility(ana: User) -> None:
    UtilitySettings.objects.update(default_language="es")
    with person_language(ana) as language:
        assert language == "es"
    [email, _] = notify(ana, notice(), by=BOTH)
    assert (email.language, "Cómo" in email.text) == ("es", True)
    ana.language = "en"
    [email, _] = notify(ana, notice(key="k2"), by=BOTH)
    assert email.language == "en"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("2026-07-04 07:59", "2026-07-04 08:00"),
        ("2026-07-04 08:00", "2026-07-04 08:00"),
        ("2026-07-04 20:59", "2026-07-04 20:59"),
        ("2026-07-04 21:00", "2026-07-05 08:00"),
        ("2026-03-07 22:00", "2026-03-08 08:00"),  # a night of 9 hours that had 10 on the clock
        ("2026-10-31 22:00", "2026-11-01 08:00"),
        ("2026-11-01 01:30", "2026-11-01 08:00"),
    ],
)
def test_texts_wait_for_the_morning_of_the_wall_clock(asked: str, sent: str) -> None:
    zone = ZoneInfo("America/Chicago")
    moment = datetime.fromisoformat(asked).replace(tzinfo=zone).astimezone(UTC)
    assert text_time(moment, zone).astimezone(zone).strftime("%Y-%m-%d %H:%M") == sent


@pytest.mark.django_db
def test_a_text_that_somebody_waits_for_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    night = datetime(2026, 7, 5, 4, tzinfo=UTC)
    monkeypatch.setattr(services, "now", lambda: night)
    for key, at_any_hour in (("a", False), ("b", True)):
        queue_texts([NewText(key, "+14055550123", "hello", services.Category.ACCOUNT, at_any_hour=at_any_hour)])
    assert dict(Message.objects.values_list("key", "next_try_at")) == {
        "a": datetime(2026, 7, 5, 13, tzinfo=UTC),
        "b": night,
    }


def test_emails_that_can_be_turned_off_say_where(ana: User) -> None:
    for category in ("alert", "account"):
        notify(ana, notice(key=category, category=category), by=frozenset({Channel.EMAIL}))
    send_due()
    alert, account = mail.outbox
    assert alert.extra_headers["List-Unsubscribe"].startswith("<https://water.city.example/")
    assert "List-Unsubscribe" not in account.extra_headers


def test_an_email_shows_dashes_as_a_list_and_its_words_as_words() -> None:
    shown = letter("Look <here>\nnow.\n\nCheck:\n- one & two\n- three\n")
    assert shown.startswith("<p>Look &lt;here&gt;<br>now.</p>\n<p>Check:</p>\n<ul ")
    assert shown.endswith("<li>one &amp; two</li><li>three</li></ul>")
