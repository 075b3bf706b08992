"""The typed client against a small server of the standard library: exact values, clear errors, careful retries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from domain.errors import ConfigError
from domain.units import Unit
from portal_client import client as client_module
from portal_client.client import PortalClient
from portal_client.errors import Conflict, NotAuthorised, NotEnrolled, PortalError

ME = {
    "id": "u1", "email": "r@example.org", "name": "R", "utility": {"name": "Norman", "zone": "America/Chicago"},
    "service_points": [{"id": "sp1", "address": "12 Elm Street", "label": "",
                        "occupied": [{"start": "2026-01-01T00:00:00-06:00", "end": None}]}],
}  # fmt: skip
USAGE = {
    "service_point": "sp1", "start": "2026-11-01T00:00:00-05:00", "end": "2026-11-02T00:00:00-06:00",
    "resolution": "day", "zone": "America/Chicago", "unit": "gal", "as_of": "2026-11-02T06:00:00+00:00",
    "counts_unit": "m3", "counts_scale": -3, "total": "123456789012345678.123456789", "total_counts": 2**60 + 1,
    "first": {"at": "2026-11-01T05:00:00+00:00", "meter_id": "M1", "register_id": "total", "count": 1, "unit": "m3",
              "scale": -3, "value": "0.001", "quality": "measured", "interpolated": True},
    "last": None,
    "intervals": [
        {"start": "2026-11-01T00:00:00-05:00", "end": "2026-11-02T00:00:00-06:00", "volume": "0.10", "counts": 3,
         "quality": "measured", "interpolated": True},
        {"start": "2026-11-02T00:00:00-06:00", "end": "2026-11-03T00:00:00-06:00", "volume": None, "counts": None,
         "quality": "missing", "interpolated": False},
    ],
}  # fmt: skip


class Portal:
    """Answers each request with the next of `answers` (status, body); notes what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        portal = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(size)) if size else None
                portal.asked.append((self.command, self.path, dict(self.headers), body))
                status, content = portal.answers.pop(0)
                if status == 0:
                    return  # hang up without a word
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setattr(client_module, "RETRY_PAUSE_S", 0.01)
    made = Portal()
    yield made
    made.close()


def test_me_is_typed_and_the_token_is_sent(portal: Portal) -> None:
    portal.answers = [(200, ME)]
    me = PortalClient(portal.url, token="secret").me()
    assert portal.asked[0][:2] == ("GET", "/api/v1/me")
    assert portal.asked[0][2]["Authorization"] == "Bearer secret"
    assert me.zone == "America/Chicago"
    assert me.service_points[0].occupied[0].start.utcoffset() == timedelta(hours=-6)


def test_usage_is_exact(portal: Portal) -> None:
    portal.answers = [(200, USAGE)]
    start = datetime(2026, 11, 1, tzinfo=UTC)
    usage = PortalClient(portal.url).usage("sp1", start=start, end=start + timedelta(days=2), unit=Unit.GALLON)
    assert usage.total == Decimal("123456789012345678.123456789")
    assert usage.total_counts == 2**60 + 1
    assert [(row.volume, row.counts) for row in usage.intervals] == [(Decimal("0.10"), 3), (None, None)]
    assert usage.first is not None
    assert (usage.first.unit, usage.first.scale) == (Unit.CUBIC_METRE, -3)
    assert "from=2026-11-01T00%3A00%3A00%2B00%3A00" in portal.asked[0][1]


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, {"error": "unauthorised", "message": "send a token"}, NotAuthorised, "send a token"),
        (404, {"error": "not-found", "message": "no such service point"}, Conflict, "no such service point"),
        (500, b"<html>", PortalError, "answered 500"),
        (200, b"<html>", PortalError, "no answer of a portal"),
        (200, {"id": 7}, PortalError, "not what this version understands"),
        (200, {**ME, "service_points": [{**ME["service_points"][0], "id": 3}]}, PortalError, "understands"),  # type: ignore[index]
    ],
)
def test_each_bad_answer_has_its_class_and_the_portals_words(
    portal: Portal, status: int, body: Any, kind: type[PortalError], words: str
) -> None:
    portal.answers = [(status, body)]
    with pytest.raises(kind, match=words) as caught:
        PortalClient(portal.url).me()
    assert caught.value.exit_code == 8


def test_reading_is_tried_again_and_changing_is_not(portal: Portal) -> None:
    portal.answers = [(503, {}), (0, None), (200, ME)]
    assert PortalClient(portal.url).me().id == "u1"
    portal.answers = [(503, {}), (201, {})]
    with pytest.raises(PortalError, match="503"):
        PortalClient(portal.url).enrol(code="c", csr_pem="p", signing_alg="EDDSA", signing_public=b"k", proof=b"s")
    assert len(portal.answers) == 1


def test_a_refused_enrolment_says_what_to_do(portal: Portal) -> None:
    portal.answers = [(403, {"error": "code", "message": "the code is unknown, used or expired"})]
    with pytest.raises(NotEnrolled, match="unknown, used or expired") as caught:
        PortalClient(portal.url).enrol(code="c", csr_pem="p", signing_alg="EDDSA", signing_public=b"k", proof=b"s")
    assert caught.value.as_json()["code"] == "code"
    assert portal.asked[0][3]["signing_key"] == {"alg": "EDDSA", "public": "aw=="}


def test_nobody_there_is_said_so(portal: Portal) -> None:
    url = portal.url
    portal.server.server_close()
    with pytest.raises(PortalError, match="cannot be reached"):
        PortalClient(url).me()


@pytest.mark.parametrize("url", ["http://portal.example", "ftp://x", "https://", "https://x:y", "https://u@x"])
def test_clear_text_and_nonsense_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        PortalClient(url)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        PortalClient("http://localhost").usage("x", start=datetime(2026, 1, 1), end=datetime(2026, 1, 2))  # noqa: DTZ001
