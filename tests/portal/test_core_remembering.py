"""What a page remembers ends with the page."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse

from portal.core.models import UtilitySettings
from portal.core.remembering import remembered, remembering, remembers
from portal.core.services import utility_settings


def test_inside_a_page_one_question_is_asked_once_and_the_next_page_asks_anew() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    assert [remembered("it", ask), remembered("it", ask)] == [1, 2]
    for expected in (3, 4):
        with remembering():
            assert [remembered("it", ask), remembered("it", ask)] == [expected, expected]
    assert remembered("it", ask) == 5


@pytest.mark.django_db
def test_settings_that_were_changed_are_on_the_next_page() -> None:
    @remembers
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"{utility_settings().name}, {utility_settings().name}")

    UtilitySettings.objects.update_or_create(pk=1, defaults={"name": "Old"})
    assert view(HttpRequest()).content == b"Old, Old"
    UtilitySettings.objects.filter(pk=1).update(name="New")
    assert view(HttpRequest()).content == b"New, New"
