"""Who reaches what: every address of the portal, every role, reading and sending; and nothing of another's life.

A new address needs a row: put its name into RESIDENT, STAFF or API below. The rule says who gets there:

    "my-page": Row(needs(Permission.BILLS), account),          one of an account: GET for those who may see its bills
    "my-form": Row(get=NO_WAY, post=needs(Permission.MANAGE), ids=account),      only sent, by those who manage it

`ids` makes the arguments of the address for the account that is asked for. What is one person's own and has no
identifier is PERSON, what is for everybody PUBLIC. A page that staff see in a look is named in portal.access.looking.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction
from django.template.backends.django import Template
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from portal.access.looking import SHOWN
from portal.core.models import AuditEntry
from portal.customers.models import AccountAccess
from portal.customers.permissions import ALLOWED, Permission
from portal.notifications.models import Message
from tests.portal.building import NOON
from tests.portal.occupied import GUESTS, Lived, World, even, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db

IN, LOGIN, FORBIDDEN, MISSING, NO_WAY, NO_TOKEN = "in", "login", "forbidden", "missing", "no such way", "no token"
USAGE, BILLS, ALERTS, MANAGE, OWN = (
    Permission.USAGE,
    Permission.BILLS,
    Permission.ALERTS,
    Permission.MANAGE,
    Permission.OWN,
)
NOBODY = ("nobody", "inactive")
LEVEL_OF = {"holder": AccountAccess.Level.HOLDER, **{level.value: level for level in GUESTS}}
ROLES = (*NOBODY, "stranger", *LEVEL_OF, "ended", "invited", "earlier", "staff", "looking")
WHO_LIVED_THERE = ("earlier", *LEVEL_OF)
NO_ID = "bcdfghjkmnpqr"

Rule = "Callable[[str, frozenset[Permission]], str]"
Ids = "Callable[[World, Lived], dict[str, str]]"


@pytest.fixture(autouse=True)
def _connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is closed gives its connection back; here it is the test's, whose transaction holds the rows."""
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)


@pytest.fixture
def lived(settings: SettingsWrapper) -> World:
    """The world, on 17 June 2026 at noon in Chicago; the clock all but stands, so that two answers can be compared."""
    settings.HEADWATER_CLOCK = f"scaled:1e-12:{time.time()!r}:{NOON.timestamp()!r}"
    return world()


