"""What is held about a person: the table of providers, its export, and the end of a login."""

from __future__ import annotations

import re

import pytest

from portal.core.personal_data import personal_data
from tests.portal.building import person

pytestmark = pytest.mark.django_db


def test_every_provider_is_there_and_answers() -> None:
    ana = person("ana@example.org", name="Ana Lopez")
    kinds = personal_data()
    assert len({kind.name for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert re.fullmatch(r"[a-z0-9-]+", kind.name), kind.name
        assert all(isinstance(row, dict) for row in kind.rows(ana))
    assert list(kinds[0].rows(ana))[0]["email"] == "ana@example.org"
