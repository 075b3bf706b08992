"""The published description of the API, attacked: no server error, and every answer is as described."""

from __future__ import annotations

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
SEED = 20260617
"""What is drawn is drawn again."""


@pytest.fixture(autouse=True)
def _connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is closed gives its connection back; here it is the test's, whose transaction holds the rows."""
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)


def _description() -> Any:
    from django.core.wsgi import get_wsgi_application

    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())


@pytest.mark.parametrize("token", [False, True], ids=["without a token", "with a token"])
def test_no_server_error_and_answers_as_described(token: bool) -> None:
    print(f"seed {SEED}")
    ana = person("ana@example.org")
    home = metered_home(datetime(2026, 5, 1, 5, tzinfo=UTC), user=ana).read_daily(3)
    headers = {"Authorization": f"Bearer {make_token(ana, scopes=SCOPES)[0]}"} if token else {}
    seen: dict[str, set[int]] = {}
    for found in _description().get_all_operations():
        operation = found.ok()

        @seed(SEED)
        @settings(
            max_examples=10,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def attack(case: Case) -> None:
            if case.query and "service_point" in case.query and len(case.query["service_point"]) % 2:
                case.query.update(GOOD, service_point=home.service_point.public_id)
            response = case.call_and_validate(headers=headers, checks=CHECKS)
            seen.setdefault(case.path, set()).add(response.status_code)

        attack()
    assert set(seen) == {f"/api/v1/{path}" for path in ("enrol", "me", "usage", "usage/file", "bills")}
    assert all(status < 500 for statuses in seen.values() for status in statuses)
    own = {path: statuses for path, statuses in seen.items() if not path.endswith("enrol")}
    if token:
        assert all(200 in own[f"/api/v1/{path}"] for path in ("me", "usage/file"))
    else:
        assert all(statuses <= {401, 422} for statuses in own.values())
