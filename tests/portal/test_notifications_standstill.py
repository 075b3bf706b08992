"""Whether messages leave is seen: what waits, for how long, and whether it is the worker or a server that is away."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from django.urls import reverse

from portal.cli import portal
from portal.core.clock import now
from portal.core.models import DueJob, User
from portal.notifications import standstill as module
from portal.notifications.models import Category, Message
from portal.notifications.sending import send_due
from portal.notifications.services import NewEmail, NewText, queue_email, queue_texts, try_again
from portal.notifications.standstill import standstill

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 7, 4, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the time at which is looked, noon of the utility unless a test says another one."""

    def look(moment: datetime) -> None:
        monkeypatch.setattr(module, "now", lambda: moment)

    look(NOON)
    return look


def _email(key: str, waits: timedelta, **fields: Any) -> Message:
    made = queue_email(NewEmail(key, "ana@example.org", "Subject", "Text"))
    moment = NOON - waits
    Message.objects.filter(pk=made.pk).update(queued_at=moment, next_try_at=moment, **fields)
    return Message.objects.get(pk=made.pk)


def _worker_ran(ago: timedelta) -> None:
    DueJob.objects.update_or_create(name="any", defaults={"due_at": NOON, "last_finished_at": NOON - ago})


def test_without_a_worker_what_waits_is_counted_and_dated() -> None:
    assert standstill() is None  # nothing waits
    _email("k1", 4 * MINUTE)
    assert standstill() is None  # it may leave at any moment
    first = _email("k2", 7 * MINUTE)
    _email("k3", 9 * MINUTE, sent_at=NOON)
    found = standstill()
    assert found is not None
    assert (found.waiting, found.since, found.worker_at, found.server_said) == (2, first.next_try_at, None, "")
    _worker_ran(6 * MINUTE)
    found = standstill()
    assert found is not None
    assert found.worker_at == NOON - 6 * MINUTE


def test_a_worker_with_much_to_do_is_no_standstill() -> None:
    _email("k1", 60 * MINUTE)
    _worker_ran(MINUTE)
    assert standstill() is None
    _worker_ran(60 * MINUTE)
    assert standstill() is not None
    _email("k2", -12 * MINUTE, tries=1)  # as one that was claimed three minutes ago
    assert standstill() is None


def test_a_server_that_takes_none_is_named_while_the_worker_runs() -> None:
    _email("k1", -MINUTE, last_error="the mail server is away: ConnectionRefusedError")
    _worker_ran(MINUTE)
    assert standstill() is None  # for a moment only
    Message.objects.update(queued_at=NOON - 6 * MINUTE)
    found = standstill()
    assert found is not None
    assert (found.waiting, found.server_said) == (1, "the mail server is away: ConnectionRefusedError")
    Message.objects.update(tries=2)  # this one alone was refused, and is tried again
    assert standstill() is None


def test_texts_that_wait_for_the_morning_are_no_standstill(at: Any) -> None:
    queue_texts([NewText("t1", "+14055550123", "Hello", Category.ALERT)])
    evening, morning = NOON + timedelta(hours=9, minutes=3), NOON + timedelta(hours=20)  # 21:03 and 8:00 in Chicago
    Message.objects.update(queued_at=NOON, next_try_at=evening)
    for moment in (evening + timedelta(hours=2), morning, morning + 2 * MINUTE):
        at(moment)
        assert standstill() is None, moment
    at(morning + 6 * MINUTE)
    assert standstill() is not None


def test_a_message_that_is_sent_again_is_no_standstill_because_it_is_old() -> None:
    old = _email("k1", timedelta(days=3), failed_at=NOON, last_error="550 nobody")
    again = try_again(old, reason="a test")
    Message.objects.filter(pk=again.pk).update(next_try_at=NOON)
    assert standstill() is None


def test_the_office_reads_what_holds_messages_up_and_what_to_do(client: Client) -> None:
    client.force_login(User.objects.create_user("sam@example.org", is_staff=True))
    Message.objects.all().delete()
    for name in ("staff:messages", "staff:accounts"):
        assert 'id="standstill"' not in client.get(reverse(name)).content.decode()
    _email("k1", timedelta(minutes=17))
    said = {
        "en": ("1 message waits, for", "No worker has run yet.", "What to do:", "headwater portal worker"),
        "es": ("1 mensaje espera desde hace", "Todavía no ha funcionado", "Qué hacer:", "headwater portal worker"),
    }
    for language, parts in said.items():
        for name in ("staff:messages", "staff:accounts"):
            page = client.get(reverse(name), headers={"accept-language": language}).content.decode()
            assert all(part in page for part in parts), (language, name)
    _worker_ran(10 * MINUTE)
    assert "No worker has run since 2026-07-04 11:50:00" in client.get(reverse("staff:messages")).content.decode()
    told = json.loads(CliRunner().invoke(portal, ["messages", "count", "--json"]).output)["standstill"]
    assert (told["waiting"], told["worker_at"]) == (1, (NOON - 10 * MINUTE).isoformat())
    assert "no worker has run since" in CliRunner().invoke(portal, ["messages", "count"]).output


def test_mail_that_left_leaves_nothing_to_say(at: Any, settings: SettingsWrapper) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    _email("k1", timedelta(minutes=17))
    assert standstill() is not None
    assert send_due().sent == 1
    at(now() + timedelta(hours=1))
    assert standstill() is None
