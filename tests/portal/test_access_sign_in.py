"""Signing in: by address or user name, with a second step; what is kept of it, and how it ends everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.access.clients import device_words, home_of, short_network
from portal.access.forgetting import forget
from portal.access.models import SignIn
from portal.access.sign_ins import end_sessions
from portal.core.models import AuditEntry, User
from tests.portal.building import person, sent_mail

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("half_minute")]
PASSWORD = "correct-horse-7"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1"
)


@pytest.fixture(autouse=True)
def nobody_tried_before() -> None:
    cache.clear()


@pytest.fixture
def ana() -> User:
    user = person(username="Ana.M")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def sign_in(name: str, password: str = PASSWORD, *, agent: str = FIREFOX, address: str = "203.0.113.77") -> Client:
    client = Client(headers={"user-agent": agent}, REMOTE_ADDR=address)
    client.post("/accounts/login/", {"login": name, "password": password})
    return client


def is_in(client: Client) -> bool:
    return client.get("/profile/").status_code == 200


@pytest.mark.parametrize("name", ["ana@example.org", "ANA@Example.org", "ana.m", "Ana.M", " ANA.M "])
def test_address_and_user_name_both_sign_in_whatever_their_capitals(ana: User, name: str) -> None:
    assert is_in(sign_in(name))


def test_user_names_are_unique_without_capitals_and_never_look_like_an_address(ana: User) -> None:
    from portal.access.forms import NewSignInForm

    fields = {"email": "new@example.org", "name": "Ben", "password1": "clear-water-9", "password2": "clear-water-9"}
    for username, fault in (("ANA.m", "taken"), ("x@example.org", "letters"), ("ab", "letters"), ("", "")):
        form = NewSignInForm({**fields, "username": username})
        assert form.is_valid() == (not fault)
        assert fault in str(form.errors.get("username", ""))


def work_of(make_request: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int, str]:
    """Return the shapes of the queries, how many password hashes were made, and the page without what was typed."""
    from django.contrib.auth.hashers import Argon2PasswordHasher

    made: list[int] = []
    encode = Argon2PasswordHasher.encode

    def counted(self: Argon2PasswordHasher, password: str, salt: str) -> str:
        made.append(1)
        return encode(self, password, salt)

    def verify(self: Argon2PasswordHasher, password: str, encoded: str) -> bool:
        made.append(1)
        return False

    with monkeypatch.context() as patch, CaptureQueriesContext(connection) as queries:
        patch.setattr(Argon2PasswordHasher, "encode", counted)
        patch.setattr(Argon2PasswordHasher, "verify", verify)
        page = make_request().content.decode()
    shapes = [query["sql"][:60] for query in queries if "headwater_cache" not in query["sql"]]
    page = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"|value="[^"]*"', "", page)
    return shapes, len(made), page


@pytest.mark.parametrize(("known", "unknown"), [("ana@example.org", "bob@example.org"), ("ana.m", "bob.m")])
def test_a_wrong_password_and_an_unknown_name_are_one_answer_and_one_work(
    ana: User, known: str, unknown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.create_user("moved@example.org", None)  # from the former portal, without a password

    def post(name: str) -> Callable[[], Any]:
        return lambda: Client().post("/accounts/login/", {"login": name, "password": "wrong-horse-8"})

    wrong, nobody = work_of(post(known), monkeypatch), work_of(post(unknown), monkeypatch)
    moved = work_of(post("moved@example.org"), monkeypatch)
    assert wrong[2] == nobody[2] == moved[2]
    assert "set a new password first" in wrong[2]
    assert wrong[1] == nobody[1] == 1
    assert moved[1] == 1
    # allauth looks for an unconfirmed address too when no confirmed one is found: one indexed SELECT more for nobody.
    assert 0 <= len(nobody[0]) - len(wrong[0]) <= 1


def test_asking_for_a_new_password_says_nothing_of_who_exists(ana: User) -> None:
    pages = []
    for email in (ana.email, "bob@example.org"):
        client = Client()
        answer = client.post("/accounts/password/reset/", {"email": email}, follow=True)
        pages.append((answer.redirect_chain, re.sub(r'value="[^"]*"', "", answer.content.decode())))
    assert pages[0] == pages[1]
    assert [message.to for message in sent_mail()] == [[ana.email], ["bob@example.org"]]
    assert [message.subject for message in sent_mail()] == ["Set a new password", "No sign-in has this address"]
    assert "/accounts/signup/" in sent_mail()[1].body


def test_sign_ins_are_kept_with_device_and_half_the_network(ana: User) -> None:
    assert not is_in(sign_in(ana.email, "wrong-horse-8", agent=IPHONE, address="2001:db8:7:9::1"))
    assert is_in(sign_in("ana.m"))
    assert not is_in(sign_in("nobody@example.org"))
    rows = list(SignIn.objects.order_by("pk").values_list("user", "succeeded", "method", "device", "network"))
    assert rows == [
        (ana.pk, False, "password", "Safari, iPhone", "2001:db8:7::/48"),
        (ana.pk, True, "password", "Firefox, Windows", "203.0.113.0/24"),
        (None, False, "password", "Firefox, Windows", "203.0.113.0/24"),
    ]
    page = sign_in(ana.email).get("/profile/sign-ins/").content.decode()
    assert page.count("<tr>") == 4  # the header, two of before, this one; nobody's is not among them
    assert "Safari, iPhone" in page
    assert "203.0.113.77" not in page


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox, Windows"),
        (IPHONE, "Safari, iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0",
         "Edge, Linux"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0 "
         "Mobile Safari/537.36", "Samsung Internet, Android"),
        ("curl/8.5", ""),
        ("<script>alert(1)</script>", ""),
    ],
)  # fmt: skip
def test_devices_in_words(agent: str, words: str) -> None:
    assert device_words(agent) == words


def test_networks() -> None:
    assert short_network("203.0.113.77") == short_network("::ffff:203.0.113.77") == "203.0.113.0/24"
    assert (home_of("203.0.113.77"), home_of("2001:db8:7:9::1")) == ("203.0.113.77/32", "2001:db8:7:9::/64")
    assert short_network("nonsense") == home_of("") == ""


def test_what_is_older_than_ninety_days_is_forgotten(ana: User) -> None:
    for days in (1, 89, 91):
        SignIn.objects.create(user=ana, at=datetime.now(UTC) - timedelta(days=days), succeeded=True)
    forget(datetime(2030, 1, 1, tzinfo=UTC))  # the schedule's clock may be anywhere
    assert SignIn.objects.count() == 2


def test_signing_out_everywhere_else_leaves_this_one(ana: User) -> None:
    here, there = sign_in(ana.email), sign_in(ana.email, agent=IPHONE)
    assert len(UserSession.objects.all()) == 2
    page = here.get("/profile/sign-ins/").content.decode()
    assert page.count("this one") == 1
    here.post("/profile/sign-ins/end/")
    assert (is_in(here), is_in(there)) == (True, False)
    here.post("/profile/sign-ins/end/", {"everywhere": "1"})
    assert not is_in(here)
    assert not UserSession.objects.exists()


def test_sessions_are_ended_for_one_person_alone(ana: User) -> None:
    ben = person("ben@example.org")
    EmailAddress.objects.create(user=ben, email=ben.email, verified=True, primary=True)
    his, hers = sign_in(ben.email), sign_in(ana.email)
    assert end_sessions(ana, actor=ana) == 1
    assert (is_in(his), is_in(hers)) == (True, False)


def test_a_session_that_no_list_knows_ends_too_and_does_not_come_back(ana: User) -> None:
    """Made before the list was, or by another way than the form; allauth lists what signs in there alone."""
    ben = person("ben@example.org")
    unlisted, his, here = Client(), Client(), sign_in(ana.email)
    unlisted.force_login(ana)
    his.force_login(ben)
    assert UserSession.objects.count() == 1
    assert is_in(unlisted)
    here.post("/profile/sign-ins/end/")
    assert (is_in(unlisted), is_in(here), is_in(his)) == (False, True, True)
    ana.refresh_from_db()
    unlisted.force_login(ana)
    end_sessions(ana, actor=ben)
    assert (is_in(unlisted), is_in(here), is_in(his)) == (False, False, True)
    entries = AuditEntry.objects.filter(action="sessions.end").order_by("pk")
    assert [(entry.actor, entry.target_id) for entry in entries] == [(ana, ana.public_id), (ben, ana.public_id)]


def test_a_changed_password_ends_every_other_session_and_is_told_by_mail(ana: User) -> None:
    here, there = sign_in(ana.email), sign_in(ana.email, agent=IPHONE)
    fields = {"oldpassword": PASSWORD, "password1": "clear-water-9", "password2": "clear-water-9"}
    assert here.post("/accounts/password/change/", fields).status_code == 302
    assert (is_in(here), is_in(there)) == (True, False)
    (message,) = sent_mail()
    assert (message.to, message.subject) == ([ana.email], "Your password was changed")
    assert "If this was not you" in message.body
    assert "When in doubt about a message, call us." in message.body
    assert UserSession.objects.count() == 1


def test_a_reset_password_ends_every_session(ana: User) -> None:
    there = sign_in(ana.email)
    client = Client()
    client.post("/accounts/password/reset/", {"email": ana.email})
    path = re.search(r"https?://[^/]+(/accounts/\S+)", sent_mail()[0].body)
    assert path is not None
    form = client.get(path[1], follow=True)
    client.post(form.redirect_chain[-1][0], {"password1": "clear-water-9", "password2": "clear-water-9"})
    assert not is_in(there)
    assert not UserSession.objects.exists()
    assert is_in(sign_in(ana.email, "clear-water-9"))


def ask_again(client: Client) -> None:
    """Say the password once more, as is asked before anything about the sign-in is changed."""
    assert client.post("/accounts/reauthenticate/", {"password": PASSWORD}).status_code == 302


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(auth.yield_hotp_counters_from_time())))


def with_app(user: User) -> str:
    client = sign_in(user.email)
    ask_again(client)
    page = client.get("/accounts/2fa/totp/activate/")
    secret = page.context["form"].secret
    wrong = client.post("/accounts/2fa/totp/activate/", {"code": "000000" if code_of(secret) != "000000" else "111111"})
    assert wrong.status_code == 200
    assert not Authenticator.objects.exists()
    with pytest.MonkeyPatch.context() as patch:  # the mail goes out at commit, and a test never commits
        patch.setattr("django.db.transaction.on_commit", lambda call, **_others: call())
        assert client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)}).status_code == 302
    cache.clear()  # a code works once: allauth remembers it there
    return str(secret)


def test_the_authenticator_app_is_asked_for_after_the_password(ana: User) -> None:
    secret = with_app(ana)
    assert sent_mail()[-1].subject == "Your sign-in was changed"
    client = Client()
    answer = client.post("/accounts/login/", {"login": ana.email, "password": PASSWORD})
    assert answer.url == "/accounts/2fa/authenticate/"
    assert not is_in(client)
    refused = client.post("/accounts/2fa/authenticate/", {"code": "12345x"})
    assert refused.status_code == 200
    assert not is_in(client)
    assert client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)}).status_code == 302
    assert is_in(client)
    newest = SignIn.objects.order_by("-pk")[:2]
    assert [(row.succeeded, row.method) for row in newest] == [(True, "code"), (False, "code")]
    cache.clear()
    assert TOTP(Authenticator.objects.get(type="totp")).validate_code(code_of(secret))


def test_recovery_codes_stand_in_for_the_app_once(ana: User) -> None:
    with_app(ana)
    codes = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    for again in (False, True):
        cache.clear()
        client = Client()
        client.post("/accounts/login/", {"login": ana.email, "password": PASSWORD})
        client.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert is_in(client) != again


def test_nothing_of_the_sign_in_is_changed_without_being_asked_again(ana: User) -> None:
    client = sign_in(ana.email)
    for path in ("/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/add/", "/profile/security/passkeys/abc/"):
        answer = client.get(path)
        assert (answer.status_code, answer.url.split("?")[0]) == (302, "/accounts/reauthenticate/")


def a_passkey(user: User, name: str = "Telephone") -> Authenticator:
    return Authenticator.objects.create(
        user=user, type="webauthn", data={"name": name, "credential": {"clientExtensionResults": {}}}
    )


def test_passkeys_are_removed_by_opaque_ids_and_only_ones_own(ana: User) -> None:
    ben = person("ben@example.org")
    a_passkey(ben)
    client = sign_in(ana.email)
    ask_again(client)
    row = a_passkey(ana)
    page = client.get("/profile/security/").content.decode()
    paths = re.findall(r'href="(/profile/security/passkeys/[^"]+)"', page)
    (path,) = paths
    assert re.fullmatch(r"/profile/security/passkeys/[0-9a-f]{20}/", path)
    for number in (row.pk, row.pk - 1):
        assert client.get(f"/accounts/2fa/webauthn/keys/{number}/edit/").status_code == 404
        assert client.post(f"/accounts/2fa/webauthn/keys/{number}/remove/").status_code == 404
        assert client.post(f"/profile/security/passkeys/{number}/").status_code == 404
    assert b"Telephone" in client.get(path).content
    assert client.post(path).status_code == 303
    assert list(Authenticator.objects.values_list("user", flat=True)) == [ben.pk]
    assert "passkey was removed" in sent_mail()[-1].body


def test_the_pages_that_the_profile_replaces_lead_there(ana: User) -> None:
    client = sign_in(ana.email)
    assert client.get("/accounts/2fa/").url == client.get("/accounts/2fa/webauthn/").url == "/profile/security/"
    assert client.get("/accounts/sessions/").url == "/profile/sign-ins/"


@pytest.mark.parametrize("path", ["/profile/", "/profile/security/", "/profile/sign-ins/", "/profile/accounts/"])
def test_the_profile_is_for_those_who_are_signed_in(path: str) -> None:
    assert Client().get(path).url == f"/accounts/login/?next={path}"


def test_the_sign_in_page_says_that_nobody_needs_it_to_pay() -> None:
    from portal.core.models import UtilitySettings

    ways = [{"label": {"en": "By telephone", "es": "Por teléfono"}, "detail": {"en": "405-555-0188"}}]
    UtilitySettings.objects.create(pk=1, ways_to_pay=ways)
    page = Client().get("/accounts/login/").content.decode()
    for words in (
        "do not need an account here",
        "free",
        "By telephone",
        "405-555-0188",
        "/register/",
        "password/reset/",
    ):
        assert words in page
    assert re.search(r'id="passkey" data-needs-passkeys hidden', page)
