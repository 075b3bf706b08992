"""The JSON API: enrolment, and a resident's own usage and nobody else's."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache

from portal.core import tokens
from portal.core.models import ApiToken, User
from portal.core.tokens import make_token
from portal.customers.models import Account, AccountAccess
from portal.customers.services import end_access, ensure_premise, grant_access
from portal.fleet.models import Collector
from portal.fleet.services import make_enrolment_code, proof_message
from portal.ingest.apply import apply_batch
from sync.signing import SigningKey
from tests.portal.building import NOON, csr, enrolled, home, person, read, total

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
START, END = NOON.isoformat(), (NOON + timedelta(hours=6)).isoformat()


def get(client: Client, path: str, token: str | None, **query: str) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    response = client.get(f"/api/v1/{path}", query, headers=headers)
    return response.status_code, response.json()


@pytest.fixture
def ana() -> User:
    return person("ana@example.org", name="Ana")


@pytest.fixture
def token(ana: User) -> str:
    return make_token(ana)[0]


@pytest.fixture
def elm_street(ana: User) -> str:
    """Ana's service point, with 100 litres in each of six hours."""
    register = total()
    service_point, _ = home(register, NOON, user=ana)
    box = enrolled()
    assert apply_batch(
        box.sealed([read(register, 100 * n, NOON + timedelta(hours=n)) for n in range(7)]), box.name, NOON
    )
    return service_point.public_id


def test_me_lists_ones_own_service_points(client: Client, token: str, elm_street: str) -> None:
    home(total("EFE-00000002"), NOON, user=person("ben@example.org"), address="14 Elm Street", account="B")
    status, body = get(client, "me", token)
    assert status == 200
    assert (body["email"], body["name"], body["utility"]["zone"]) == ("ana@example.org", "Ana", "America/Chicago")
    points = body["service_points"]
    assert [(p["id"], p["address"]) for p in points] == [(elm_street, "12 Elm Street")]
    assert points[0]["occupied"] == [{"start": "2026-06-17T17:00:00Z", "end": None}]


def test_usage_is_exact(client: Client, token: str, elm_street: str) -> None:
    query = {"service_point": elm_street, "from": START, "to": END}
    status, hours = get(client, "usage", token, **query, resolution="hour", unit="gal")
    assert status == 200
    assert [row["counts"] for row in hours["intervals"]] == [100] * 6
    assert (hours["counts_unit"], hours["counts_scale"], hours["total_counts"]) == ("m3", -3, 600)
    assert sum(Decimal(row["volume"]) for row in hours["intervals"]) == Decimal(hours["total"]) == Decimal("158.503")
    assert all(isinstance(row["volume"], str) for row in hours["intervals"])
    assert hours["intervals"][0]["start"] == "2026-06-17T12:00:00-05:00"
    assert (hours["first"]["count"], hours["last"]["count"], hours["last"]["value"]) == (0, 600, "0.600")
    _, day = get(client, "usage", token, **query, unit="gal")
    assert day["total"] == hours["total"]
    assert (day["resolution"], len(day["intervals"])) == ("day", 1)


def test_a_gap_is_null(client: Client, token: str, elm_street: str) -> None:
    later = (NOON + timedelta(days=2)).isoformat()
    query = {"service_point": elm_street, "from": later, "to": (NOON + timedelta(days=3)).isoformat()}
    _, body = get(client, "usage", token, **query)
    assert {(row["volume"], row["counts"], row["quality"]) for row in body["intervals"]} == {(None, None, "missing")}


def test_nobody_sees_other_accounts(client: Client, elm_street: str) -> None:
    ben = person("ben@example.org")
    home(total("EFE-00000002"), NOON, user=ben, address="14 Elm Street", account="B")
    staff = person("staff@example.org", is_staff=True)
    empty = ensure_premise("99 Elm Street").public_id
    for user in (ben, staff):
        token, _ = make_token(user)
        for point in (elm_street, empty, "2222222222222", "1", "' OR 1=1"):
            status, body = get(client, "usage", token, service_point=point, **{"from": START, "to": END})
            assert (status, body["error"]) == (404, "not-found")
        assert elm_street not in json.dumps(get(client, "me", token)[1])


def test_a_guests_token_shows_nothing_from_the_moment_their_access_ends(client: Client, elm_street: str) -> None:
    gus = person("gus@example.org")
    account = Account.objects.get(occupancies__service_point__public_id=elm_street)
    access = grant_access(account, gus, at=NOON, level=AccountAccess.Level.VIEW_USAGE)
    token, query = make_token(gus)[0], {"service_point": elm_street, "from": START, "to": END}
    assert get(client, "usage", token, **query)[0] == 200
    end_access(access, at=NOON)
    assert get(client, "usage", token, **query)[0] == 404
    assert get(client, "me", token)[1]["service_points"] == []


@pytest.mark.parametrize("bad", [None, "", "hwt_nonsense", "Bearer"])
def test_without_a_good_token_nothing_is_said(client: Client, bad: str | None, elm_street: str) -> None:
    for path in ("me", "usage"):
        query = {"service_point": elm_street, "from": START, "to": END} if path == "usage" else {}
        status, body = get(client, path, bad, **query)
        assert (status, body["error"]) == (401, "unauthorised")


