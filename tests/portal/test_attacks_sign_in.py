"""Sign-in under attack: guessing, stolen cookies, fixed sessions, forged hosts, a database that is held."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.conf import settings as django_settings
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.test import Client

from portal.core.models import User, UtilitySettings
from tests.portal.building import sent_mail

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
PASSWORD = "correct-horse-7"


@pytest.fixture(autouse=True)
def _fresh(settings: SettingsWrapper) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


def person(email: str = "ana@example.org", **fields: object) -> User:
    user = User.objects.create(email=email, password=make_password(PASSWORD), **fields)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def sign_in(client: Client, login: str = "ana@example.org", password: str = PASSWORD, **extra: Any) -> bool:
    """Sign in through the form; tell whether it worked."""
    client.post("/accounts/login/", {"login": login, "password": password}, **extra)
    return "_auth_user_id" in client.session


def test_guessing_one_name_is_stopped_wherever_it_comes_from() -> None:
    person()
    for number in range(5):
        assert not sign_in(Client(), password=f"guess-{number}", REMOTE_ADDR=f"192.0.2.{number}")
    assert not sign_in(Client(), REMOTE_ADDR="192.0.2.99")
    cache.clear()
    assert sign_in(Client(), REMOTE_ADDR="192.0.2.99")


def test_guessing_many_names_from_one_address_is_stopped_and_others_still_get_in() -> None:
    person()
    for number in range(12):
        sign_in(Client(), login=f"guess-{number}@example.org", REMOTE_ADDR="192.0.2.7")
    assert not sign_in(Client(), REMOTE_ADDR="192.0.2.7")
    assert sign_in(Client(), REMOTE_ADDR="192.0.2.8")


def test_attempts_are_counted_by_all_processes_together() -> None:
    """The counts lie in the database, where a second process finds them; a process's own memory holds none."""
    person()
    for number in range(5):
        sign_in(Client(), password=f"guess-{number}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM headwater_cache")
        assert cursor.fetchone()[0] > 0
        cursor.execute("DELETE FROM headwater_cache")
    assert sign_in(Client())


def test_behind_a_proxy_attempts_are_counted_by_the_address_that_it_saw(settings: SettingsWrapper) -> None:
    """Without that one guesser would lock out the whole city; what a guesser writes into the header counts nothing."""
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    person()
    for number in range(12):
        forged = f"198.51.100.{number}, 192.0.2.7"
        sign_in(Client(), login=f"guess-{number}@example.org", HTTP_X_FORWARDED_FOR=forged)
    assert not sign_in(Client(), HTTP_X_FORWARDED_FOR="192.0.2.7")
    assert sign_in(Client(), HTTP_X_FORWARDED_FOR="192.0.2.8")


def test_a_fixed_session_is_worth_nothing_after_the_sign_in() -> None:
    person()
    victim = Client()
    victim.get("/accounts/login/?next=/bills/")
    session = victim.session
    session["planted"] = True
    session.save()
    victim.cookies[django_settings.SESSION_COOKIE_NAME] = str(session.session_key)
    before = victim.cookies[django_settings.SESSION_COOKIE_NAME].value
    assert sign_in(victim)
    after = victim.cookies[django_settings.SESSION_COOKIE_NAME].value
    assert after != before
    attacker = Client()
    attacker.cookies[django_settings.SESSION_COOKIE_NAME] = before
    assert attacker.get("/profile/").status_code == 302


def stolen(client: Client) -> Client:
    """Another browser with the same cookie."""
    thief = Client()
    thief.cookies[django_settings.SESSION_COOKIE_NAME] = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    assert thief.get("/profile/").status_code == 200
    return thief


def test_a_stolen_cookie_dies_with_the_sign_out_everywhere_and_with_the_session() -> None:
    ana = person()
    lost, own = Client(), Client()
    assert sign_in(lost)
    assert sign_in(own)
    thief = stolen(lost)
    assert UserSession.objects.filter(user=ana).count() == 2
    assert own.post("/profile/sign-ins/end/").status_code in (302, 303)
    assert thief.get("/profile/").status_code == 302
    assert own.get("/profile/").status_code == 200
    thief = stolen(own)
    own.post("/accounts/logout/")
    assert thief.get("/profile/").status_code == 302


