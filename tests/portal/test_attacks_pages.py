"""Every page under attack: forged requests, planted scripts, frames, caches; walked through the resolver."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.db import DatabaseError, models, transaction
from django.test import Client, override_settings

from portal.access.models import SignIn
from portal.alerts.models import Alert, AlertRecipient
from portal.billing.models import BillLine, RateBook
from portal.core.clock import now
from portal.core.models import User, UtilitySettings
from portal.core.services import audit
from portal.customers.models import Account
from portal.ledger.models import JournalEntry
from portal.metering.models import Installation, LeakCase
from portal.service.models import Banner, ServiceRequest
from tests.portal.billed import NORMAN
from tests.portal.bills import make_account, make_bill, pay
from tests.portal.walking import ANY_ID, Address, addresses, faults_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpResponse

pytestmark = pytest.mark.django_db
SEED = 20261123
PAYLOAD = """"'><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} javascript:alert(3)"""
_SIGNED = {"sms-status", "sms-inbound"}


def takes_no_form(address: Address) -> bool:
    """Whether an address takes a POST without a token, because it proves each request otherwise.

    By a collector's code and key or a bearer token (the whole of the API), or the signature of the telephone company.
    """
    return address.name.startswith("api:") or address.name in _SIGNED


@pytest.fixture
def town() -> dict[str, Account]:
    """Ana with a bill, a leak and everything else that pages show; Ben beside her; staff."""
    found: dict[str, Account] = {}
    for name in ("ana", "ben"):
        user = User.objects.create_user(f"{name}@example.org", name=name.title(), username=name)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        account = make_account(f"10{len(found):05}", name=f"{name.title()} Rivera", address=f"{name} Street", user=user)
        bill = make_bill(account)
        assert bill.number
        pay(account, 1_000, date(2026, 6, 1))
        place = account.occupancies.get().service_point
        installation = Installation.objects.get(service_point=place)
        case = LeakCase.objects.create(
            installation=installation, meter=installation.meter, alarm_id=name, rule="burst", opened_at=now(),
            evidence={"opened": {"litres_per_h": 400}},
        )  # fmt: skip
        alert = Alert.objects.create(
            key=name, kind="leak", account=account, service_point=place, about=case.public_id,
            since=now(), happened_at=now(), opened_at=now(), evidence={"litres_per_h": 400},
        )  # fmt: skip
        AlertRecipient.objects.create(alert=alert, user=user, answer="other", note="a note", answered_at=now())
        SignIn.objects.create(user=user, at=now(), succeeded=True, method="password", device="Firefox", network="x")
        audit("test", actor=user, target=account, reason="a reason")
        found[name] = account
    RateBook.objects.update(text=NORMAN)
    Banner.objects.create(kind="notice", title={"en": "A banner"}, text={"en": "x"}, starts_at=now(), made_at=now())
    ServiceRequest.objects.create(
        key="k", account=found["ana"], asked_by=user, kind="other", details="x", made_at=now(), state_at=now()
    )
    UtilitySettings.objects.update_or_create(pk=1, defaults={"name": "Cedar Valley Water"})
    User.objects.create_user("sam@example.org", is_staff=True, is_superuser=True, name="Sam Staff")
    return found


def known(account: Account) -> dict[str, str]:
    """Return identifiers of things of one account, by the address that shows them."""
    bill = account.bills.get()
    place = account.occupancies.get().service_point
    user = account.access.get().user
    entry = JournalEntry.objects.filter(postings__account=account).first()
    assert entry is not None
    requests = list(ServiceRequest.objects.filter(account=account))
    return {
        "resident:usage": place.public_id,
        "resident:stream": place.public_id,
        "resident:download": place.public_id,
        "resident:account-bills": account.public_id,
        "resident:delivery": account.public_id,
        "resident:transactions": account.public_id,
        "resident:payments": account.public_id,
        "resident:transactions-csv": account.public_id,
        "resident:payments-csv": account.public_id,
        "resident:bill": bill.public_id,
        "resident:bill-pdf": bill.public_id,
        "resident:alert": Alert.objects.get(account=account).public_id,
        "resident:household-account": account.public_id,
        "resident:household-invite": account.public_id,
        "resident:unlink-account": account.public_id,
        "staff:account": account.public_id,
        "staff:account-delivery": account.public_id,
        "staff:account-final": account.public_id,
        "staff:account-preview": account.public_id,
        "staff:look-account": account.public_id,
        "staff:bill": bill.public_id,
        "staff:adjust-bill": bill.public_id,
        "staff:bill-sheet": bill.public_id,
        "staff:bill-pdf": bill.public_id,
        "staff:look": place.public_id,
        "staff:entry": entry.public_id,
        "staff:agreement": account.agreements.get().public_id,
        "staff:leak": LeakCase.objects.get(meter__installations__service_point=place).public_id,
        "staff:person": user.public_id,
        **{f"{space}:request": row.public_id for space in ("resident", "staff") for row in requests[:1]},
        "kind": "accounts",
        "group": "office",
    }


