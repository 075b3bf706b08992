"""Texts: taken, refused, repeated and lost between us and a server that behaves as Twilio's description says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from domain.errors import ConfigError
from portal.config.environment import read_environment
from portal.core.errors import Refused
from portal.core.models import UtilitySettings
from portal.notifications import sending, services
from portal.notifications.models import Category, Message, StoppedNumber
from portal.notifications.provider import TextProvider
from portal.notifications.received import take_state
from portal.notifications.sending import FIRST_BACK_OFF, LEASE, back_off, send_due
from portal.notifications.services import NewText, queue_texts
from portal.notifications.sms import STOP_ANSWER
from tests.portal.twilio_server import ACCOUNT, NUMBER, TOKEN, TwilioServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import SettingsWrapper

TO = "+14055550123"
NOON = datetime(2026, 7, 4, 17, tzinfo=UTC)


@pytest.fixture(scope="module")
def _server() -> Iterator[TwilioServer]:
    with TwilioServer() as server:
        yield server


@pytest.fixture
def twilio(_server: TwilioServer, settings: SettingsWrapper, db: None, monkeypatch: pytest.MonkeyPatch) -> TwilioServer:
    """Texts go to the loopback server, at noon of a summer day."""
    _server.accepted.clear()
    _server.answers.clear()
    settings.SMS = TextProvider(Path(), ACCOUNT, TOKEN, base=_server.base, sender=NUMBER)
    UtilitySettings.objects.create(pk=1, name="City Water", portal_url="https://water.city.example")
    monkeypatch.setattr(services, "now", lambda: NOON)
    return _server


def _queue(key: str = "k1", **fields: Any) -> Message:
    queue_texts(
        [NewText(**{"key": key, "to": TO, "text": "Leak: agua en casa ñ", "category": Category.ALERT, **fields})]
    )
    return Message.objects.get(key=key)


def test_a_text_is_taken_once_and_known_by_the_providers_id(twilio: TwilioServer) -> None:
    message = _queue()
    assert _queue(text="again").pk == message.pk
    assert (send_due(NOON).sent, send_due(NOON + timedelta(days=1)).sent) == (1, 0)
    [form] = twilio.accepted
    assert form == {
        "To": TO,
        "From": NUMBER,
        "Body": "Leak: agua en casa ñ",
        "StatusCallback": f"https://water.city.example/hooks/sms/status/?message={message.public_id}",
    }
    message.refresh_from_db()
    assert (message.provider_id, message.sent_at) == (twilio.sid(0), NOON)


def test_a_messaging_service_stands_in_for_a_number(twilio: TwilioServer, settings: SettingsWrapper) -> None:
    settings.SMS = TextProvider(Path(), ACCOUNT, TOKEN, base=twilio.base, service="MG1")
    _queue()
    assert send_due(NOON).sent == 1
    assert (twilio.accepted[0]["MessagingServiceSid"], "From" in twilio.accepted[0]) == ("MG1", False)


@pytest.mark.parametrize(
    ("code", "words"),
    [(21211, "no such telephone"), (21614, "not a mobile"), (21617, "too long"), (21299, "21299 see")],
)
def test_what_no_later_try_can_help_is_given_up_at_once(twilio: TwilioServer, code: int, words: str) -> None:
    message = _queue()
    twilio.answers += [(400, code)]
    assert send_due(NOON).failed == 1
    message.refresh_from_db()
    assert words in message.last_error
    assert not StoppedNumber.objects.exists()


def test_a_number_that_the_provider_blocks_has_said_stop(twilio: TwilioServer) -> None:
    _queue("k1"), _queue("k2")
    twilio.answers += [(400, 21610)]
    assert send_due(NOON).failed == 2
    assert StoppedNumber.objects.get().source == "provider"
    assert twilio.accepted == []  # the second was not even tried


@pytest.mark.parametrize("answer", [(503, 20503), "hang up"])
def test_what_may_be_taken_later_is_tried_again(twilio: TwilioServer, answer: Any) -> None:
    first, second = _queue("k1"), _queue("k2")
    twilio.answers += [answer]
    assert send_due(NOON).later == 1
    first.refresh_from_db(), second.refresh_from_db()
    assert (first.tries, second.tries, first.failed_at) == (1, 0, None)
    assert send_due(NOON + back_off(1)).sent == 2


@pytest.mark.parametrize("answer", [(429, 20429), (401, 20003), (400, 21606)])
def test_what_is_nobodys_fault_or_the_settings_costs_no_text_a_try(twilio: TwilioServer, answer: Any) -> None:
    message = _queue()
    twilio.answers += [answer]
    assert send_due(NOON) == sending.Sent()
    message.refresh_from_db()
    assert (message.tries, message.next_try_at) == (0, NOON + FIRST_BACK_OFF)
    assert str(answer[0]) in message.last_error
    assert send_due(NOON + FIRST_BACK_OFF).sent == 1


def test_a_wrong_token_lets_texts_wait(
    twilio: TwilioServer, settings: SettingsWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SMS = TextProvider(Path(), ACCOUNT, "wrong", base=twilio.base, sender=NUMBER)
    _queue()
    assert send_due(NOON) == sending.Sent()
    assert "refuses our settings: 20003" in caplog.text
    assert TO not in caplog.text


def test_texts_wait_for_the_morning_and_a_code_does_not(twilio: TwilioServer) -> None:
    night = datetime(2026, 7, 5, 3, tzinfo=UTC)  # 22:00 in Chicago
    _queue("late")
    Message.objects.update(next_try_at=NOON)  # as after a try that failed in the afternoon
    _queue("code", at_any_hour=True, secret=True, text="Your code is 123456")
    assert sending.waited_for(night)
    assert send_due(night).sent == 1
    assert [form["Body"] for form in twilio.accepted] == ["Your code is 123456"]
    assert Message.objects.get(key="code").text == ""
    assert send_due(datetime(2026, 7, 5, 12, 59, tzinfo=UTC)).sent == 0
    assert send_due(datetime(2026, 7, 5, 13, tzinfo=UTC)).sent == 1


def test_a_stop_that_comes_while_a_text_waits_holds(twilio: TwilioServer) -> None:
    message = _queue()
    StoppedNumber.objects.create(number=TO, stopped_at=NOON, source="text")
    assert send_due(NOON).failed == 1
    message.refresh_from_db()
    assert "STOP" in message.last_error
    assert twilio.accepted == []
    _queue(f"{STOP_ANSWER}SM1")  # the one text that may go there: that it was heard
    assert send_due(NOON).sent == 1


def test_a_worker_that_dies_after_the_provider_took_it_may_send_it_twice(twilio: TwilioServer) -> None:
    _queue()
    _die_before_the_mark()
    assert len(twilio.accepted) == 1
    assert send_due(NOON + LEASE - timedelta(seconds=1)).sent == 0
    assert send_due(NOON + LEASE).sent == 1
    assert len(twilio.accepted) == 2


def test_the_providers_report_keeps_it_from_being_sent_twice(twilio: TwilioServer) -> None:
    message = _queue()
    _die_before_the_mark()
    assert take_state(twilio.sid(0), "sent", code=message.public_id)
    assert send_due(NOON + LEASE).sent == 0
    assert len(twilio.accepted) == 1
    message.refresh_from_db()
    assert message.provider_id == twilio.sid(0)
    assert message.sent_at


def _die_before_the_mark() -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "_mark_sent", die)
        with pytest.raises(KeyboardInterrupt):
            send_due(NOON)


@pytest.mark.django_db
@pytest.mark.parametrize("to", ["4055550123", "+1405", "+1405555012a", "", "+140555501234567890"])
def test_only_whole_numbers_are_texted(to: str) -> None:
    with pytest.raises(Refused, match="needs a number"):
        _queue(to=to)


@pytest.mark.django_db
def test_without_a_provider_a_text_is_a_file(
    settings: SettingsWrapper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SMS = TextProvider(tmp_path / "outbox")
    monkeypatch.setattr(services, "now", lambda: NOON)
    message = _queue()
    assert send_due(NOON).sent == 1
    [file] = (tmp_path / "outbox").iterdir()
    assert file.name.endswith(f"{message.public_id}.sms")
    assert f"To: {TO}" in file.read_text(encoding="utf-8")


# the provider of the settings


def test_a_provider_is_an_address_and_a_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken\n", encoding="utf-8")
    env = {"HEADWATER_SMS_TOKEN_FILE": str(token), "HEADWATER_SMS_REGIONS": "us,PR"}
    texts = read_environment({**env, "HEADWATER_SMS_URL": "twilio://AC1@api.twilio.com?from=+14055550100"}).texts
    assert (texts.account, texts.token, texts.base) == ("AC1", "t0ken", "https://api.twilio.com")
    assert (texts.sender, texts.service, texts.regions) == ("+14055550100", "", ("US", "PR"))
    texts = read_environment({**env, "HEADWATER_SMS_URL": "twilio://AC1@api.twilio.com?service=MG1"}).texts
    assert (texts.sender, texts.service) == ("", "MG1")
    assert read_environment({}).texts.account == ""


@pytest.mark.parametrize(
    ("url", "demo", "expected"),
    [
        ("https://AC1:pa55@api.twilio.com?from=+14055550100", False, "expected twilio://"),
        ("twilio://AC1:pa55@api.twilio.com", False, "expected twilio://"),
        ("twilio://AC1:pa55@api.twilio.com?from=+14055550100&service=MG1", False, "expected twilio://"),
        ("twilio://AC1:pa55@api.twilio.com?from=4055550100", False, "expected a number"),
        ("twilio://AC1@api.twilio.com?from=+14055550100", False, "needs the account's auth token"),
        ("twilio+http://AC1:pa55@api.twilio.com?from=+14055550100", True, "clear text"),
        ("twilio+http://AC1:pa55@127.0.0.1:80?from=+14055550100", False, "clear text"),
    ],
)
def test_a_provider_that_cannot_be_is_refused(url: str, demo: bool, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_environment({"HEADWATER_SMS_URL": url, "HEADWATER_DEMO": str(demo)})
    assert expected in str(caught.value)
    assert "pa55" not in str(caught.value)


def test_a_demo_may_text_a_loopback_server() -> None:
    url = "twilio+http://AC1:t@127.0.0.1:8123?from=+14055550100"
    assert read_environment({"HEADWATER_SMS_URL": url, "HEADWATER_DEMO": "True"}).texts.base == "http://127.0.0.1:8123"
