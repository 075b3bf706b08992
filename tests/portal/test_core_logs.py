"""Nothing personal and nothing secret in the logs: shape by shape, and through real requests that fail."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as django_settings
from django.test import Client

from portal.core.logs import NoPersonalData, without_personal_data
from portal.core.models import DueJob
from portal.core.tokens import make_token
from portal.worker import Job, sweep
from tests.portal.building import person

if TYPE_CHECKING:
    from collections.abc import Iterator

EMAIL, PHONE, NUMBER = "ana.zyxwvut@example.org", "405-555-0142", "1000471"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("sign-in of ana@example.org", "sign-in of <email>"),
        ("next=/x%3Fe%3Dana%40example.org", "next=/<email>"),
        ("made hwt_abcdefgh123 and hwi_abcdefgh-_3 and hwc-4g79-j6dd", "made <secret> and <secret> and <secret>"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer <secret>"),
        ("password=hunter-22 token: 'abcdef12'", "password=<secret> token: '<secret>'"),
        ("Not Found: /invitation/Zm9vYmFy_x-1/", "Not Found: /invitation/<secret>/"),
        ("GET /accounts/password/reset/key/4-c3x-a9/", "GET /accounts/password/reset/key/<secret>/"),
        ("GET /accounts/confirm-email/MQ:1abc:def/", "GET /accounts/confirm-email/<secret>/"),
        ("GET /staff/search/?q=Ana+Lopez&page=2 200", "GET /staff/search/?q=<value>&page=<value> 200"),
        ("Cookie: sessionid=abcdefghij; csrftoken=klmnopqrst", "Cookie: sessionid=<secret>; csrftoken=<secret>"),
        ("text to +14055550142 failed", "text to <phone> failed"),
        ("call 405-555-0142, (405) 555-0142 or 1 405.555.0142", "call <phone>, <phone> or <phone>"),
        ("account 1000471 and account number: 10-004-71", "account <number> and account number: <number>"),
    ],
)
def test_every_shape_is_taken_out(line: str, kept: str) -> None:
    assert without_personal_data(line) == kept
    assert without_personal_data(kept) == kept


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 03:36:38,898 WARNING django.request: Bad Request: /api/v1/usage",
        "password authentication failed for the database",
        "batch hw-north-1/1234567890/3 committed: 3000 reads in 12.5 ms",
        "billed 41000 accounts, 0 held; status code 404",
        "meter EFE-00000001 silent since 2026-06-17T17:00:00+00:00",
    ],
)
def test_what_is_needed_to_find_a_fault_stays(line: str) -> None:
    assert without_personal_data(line) == line


@pytest.fixture
def lines() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What the portal's own handler writes, and what would be written without its filter."""
    clean, raw = io.StringIO(), io.StringIO()
    before, after = logging.StreamHandler(raw), logging.StreamHandler(clean)
    after.addFilter(NoPersonalData())
    root = logging.getLogger()
    for handler in (before, after):
        handler.setFormatter(logging.Formatter(django_settings.LOGGING["formatters"]["line"]["format"]))
    root.addHandler(after)
    root.handlers.insert(0, before)  # the portal's own handler takes out of the record what is personal
    yield clean, raw
    root.removeHandler(before)
    root.removeHandler(after)


def test_every_handler_has_the_filter() -> None:
    for name, handler in django_settings.LOGGING["handlers"].items():
        assert "no_personal_data" in handler["filters"], name
    for name, logger in django_settings.LOGGING["loggers"].items():
        assert not logger["handlers"], f"{name} writes past the root's handler"
        assert logger["propagate"], name


@pytest.mark.django_db
def test_requests_that_fail_name_nobody(
    lines: tuple[io.StringIO, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, raw = lines
    ana = person(EMAIL, name="Ana Zyxwvut")
    token, _ = make_token(ana)

    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"Key (email)=({EMAIL}) of account {NUMBER}, telephone {PHONE}, {token} already exists")

    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    client.get(f"/no/such/{EMAIL}/", {"q": "Ana Zyxwvut"})
    client.get(f"/invitation/{token}/")
    client.post("/accounts/login/", {"login": EMAIL, "password": "wrong-horse-7"})
    client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}x"})
    client.get("/", headers={"host": f"{EMAIL}.evil.example"})
    client.force_login(ana)
    with monkeypatch.context() as patch:
        patch.setattr("portal.resident.profile.open_to", broken)
        assert client.get("/profile/", {"name": "Ana Zyxwvut"}).status_code == 500
    patched = Job("a job", timedelta(days=1), broken)
    assert sweep(datetime(2026, 6, 1, tzinfo=UTC), (patched,)) == ["a job"]
    for name in ("portal.ingest.consumer", "portal.ingest.session", "portal.notifications.sending", "asyncio"):
        logging.getLogger(name).warning("refused: %s of %s at %s", NUMBER, EMAIL, PHONE)
    assert EMAIL in raw.getvalue()
    assert token in raw.getvalue()
    assert "Traceback" in clean.getvalue()
    assert "portal.worker" in clean.getvalue()
    for word in (EMAIL, "zyxwvut", PHONE, token, token[4:], "wrong-horse"):
        assert word.lower() not in clean.getvalue().lower(), word
    assert NUMBER not in clean.getvalue().replace(f"refused: {NUMBER}", "")
    assert EMAIL not in DueJob.objects.get(name="a job").last_error


def test_a_line_with_the_wrong_arguments_is_not_lost() -> None:
    record = logging.LogRecord("x", 30, __file__, 1, "%d reads", (EMAIL,), None)
    assert NoPersonalData().filter(record)
    assert "<email>" in record.getMessage()