def browser(email: str = "", **options: Any) -> Client:
    """A browser; nobody's when no address is given."""
    client = Client(**options)
    if email:
        client.force_login(User.objects.get(email=email))
    return client


def text_of(answer: HttpResponse) -> str:
    return answer.content.decode() if answer.headers.get("Content-Type", "").startswith("text/html") else ""


def walked(client: Client, where: list[Address]) -> Iterator[tuple[Address, HttpResponse]]:
    """Open every address, but for streams and what is made by other programs."""
    for address in where:
        if address.name in ("resident:stream", "resident:bill-pdf", "staff:bill-pdf"):
            continue
        answer = client.get(address.path)
        assert answer.status_code < 500, address
        yield address, answer  # type: ignore[misc]


WHO = ["", "ana@example.org", "sam@example.org"]


@pytest.mark.usefixtures("town")
@pytest.mark.parametrize("who", WHO)
def test_nothing_can_be_sent_without_a_token(who: str) -> None:
    client = browser(who, enforce_csrf_checks=True)
    where = addresses()
    assert [address.name for address in where if address.is_exempt and not takes_no_form(address)] == []
    for address in where:
        if takes_no_form(address):
            continue
        for method in ("post",) if who else ("post", "put", "patch", "delete"):
            answer = getattr(client, method)(address.path, {"name": "value"})
            assert (address, method, answer.status_code) == (address, method, 403)
            assert "Please send that again" in answer.content.decode()


@pytest.mark.usefixtures("town")
def test_what_takes_no_token_proves_itself_otherwise() -> None:
    """A session counts nothing there: it is what a forged request would bring."""
    client = browser("sam@example.org", enforce_csrf_checks=True)
    seen = set()
    for address in addresses():
        if takes_no_form(address) and address.name not in ("api:openapi-json", "api:api-root"):
            answers = {client.get(address.path).status_code, client.post(address.path).status_code}
            assert answers <= {400, 401, 403, 405, 411, 422}, address
            seen.add(address.name)
    assert seen >= {"api:enrol_collector", "api:me", "api:usage", *_SIGNED}


def plant() -> int:
    """Put a script into every text that people or machines could have put there; return how many fields took it."""
    planted = 0
    for model in apps.get_models():
        if model._meta.app_label in ("sessions", "contenttypes", "auth", "django_tasks_database") or model is RateBook:
            continue
        for field in model._meta.concrete_fields:
            if _takes_words(field):
                planted += _planted(model, field)
    words = {"en": PAYLOAD, "es": PAYLOAD}
    BillLine.objects.update(label=words)
    way = {"label": words, "detail": words}
    UtilitySettings.objects.update(
        ways_to_pay=[way], dispute=words, office_hours=[words], programme_title=words,
        contacts=[{"label": words, "phone": PAYLOAD, "email": "a@example.org", "hours": words, "note": words}],
    )  # fmt: skip
    Banner.objects.update(title=words, text=words, link_text=words)
    return planted + 8


_CODES = {"public_id", "password", "zone", "language", "default_language", "digest", "session_key", "code", "kind",
          "currency", "unit", "rule", "number_key", "rate_class", "text_digest", "lower", "upper", "quantity", "price",
          "per", "remainder", "version"}  # fmt: skip
"""What programs alone write and read: no words of anybody.
"""


def _takes_words(field: models.Field[Any, Any]) -> bool:
    plain = isinstance(field, models.CharField | models.TextField) and not isinstance(
        field, models.EmailField | models.URLField
    )
    free = not field.choices and not field.unique and field.editable and not field.generated
    return plain and free and field.name not in _CODES and (field.max_length is None or field.max_length >= 20)


def _planted(model: type[models.Model], field: models.Field[Any, Any]) -> int:
    words = PAYLOAD[: field.max_length]
    try:
        with transaction.atomic():
            return min(1, model._default_manager.update(**{field.name: words}))
    except DatabaseError:
        return 0  # the ledger's own rows: the database refuses to change them, and so would it for an attacker


