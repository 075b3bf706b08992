"""The published description of the API, attacked: no server error, and every answer is as described.

HEADWATER_EXAMPLES=300 draws so many for each operation, others at each run; HEADWATER_SEED, which a run prints, draws
the same again.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from django.db import connection
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portal.core.tokens import SCOPES, make_token
from portal.customers.services import grant_access, move_in
from tests.portal.bills import make_bill
from tests.portal.building import person
from tests.portal.metered_homes import metered_home

if TYPE_CHECKING:
    from schemathesis import Case

pytestmark = pytest.mark.django_db
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
GOOD = {"from": "2026-05-01T05:00:00Z", "to": "2026-05-03T05:00:00Z"}
EXAMPLES = int(os.environ.get("HEADWATER_EXAMPLES", "10"))
SEED = int(os.environ.get("HEADWATER_SEED") or (20260617 if EXAMPLES == 10 else random.randrange(2**32)))
"""What is drawn is drawn again."""


@pytest.fixture(autouse=True)
def _connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is closed gives its connection back; here it is the test's, whose transaction holds the rows."""
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)


@pytest.fixture(autouse=True)
def _as_often_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks too often is told so, and nothing else would be asked any more."""
    monkeypatch.setattr("portal.core.tokens.REQUESTS_PER_MINUTE", 10**9)
    monkeypatch.setattr("portal.api.views.REFUSALS_A_HOME", 10**9)


def _description() -> Any:
    from django.core.wsgi import get_wsgi_application

    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())


def _with_what_there_is(case: Case, known: dict[str, str]) -> None:
    """Put ids that exist in the place of half of those that were drawn, and good moments beside some of them."""
    query = case.query or {}
    for name, value in known.items():
        if name in query and len(str(query[name])) % 2:
            query[name] = value
            if "from" in query and len(query) % 2:
                query.update(GOOD)


@pytest.mark.parametrize("token", [False, True], ids=["without a token", "with a token"])
def test_no_server_error_and_answers_as_described(token: bool) -> None:
    print(f"again: HEADWATER_EXAMPLES={EXAMPLES} HEADWATER_SEED={SEED}")
    home = metered_home(datetime(2026, 5, 1, 5, tzinfo=UTC), number=2).read_daily(3)
    bill = make_bill()
    ana, later = person("ana@example.org"), datetime(2026, 5, 2, 17, 30, tzinfo=UTC)
    move_in(bill.account, home.service_point, later)
    grant_access(bill.account, ana, at=later)
    known = {"service_point": home.service_point.public_id, "before": bill.public_id}
    headers = {"Authorization": f"Bearer {make_token(ana, scopes=SCOPES)[0]}"} if token else {}
    seen: dict[str, set[int]] = {}
    for found in _description().get_all_operations():
        operation = found.ok()

        @seed(SEED)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def attack(case: Case) -> None:
            _with_what_there_is(case, known)
            response = case.call_and_validate(headers=headers, checks=CHECKS)
            seen.setdefault(case.path, set()).add(response.status_code)

        attack()
    assert set(seen) == {f"/api/v1/{path}" for path in ("enrol", "me", "usage", "usage/file", "bills")}
    assert all(status < 500 for statuses in seen.values() for status in statuses)
    own = {path: statuses for path, statuses in seen.items() if not path.endswith("enrol")}
    if token:
        assert all(200 in statuses for statuses in own.values()), own
    else:
        assert all(statuses <= {401, 422} for statuses in own.values())
