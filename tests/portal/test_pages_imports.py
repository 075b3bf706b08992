"""The imports page: looked at first, then the very same file is imported; for staff only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from portal.billing.models import Cycle
from tests.portal.building import person

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

GOOD, BAD = b"code,read_day\n01,5\n", b"code,read_day\n01,31\n"


def _send(client: Client, data: bytes, **fields: str) -> tuple[int, str]:
    file = SimpleUploadedFile("cycles.csv", data, content_type="text/csv")
    response = client.post("/staff/imports/", {"kind": "cycles", "file": file, **fields})
    return response.status_code, response.content.decode()


def _looked(text: str) -> str:
    found = re.search(r'name="looked" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_a_file_is_looked_at_and_then_the_same_file_is_imported(client: Client) -> None:
    client.force_login(person("staff@example.org", is_staff=True))
    status, text = _send(client, GOOD)
    assert status == 200
    assert Cycle.objects.count() == 0
    looked = _looked(text)
    status, text = _send(client, GOOD + b"02,6\n", looked=looked)
    assert (status, Cycle.objects.count()) == (422, 0)
    assert "not the file that you looked at" in text
    assert _send(client, GOOD, looked=looked + "x")[0] == 422
    status, text = _send(client, GOOD, looked=looked)
    assert (status, Cycle.objects.count()) == (200, 1)
    assert "cycles.csv" in client.get("/staff/imports/").content.decode()


def test_somebody_elses_look_does_not_count(client: Client) -> None:
    client.force_login(person("staff@example.org", is_staff=True))
    looked = _looked(_send(client, GOOD)[1])
    client.force_login(person("other@example.org", is_staff=True))
    assert _send(client, GOOD, looked=looked)[0] == 422
    assert Cycle.objects.count() == 0


def test_problems_are_listed_and_cannot_be_imported(client: Client) -> None:
    client.force_login(person("staff@example.org", is_staff=True))
    status, text = _send(client, BAD)
    assert status == 200
    assert 'name="looked"' not in text
    assert "a day from 1 to 28" in text
    assert _send(client, b"PK\x03\x04")[0] == 422
    assert client.post("/staff/imports/", {"kind": "cycles"}).status_code == 422
    assert client.post("/staff/imports/", {"kind": "people"}).status_code == 422


def test_templates_are_handed_out_and_residents_see_nothing(client: Client) -> None:
    client.force_login(person("staff@example.org", is_staff=True))
    response = client.get("/staff/imports/accounts.csv")
    assert response.content.decode().startswith("\ufeffnumber,name,cycle")
    assert client.get("/staff/imports/people.csv").status_code == 404
    client.force_login(person())
    for path in ("/staff/imports/", "/staff/imports/accounts.csv"):
        assert client.get(path).status_code == 403