def test_a_token_ends(client: Client, ana: User) -> None:
    for change in (
        {"expires_at": datetime.now(UTC) - timedelta(seconds=1)},
        {"revoked_at": datetime.now(UTC)},
        {"scopes": "something:else"},
    ):
        token, row = make_token(ana)
        assert get(client, "me", token)[0] == 200
        ApiToken.objects.filter(pk=row.pk).update(**change)
        assert get(client, "me", token)[0] == 401
    token, _ = make_token(ana)
    User.objects.update(is_active=False)
    assert get(client, "me", token)[0] == 401


def test_a_session_is_no_token(client: Client, ana: User) -> None:
    client.force_login(ana)
    assert get(client, "me", None)[0] == 401


def test_only_the_hash_of_a_token_is_kept(ana: User) -> None:
    token, _ = make_token(ana)
    kept = ApiToken.objects.values().get()
    assert token not in str(kept)
    assert bytes(kept["token_hash"]) not in token.encode()


def test_too_many_requests(client: Client, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REQUESTS_PER_MINUTE", 3)
    assert [get(client, "me", token)[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    ApiToken.objects.update(window_started_at=datetime.now(UTC) - timedelta(minutes=2))
    assert get(client, "me", token)[0] == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"from": "yesterday"},
        {"to": ""},
        {"resolution": "week"},
        {"unit": "barrel"},
        {"to": START},
        {"from": "1970-01-01"},
        {"from": "0001-01-01T00:00:00Z"},
        {"to": "9999-12-31T23:59:59Z"},
    ],
)
def test_faulty_questions_are_answered_with_what_to_do(
    client: Client, token: str, elm_street: str, changed: dict[str, str]
) -> None:
    query = {"service_point": elm_street, "from": START, "to": END, "resolution": "hour", **changed}
    status, body = get(client, "usage", token, **query)
    assert status in (400, 422)
    assert set(body) == {"error", "message"}


def enrolment(code: str, key: SigningKey) -> dict[str, Any]:
    request, _ = csr("x")
    return {
        "code": code,
        "csr": request.decode(),
        "signing_key": {"alg": "EDDSA", "public": base64.b64encode(key.verify_key.public).decode()},
        "proof": base64.b64encode(key.sign(proof_message(code, request))).decode(),
    }


def test_enrolment_over_the_api(client: Client) -> None:
    code, _ = make_enrolment_code("hw-elm-1")
    body = enrolment(code, SigningKey.generate())
    response = client.post("/api/v1/enrol", body, content_type="application/json")
    assert response.status_code == 201
    assert set(response.json()) == {"collector", "certificate", "ca", "portal_key", "broker", "partition"}
    again = client.post("/api/v1/enrol", body, content_type="application/json")
    assert (again.status_code, again.json()["error"]) == (403, "code")


@pytest.mark.parametrize("part", ["code", "csr", "signing_key", "proof"])
def test_a_faulty_enrolment_is_refused(client: Client, part: str) -> None:
    code, _ = make_enrolment_code("hw-elm-1")
    good = enrolment(code, SigningKey.generate())
    for value in (None, "", "x" * 30_000, {"alg": "EDDSA", "public": "!"}, 7):
        response = client.post("/api/v1/enrol", {**good, part: value}, content_type="application/json")
        assert response.status_code in (400, 403, 422)
        assert set(response.json()) == {"error", "message"}
    assert Collector.objects.get().enrolled_at is None
    assert client.post("/api/v1/enrol", good, content_type="application/json").status_code == 201


@pytest.mark.parametrize("body", [b"", b"\0", b"{", b"\xff\xfe", b"[" * 100_000, b"NaN", b'"\\ud800"'])
def test_a_body_that_cannot_be_read_is_answered_as_every_fault_is(client: Client, body: bytes) -> None:
    response = client.post("/api/v1/enrol", body, content_type="application/json")
    assert response.status_code in (400, 422)
    assert set(response.json()) == {"error", "message"}


def test_who_guesses_codes_is_stopped_by_address_and_others_still_enrol(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.api.views.REFUSALS_A_HOME", 3)
    cache.clear()
    code, _ = make_enrolment_code("hw-elm-1")
    good = enrolment(code, SigningKey.generate())
    wrong = enrolment("hwc-aaaa-bbbb-cccc-dddd", SigningKey.generate())

    def post(body: dict[str, Any], address: str) -> int:
        return client.post("/api/v1/enrol", body, content_type="application/json", REMOTE_ADDR=address).status_code

    assert [post(wrong, "2001:db8::7") for _ in range(5)] == [403, 403, 403, 429, 429]
    assert post(good, "2001:db8::8") == 429  # the same household or office
    assert post(good, "2001:db8:0:9::7") == 201
    # Enrolments that succeed are not counted: a street is installed from one office.
    for number in range(5):
        more, _ = make_enrolment_code(f"hw-oak-{number}")
        assert post(enrolment(more, SigningKey.generate()), "198.51.100.7") == 201


def test_the_description_is_published(client: Client) -> None:
    description = client.get("/api/v1/openapi.json").json()
    paths = ("enrol", "me", "usage", "usage/file", "bills")
    assert set(description["paths"]) == {f"/api/v1/{path}" for path in paths}


def test_every_answer_carries_the_content_security_policy(client: Client) -> None:
    policy = client.get("/api/v1/openapi.json").headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