def test_a_stolen_cookie_dies_with_the_password() -> None:
    ana = person()
    own = Client()
    assert sign_in(own)
    thief = stolen(own)
    ana.set_password("another-horse-8")
    ana.save()
    assert thief.get("/profile/").status_code == 302


def test_a_forged_host_makes_no_link(settings: SettingsWrapper) -> None:
    """Hosts that are not ours are refused; of ours, links in messages name the one that the utility has set."""
    person()
    UtilitySettings.objects.update_or_create(pk=1, defaults={"portal_url": "https://water.example.gov"})
    forged = Client().post("/accounts/password/reset/", {"email": "ana@example.org"}, HTTP_HOST="evil.example")
    assert forged.status_code == 400
    assert sent_mail() == []
    settings.ALLOWED_HOSTS = ["localhost", "water.example.gov"]
    for headers in ({"host": "localhost"}, {"host": "localhost", "x-forwarded-host": "evil.example"}):
        Client().post("/accounts/password/reset/", {"email": "ana@example.org"}, headers=headers)
    links = [link for message in sent_mail() for link in re.findall(r"https?://[^/\s]+", str(message.body))]
    assert len(sent_mail()) == 2
    assert len(links) >= 2
    assert set(links) == {"https://water.example.gov"}


@pytest.mark.parametrize("bad", ["//evil.example", "https://evil.example", "javascript:alert(1)", "/\\evil.example",
                                 "http:///evil.example", "/x\r\nSet-Cookie: a=b", "https:evil.example"])  # fmt: skip
@pytest.mark.parametrize(("path", "fields"), [
    ("/accounts/login/", {"login": "ana@example.org", "password": PASSWORD}),
    ("/accounts/logout/", {}),
    ("/i18n/setlang/", {"language": "es"}),
    ("/preferences/unit/", {"unit": "l"}),
])  # fmt: skip
def test_no_next_leads_away(path: str, fields: dict[str, str], bad: str) -> None:
    user = person()
    client = Client()
    if path != "/accounts/login/":
        client.force_login(user)
    answer = client.post(path, {**fields, "next": bad})
    assert answer.status_code in (302, 303)
    where = answer.headers["Location"]
    assert where.startswith("/")
    assert not where.startswith(("//", "/\\"))
    assert not {"\r", "\n"} & set("".join(answer.headers.values()))
    assert "a" not in answer.cookies


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError("database is locked"), 503),
        (InterfaceError("connection already closed"), 503),
        (OperationalError("no such table: nonsense"), 500),
        (ProgrammingError("syntax error"), 500),
        (ValueError("a fault of ours"), 500),
    ],
    ids=str,
)
def test_a_database_that_is_busy_is_not_called_a_fault(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is the session that cannot be written: after the page was made, outside of any view."""
    from django.contrib.sessions.backends.db import SessionStore

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    person()
    client = Client(raise_request_exception=False)
    monkeypatch.setattr(SessionStore, "save", fail)
    answer = client.post("/accounts/login/", {"login": "ana@example.org", "password": PASSWORD})
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("60" if status == 503 else None)
    assert "Content-Security-Policy" in answer.headers
    assert ("in a minute" in answer.content.decode()) is True


@pytest.mark.parametrize("path", ["/i18n/setlang/", "/preferences/unit/"])
def test_a_page_of_ours_whose_path_names_another_host_leads_nowhere_else(path: str) -> None:
    client = Client()
    client.force_login(person())
    answer = client.post(
        path, {"language": "es", "unit": "l"}, headers={"referer": "http://testserver//evil.example/x?y=1"}
    )
    assert answer.status_code in (302, 303)
    assert not answer.headers["Location"].startswith("//")