@pytest.fixture
def unwritten(lived: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same where pages stay empty: who gets where is decided before they are written, and writing takes longest."""
    monkeypatch.setattr(Template, "render", lambda self, context=None, request=None: "")
    return lived


def needs(permission: Permission) -> Rule:
    """Those who may do that with the account; for all others it does not exist."""
    return lambda role, may: LOGIN if role in NOBODY else IN if permission in may else MISSING


def always(outcome: str) -> Rule:
    return lambda role, may: outcome


def person(role: str, may: frozenset[Permission]) -> str:
    return LOGIN if role in NOBODY else IN


def lived_there(role: str, may: frozenset[Permission]) -> str:
    """Those who live or lived at the service point, whichever account is asked for: each sees their own time."""
    if role in NOBODY:
        return LOGIN
    return IN if role in (*WHO_LIVED_THERE, "looking") else MISSING


def streamed(role: str, may: frozenset[Permission]) -> str:
    return NO_TOKEN if role in NOBODY else lived_there(role, may)


def guest_only(role: str, may: frozenset[Permission]) -> str:
    """Guests of the account: its holder cannot leave it."""
    return LOGIN if role in NOBODY else IN if USAGE in may and OWN not in may else MISSING


def invited_only(role: str, may: frozenset[Permission]) -> str:
    """Whom the invitation went to; who is signed out is asked to sign in."""
    return IN if role in (*NOBODY, "invited") else FORBIDDEN


def asks_for_something(role: str, may: frozenset[Permission]) -> str:
    """Who manages an account, their own too; the others are told to ask its holder."""
    return LOGIN if role in NOBODY else IN if MANAGE in may or role in ("stranger", "earlier") else FORBIDDEN


def nobodys(role: str, may: frozenset[Permission]) -> str:
    """What does not exist for anybody who is signed in."""
    return LOGIN if role in NOBODY else MISSING


PUBLIC, PERSON, NOT_SENT, GONE = always(IN), person, always(NO_WAY), always(MISSING)


def point(world: World, target: Lived) -> dict[str, str]:
    return {"public_id": world.point.public_id}


def account(world: World, target: Lived) -> dict[str, str]:
    return {"public_id": target.account.public_id}


def of(name: str) -> Ids:
    return lambda world, target: {"public_id": getattr(target, name).public_id}


def guest(world: World, target: Lived) -> dict[str, str]:
    return {"public_id": target.account.public_id, "guest": world.guest.public_id}


def invitation(world: World, target: Lived) -> dict[str, str]:
    return {"public_id": target.account.public_id, "invitation": world.invitation.public_id}


def link(world: World, target: Lived) -> dict[str, str]:
    found = re.search(r"/invitation/([^/\s]+)/", Message.objects.get(to="invited@example.org").says)
    assert found
    return {"token": found[1]}


@dataclass(frozen=True)
class Row:
    """Who gets where by reading and by sending."""

    get: Rule
    ids: Ids | None = None
    post: Rule = NOT_SENT
    sent: dict[str, str] = field(default_factory=dict)


RESIDENT: dict[str, Row] = {
    "home": Row(PERSON),
    "usage": Row(lived_there, point),
    "stream": Row(streamed, point, streamed),
    "download": Row(lived_there, point),
    "bills": Row(PERSON),
    "account-bills": Row(needs(BILLS), account),
    "delivery": Row(NOT_SENT, account, needs(MANAGE)),
    "transactions": Row(needs(BILLS), account),
    "payments": Row(needs(BILLS), account),
    "transactions-csv": Row(needs(BILLS), account),
    "payments-csv": Row(needs(BILLS), account),
    "bill": Row(needs(BILLS), of("bill")),
    "bill-pdf": Row(needs(BILLS), of("bill")),
    "unit": Row(NOT_SENT, None, PERSON),
    "help": Row(PUBLIC),
    "help-security": Row(PUBLIC),
    "help-privacy": Row(PUBLIC),
    "help-accessibility": Row(PUBLIC),
    "requests": Row(PERSON),
    "new-request": Row(asks_for_something, lambda world, target: {"kind": "other"}, asks_for_something),
    "request": Row(needs(MANAGE), of("request")),
    "withdraw-request": Row(NOT_SENT, of("request"), needs(MANAGE)),
    "register": Row(PUBLIC, None, PUBLIC),
    "register-sign-in": Row(PUBLIC, None, PUBLIC),
    "alerts": Row(PERSON),
    "alert": Row(needs(ALERTS), of("alert")),
    "alert-say": Row(NOT_SENT, of("alert"), needs(ALERTS)),
    "profile": Row(PERSON),
    "notifications": Row(PERSON),
    "notifications-save": Row(NOT_SENT, lambda world, target: {}, needs(ALERTS), {"form": "expected"}),
    "accounts": Row(PERSON, None, PERSON),
    "link-proved": Row(NOT_SENT, None, PERSON),
    "unlink-account": Row(needs(OWN), account, needs(OWN)),
    "comparisons": Row(PERSON, lambda world, target: {}, needs(MANAGE)),
    "messages": Row(PERSON),
    "address-link": Row(NOT_SENT, None, PERSON),
    "address-back": Row(PUBLIC, lambda world, target: {"token": NO_ID}, PUBLIC),
    "message-real": Row(PUBLIC, None, PUBLIC),
    "phone": Row(PERSON, None, PERSON),
    "phone-confirm": Row(PERSON, None, PERSON),
    "phone-remove": Row(NOT_SENT, None, PERSON),
    "outbox": Row(GONE),
    "security": Row(PERSON),
    "passkey": Row(PERSON, lambda world, target: {"key": NO_ID}, PERSON),
    "sign-ins": Row(PERSON),
    "sign-out-elsewhere": Row(NOT_SENT, None, PERSON),
    "tokens": Row(PERSON),
    "token-make": Row(NOT_SENT, None, PERSON),
    "token-revoke": Row(NOT_SENT, lambda world, target: {"public_id": NO_ID}, nobodys),
    "privacy": Row(PERSON),
    "privacy-copy": Row(PERSON),
    "privacy-delete": Row(PERSON, None, PERSON),
    "household": Row(PERSON),
    "household-account": Row(needs(USAGE), account),
    "household-invite": Row(NOT_SENT, account, needs(MANAGE)),
    "household-leave": Row(guest_only, account, guest_only),
    "household-guest": Row(needs(MANAGE), guest, needs(MANAGE)),
    "household-remove": Row(needs(MANAGE), guest, needs(MANAGE)),
    "household-again": Row(NOT_SENT, invitation, needs(MANAGE)),
    "household-take-back": Row(NOT_SENT, invitation, needs(MANAGE)),
    "invitation": Row(PUBLIC, link, invited_only),
}
WITHOUT_ROWS = {
    "new-request",
    "token-revoke",
    "notifications-save",
    "comparisons",
    "address-back",
    "passkey",
    "invitation",
}
"""Addresses whose arguments are no identifiers of rows of an account."""

SENT = {
    "email": "new@example.org",
    "level": "view-usage",
    "way": "paper",
    "language": "en",
    "unit": "l",
    "say": "seen",
    "answer": "pool",
    "do": "acknowledge",
    "kind": "unusual",
}
"""What is sent to each form: enough for an unguarded one to act on."""

STAFF = {
    *("accounts", "account", "account-delivery", "account-final", "account-preview", "look-account", "end-look"),
    *("agreement", "bills", "held", "bill", "adjust-bill", "bill-line", "bill-sheet", "bill-pdf", "runs", "run"),
    *("cycles", "rates", "rate-upload", "rate-compare", "rate-book", "findings", "finding", "enter-read"),
    *("import-reads", "entered", "entered-read", "adjustments", "adjustment", "payment", "journal", "entry", "aging"),
    *(
        "look",
        "leaks",
        "leak-file",
        "leak",
        "person",
        "clear-tries",
        "requests",
        "request",
        "banners",
        "new-banner",
        "banner",
    ),
    *("end-banner", "settings", "settings-group", "messages", "message", "imports", "import-template", "refused"),
    *("foreign", "list"),
}
"""For staff alone, all of it."""

API = {"api-root", "openapi-json", "enrol_collector", "me", "usage", "usage_as_file", "bills"}
OTHERS = {"set_language", "sms-status", "sms-inbound"}
"""Without a person: the language, and what the provider of texts reports (signed, tested in test_notifications_*)."""

HOW_TO = "see the head of tests/portal/test_access_matrix.py for how to add a row"


def named(resolver: URLResolver | None = None, space: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield the namespace and pattern of every named address but those of allauth, whose pages are a person's own."""
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            if str(pattern.pattern) != "accounts/":
                yield from named(pattern, pattern.namespace or space)
        elif pattern.name:
            yield space, pattern


def test_every_address_has_a_row() -> None:
    table = {"resident": set(RESIDENT), "staff": STAFF, "api": API, "": OTHERS}
    rows = {(space, name) for space, names in table.items() for name in names}
    found = {(space, str(pattern.name)) for space, pattern in named()}
    assert found - rows == set(), f"without a row; {HOW_TO}"
    assert rows - found == set(), "rows without an address; take them out"


def outcome(client: Client, method: str, path: str, data: dict[str, str] | None = None) -> str:
    """Return what came of a request, whose changes are taken back; what was refused must have changed nothing."""
    with transaction.atomic():
        before = AuditEntry.objects.count()
        answer = getattr(client, method)(path, data or {})
        answer.close()
        changed = AuditEntry.objects.count() - before
        transaction.set_rollback(True)
    codes = {401: NO_TOKEN, 403: FORBIDDEN, 404: MISSING, 405: NO_WAY}
    to_login = answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")
    came = LOGIN if to_login else codes.get(answer.status_code, IN)
    return came if came == IN or method == "get" or not changed else f"{came}, but {changed} changes"


def expected(rule: Rule, role: str, may: frozenset[Permission], *, name: str, method: str) -> str:
    if role != "looking":
        return rule(role, may)
    if method == "post":
        return FORBIDDEN  # staff look, they never act
    return rule(role, may) if name in SHOWN | {"stream"} else MISSING


def may_of(role: str, *, with_eves: bool) -> frozenset[Permission]:
    """What a role may do with Ana's account, or with Eve's, who lived there before."""
    if with_eves:
        return frozenset(Permission) if role == "earlier" else frozenset()
    if role == "looking":
        return frozenset(Permission)
    return ALLOWED[LEVEL_OF[role]] if role in LEVEL_OF else frozenset()


def check(world: World, target: Lived, rows: dict[str, Row], roles: tuple[str, ...]) -> str:
    """Return where the portal does other than the table says, in lines."""
    wrong = []
    for name, row in rows.items():
        path = reverse(f"resident:{name}", kwargs=row.ids(world, target) if row.ids else {})
        for role in roles:
            may = may_of(role, with_eves=target is world.eve)
            for method, rule in (("get", row.get), ("post", row.post)):
                data = {**SENT, "account": target.account.public_id, **row.sent} if method == "post" else None
                came = outcome(world.clients[role], method, path, data)
                wanted = expected(rule, role, may, name=name, method=method)
                if came != wanted:
                    wrong.append(f"{method} {name} as {role}: {came}, not {wanted}")
    return "\n".join(wrong)


def test_every_role_reaches_what_it_may_of_an_account_and_nothing_else(unwritten: World) -> None:
    assert check(unwritten, unwritten.ana, {name: row for name, row in RESIDENT.items() if row.ids}, ROLES) == ""


def test_pages_without_an_identifier_ask_who_it_is(unwritten: World) -> None:
    rows = {name: row for name, row in RESIDENT.items() if not row.ids}
    assert check(unwritten, unwritten.ana, rows, (*NOBODY, "stranger", "looking")) == ""


def test_who_came_later_reaches_nothing_of_who_lived_there_before(unwritten: World) -> None:
    theirs = (account, point)
    rows = {
        name: row
        for name, row in RESIDENT.items()
        if row.ids in theirs or name in ("bill", "bill-pdf", "alert", "alert-say", "request", "withdraw-request")
    }
    assert len(rows) > 15
    assert check(unwritten, unwritten.eve, rows, ("holder", "manage-all", "view-usage", "earlier", "looking")) == ""


def test_staff_pages_are_for_staff(unwritten: World) -> None:
    wrong = []
    for name in sorted(STAFF):
        [pattern] = [one for space, one in named() if space == "staff" and one.name == name]
        arguments = {argument: 1 if argument == "position" else NO_ID for argument in pattern.pattern.regex.groupindex}
        path = reverse(f"staff:{name}", kwargs=arguments)
        for role, refused in (("nobody", LOGIN), ("inactive", LOGIN), ("holder", FORBIDDEN), ("manage-all", FORBIDDEN)):
            came = {outcome(unwritten.clients[role], method, path) for method in ("get", "post")}
            if not came <= {refused, NO_WAY} or refused not in came:
                wrong.append(f"{name} as {role}: {came}")
        came = {outcome(unwritten.clients["staff"], "get", path)}
        if came & {LOGIN, FORBIDDEN}:
            wrong.append(f"{name} as staff: {came}")
    assert wrong == []


def test_the_api_gives_each_token_its_own_and_no_page_takes_a_token(lived: World) -> None:
    span = "from=2026-05-01T00:00&to=2026-06-01T00:00"
    usage = f"/api/v1/usage?service_point={lived.point.public_id}&{span}"
    elsewhere = f"/api/v1/usage?service_point={NO_ID}&{span}"
    for role, token in lived.tokens.items():
        bearer = {"authorization": f"Bearer {token}"}
        me = Client().get("/api/v1/me", headers=bearer)
        got, none = Client().get(usage, headers=bearer), Client().get(elsewhere, headers=bearer)
        if role == "inactive":
            assert (me.status_code, got.status_code) == (401, 401)
            continue
        places = [place["id"] for place in me.json()["service_points"]]
        sees = role in WHO_LIVED_THERE
        assert (lived.point.public_id in places) is sees, role
        assert got.status_code == (200 if sees else 404), role
        if not sees:
            assert got.json() == none.json()
        file = Client().get(usage.replace("usage?", "usage/file?"), headers=bearer)
        assert file.status_code == got.status_code
        bills = Client().get("/api/v1/bills", headers=bearer).content.decode()
        assert (str(lived.ana.bill.number) in bills) is (BILLS in may_of(role, with_eves=False) and role != "looking")
        assert (str(lived.eve.bill.number) in bills) is (role == "earlier")
        assert Client().get(f"/bills/{lived.ana.account.public_id}/", headers=bearer).status_code == 302
        assert Client().post("/api/v1/me", headers=bearer).status_code == 405
    for path in ("/api/v1/me", usage):
        assert Client().get(path).status_code == 401
        assert lived.clients["holder"].get(path).status_code == 401  # a session is no token


def test_a_guessed_identifier_of_another_is_like_one_that_does_not_exist(lived: World) -> None:
    """The same answer, byte for byte, for rows of every kind: nothing tells whether there is such a row."""
    for name, row in RESIDENT.items():
        if row.ids is None or name in WITHOUT_ROWS:
            continue
        own = row.ids(lived, lived.ana)
        for role in ("stranger", "earlier" if row.ids is not point else "ended"):
            answers = []
            for ids in (own, dict.fromkeys(own, NO_ID), {**own, "public_id": lived.register.meter.meter_id}):
                method = "get" if row.post is NOT_SENT else "post"
                path = reverse(f"resident:{name}", kwargs=ids)
                answer = getattr(lived.clients[role], method)(path, SENT if method == "post" else {})
                answers.append((answer.status_code, without_marks(answer.content.decode(), path)))
            assert answers[0][0] == 404, (name, role)
            assert len(set(answers)) == 1, (name, role)
    for wrong in (lived.ana.account.pk, lived.ana.account.number, lived.ana.bill.number, lived.ana.bill.pk):
        for page in ("account-bills", "bill", "household-account", "usage", "alert", "request"):
            assert lived.clients["holder"].get(reverse(f"resident:{page}", args=[wrong])).status_code == 404


def without_marks(text: str, path: str = "") -> str:
    """Return a page without what differs from request to request: tokens of forms, and its own address."""
    text = re.sub(r"<(?:atom:)?(updated|published)>[^<]*<", "", text)
    text = re.sub(r'(name="csrfmiddlewaretoken" value|data-change|name="key" value)="[^"]*"', "", text)
    return re.sub(r'"change": \d+', "", text.replace(path, "") if path else text)


def questions(world: World, draw: random.Random) -> Iterator[str]:
    """Yield addresses that ask about a place at any time, in every way there is."""
    usage = f"/usage/{world.point.public_id}/"
    days = [f"2026-{month:02}-{day:02}" for month in range(1, 8) for day in (1, 9, 10, 11, 19, 20, 21, 26, 27, 28)]
    edges = ["2026-05-09", "2026-05-10", "2026-05-19", "2026-05-20", "2026-05-26", "2026-05-27", "2025-12-31"]
    for by in ("hour", "day", "week", "month", "year"):
        yield from (f"{usage}?by={by}&date={day}" for day in draw.sample(edges, 2))
    for _ in range(3):
        first, last = sorted(draw.sample(days, 2))
        by, compare = draw.choice(("hour", "day", "month")), draw.choice(("previous", "last-year", "similar"))
        yield f"{usage}?by={by}&date={first}&compare={compare}&first_day={last}&unit=l"
        form, every = draw.choice(("csv", "green-button", "xml")), draw.choice(("hour", "day", "read", "month"))
        yield f"{usage}download/?form={form}&every={every}&first={first}&last={last}&unit=l&places=all"
        resolution = draw.choice(("hour", "day", "month"))
        yield (
            f"/api/v1/usage?service_point={world.point.public_id}&resolution={resolution}&unit=l"
            f"&from={first}T0{draw.randrange(10)}:30:00&to={last}T12:00:00"
        )
    yield from ("/api/v1/me", "/", f"{usage}download/", "/bills/", "/alerts/")


def answers(world: World, role: str, asked: list[str]) -> dict[str, str]:
    """Return what somebody is told, by address."""
    told = {}
    bearer = {"authorization": f"Bearer {world.tokens[role]}"}
    for path in asked:
        answer = Client().get(path, headers=bearer) if path.startswith("/api/") else world.clients[role].get(path)
        assert answer.status_code < 500, path
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
        told[path] = f"{answer.status_code} {without_marks(body.decode())}"
    return told


def test_nothing_that_is_asked_depends_on_what_others_used_there(lived: World) -> None:
    """Whatever others used before, between and after: what Ana and Eve are told is the same to the last byte.

    The dial shows the same whenever one follows the other; everything else about the others' use is another in the
    second world. That Ana's own use shows at once makes sure that the questions would tell.
    """
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    asked = list(questions(lived, draw))
    odd = random.Random(seed + 1)
    weights = [odd.choice((0, 0, 1, 7, 40)) for _ in range(2000)]

    def uneven(step: int) -> int:
        return weights[step] + (step == 0)

    ana, eve = answers(lived, "holder", asked), answers(lived, "earlier", asked)
    assert sum(told.startswith("200") for told in ana.values()) > len(asked) // 2
    lived.reads(eve=uneven, ana=even, mia=uneven)
    assert differing(ana, answers(lived, "holder", asked)) == []
    assert len(differing(eve, answers(lived, "earlier", asked))) > 5
    lived.reads(eve=even, ana=uneven, mia=uneven)
    assert differing(eve, answers(lived, "earlier", asked)) == []
    assert len(differing(ana, answers(lived, "holder", asked))) > 5


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return what is told otherwise than before: each address with its lines of before and of now."""
    return [
        "\n".join([path, *unified_diff(before[path].splitlines(), after[path].splitlines(), n=0, lineterm="")])
        for path in before
        if before[path] != after[path]
    ]