@pytest.mark.parametrize("who", WHO)
def test_no_page_runs_what_somebody_has_written_and_each_tells_browsers_what_they_may_do(
    who: str, town: dict[str, Account]
) -> None:
    planted = plant()
    assert planted > 25
    ids = known(town["ana"])
    seen = 0
    for address, answer in walked(browser(who), addresses(ids)):
        page = text_of(answer)
        assert "<script>alert" not in page, address
        _checked(address, answer)
        if who and page:
            assert {"no-store", "private"} & set(answer.headers["Cache-Control"].split(", ")), address
        seen += "&lt;script&gt;alert(1)" in page
    print(f"{who or 'nobody'}: {planted} fields planted, seen on {seen} pages")
    assert seen >= {"": 0, "ana@example.org": 5, "sam@example.org": 10}[who]


def _checked(what: object, answer: HttpResponse) -> None:
    headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy, what
    assert "unsafe-eval" not in policy, what
    assert "script-src 'self'" in policy, what
    assert "frame-ancestors 'none'" in policy, what
    assert headers["X-Content-Type-Options"] == "nosniff", what
    assert headers["X-Frame-Options"] == "DENY", what
    assert headers["Referrer-Policy"] == "same-origin", what
    assert faults_of(text_of(answer)) == [], what


def test_error_pages_say_so_too(town: dict[str, Account]) -> None:
    ana = browser("ana@example.org", raise_request_exception=False)
    ids = known(town["ana"])
    answers = {
        400: ana.get(f"/usage/{ids['resident:usage']}/?by=second"),
        403: ana.get("/staff/"),
        404: ana.get('/no/such/"><script>alert(1)</script>/'),
        405: ana.post("/bills/"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        _checked(status, answer)  # type: ignore[arg-type]
        assert "<script>alert" not in answer.content.decode()
    refused = ana.get("/", headers={"host": "evil.example"})
    assert refused.status_code == 400
    assert "evil" not in refused.content.decode()
    assert "Content-Security-Policy" in refused.headers


@pytest.mark.usefixtures("town")
def test_cookies_and_transport_outside_the_demo() -> None:
    """Settings of a portal that is no demo, in a process of its own: what is read at start cannot be changed here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    environment |= {"HEADWATER_SECRET_KEY": "k" * 50, "DJANGO_SETTINGS_MODULE": "portal.config.settings"}
    names = (
        "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "SESSION_COOKIE_SAMESITE",
        "CSRF_COOKIE_SAMESITE", "SECURE_HSTS_SECONDS", "DEBUG",
    )  # fmt: skip
    code = f"from django.conf import settings; print([getattr(settings, name) for name in {names!r}])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, True, 'Lax', 'Lax', 31536000, False]"
    with override_settings(SECURE_HSTS_SECONDS=31_536_000, SESSION_COOKIE_SECURE=True, CSRF_COOKIE_SECURE=True):
        answer = Client().get("/accounts/login/", secure=True)
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert answer.cookies["csrftoken"]["secure"]


def test_what_is_somebody_elses_is_not_there(town: dict[str, Account]) -> None:
    """Right, wrong and made-up identifiers of other people's things get one and the same answer."""
    ana, random_ = browser("ana@example.org"), random.Random(SEED)
    print(f"seed {SEED}")
    own, other = known(town["ana"]), known(town["ben"])
    guessed = {name: "".join(random_.choice(ANY_ID) for _ in range(13)) for name in own}
    for mine, theirs, made_up in zip(addresses(own), addresses(other), addresses(guessed), strict=True):
        name = mine.name
        if name not in own or not name.startswith("resident:") or mine.path == theirs.path:
            continue
        for method in ("get", "post"):
            refused, unknown = (getattr(ana, method)(where.path) for where in (theirs, made_up))
            assert (name, method, refused.status_code) == (name, method, unknown.status_code)
            if method == "get" and ana.get(mine.path).status_code != 405:
                assert (name, refused.status_code) == (name, 404)
            if text_of(refused):
                assert _bare(refused, theirs.path) == _bare(unknown, made_up.path), name


def _bare(answer: HttpResponse, path: str) -> str:
    """Return a page without the address that was asked for and without its tokens."""
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text_of(answer).replace(path, ""))


@pytest.mark.usefixtures("town")
def test_bodies_have_a_limit() -> None:
    staff = browser("sam@example.org", raise_request_exception=False)
    large = "x" * 3_000_000
    assert staff.post("/staff/payments/new/", {"reference": large}).status_code == 400
    assert staff.post("/accounts/login/", {f"f{number}": "x" for number in range(1_100)}).status_code == 400
