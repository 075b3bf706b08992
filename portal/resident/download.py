"""The page on which a person downloads the usage of a place: days, form, resolution, unit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from domain.units import Unit
from portal.access.viewing import viewer_of
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.customers.services import visible_service_points, visible_spans
from portal.downloads.series import Every
from portal.downloads.services import (
    LONGEST_YEARS,
    Form,
    between_days,
    bills_within,
    usage_file,
    wanted_usage,
)
from portal.downloads.streaming import streamed
from portal.resident.services import preferred_unit
from portal.resident.views import service_point_of
from portal.resident.wording import UNITS

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase
    from django_stubs_ext import StrPromise

    from portal.customers.models import ServicePoint
    from portal.customers.permissions import Viewer

_DAYS = 30
_Chosen = TypeVar("_Chosen", bound=Enum)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a group, with a sentence on what it is good for."""

    value: str
    name: StrPromise
    text: StrPromise | str = ""


FORMS = (
    Choice("csv", gettext_lazy("CSV"), gettext_lazy("A table as text: for any spreadsheet, and for scripts.")),
    Choice("xlsx", gettext_lazy("Excel"), gettext_lazy("A workbook with real dates and numbers.")),
    Choice(
        "xml",
        gettext_lazy("Green Button"),
        gettext_lazy("The open standard for usage data (XML): for other programs and services."),
    ),
)
EVERY = (
    Choice("hour", gettext_lazy("hour")),
    Choice("day", gettext_lazy("day")),
    Choice("month", gettext_lazy("month")),
    Choice("read", gettext_lazy("single reading of the meter")),
)


@require_GET
@never_cache
@login_required
def download(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Show the form; with `form` in the address, give out the file, or say what is wrong with what was asked for."""
    viewer = viewer_of(request)
    point = service_point_of(viewer, public_id)
    if "form" not in request.GET:
        return _page(request, viewer, point)
    try:
        return _file(request, viewer, point)
    except Refused as error:
        return _page(request, viewer, point, error=error)


def _file(request: HttpRequest, viewer: Viewer, point: ServicePoint) -> HttpResponseBase:
    form = _chosen(Form, request.GET.get("form", ""), "form", _("Choose one of the file types."))
    every = _chosen(Every, request.GET.get("every", "day"), "every", _("Choose what one row covers."))
    unit = _chosen(Unit, request.GET.get("unit", ""), "unit", _("Choose one of the units."))
    start, end = between_days(request.GET.get("first", ""), request.GET.get("last", ""))
    points = list(visible_service_points(viewer)) if request.GET.get("places") == "all" else [point]
    wanted = wanted_usage(viewer, points, start=start, end=end, every=every, unit=unit)
    file = usage_file(wanted, form, bills=bills_within(viewer, wanted) if form is Form.GREEN_BUTTON else ())
    return streamed(request, name=file.name, content_type=file.content_type, pieces=file.pieces)


def _chosen(kind: type[_Chosen], text: str, code: str, message: str) -> _Chosen:
    try:
        return kind(text)
    except ValueError:
        raise Refused(code, message) from None


_FIELD = {"last": "last", "form": "form-csv", "every": "every", "unit": "unit"}
"""Code of a refusal -> id of the field that the summary leads to; all others are about the days."""


def _page(request: HttpRequest, viewer: Viewer, point: ServicePoint, *, error: Refused | None = None) -> HttpResponse:
    zone = utility_zone()
    spans = visible_spans(viewer, point)
    today = now().astimezone(zone).date()
    earliest = min(span.start for span in spans).astimezone(zone).date()
    latest = min(today, max(span.end for span in spans).astimezone(zone).date() if not spans[-1].open_ended else today)
    typed = request.GET
    context = {
        "tab": "usage",
        "service_point": point,
        "several": visible_service_points(viewer).count() > 1,
        "first": _day(typed.get("first"), earliest, latest, max(earliest, latest - timedelta(days=_DAYS - 1)), error),
        "last": _day(typed.get("last") or _day_before(typed.get("until", "")), earliest, latest, latest, error),
        "earliest": earliest.isoformat(),
        "latest": latest.isoformat(),
        "forms": FORMS,
        "form": typed.get("form", "csv"),
        "every_choices": EVERY,
        "every": asked if (asked := typed.get("every")) in {choice.value for choice in EVERY} else "day",
        "units": UNITS.values(),
        "unit": typed.get("unit", preferred_unit(viewer.user).value),
        "all_places": typed.get("places") == "all",
        "years": LONGEST_YEARS,
        "error": error,
        "fault": "" if error is None else error.code,
        "field_at_fault": "" if error is None else _FIELD.get(error.code, "first"),
    }
    return render(request, "resident/download.html", context, status=422 if error else 200)


def _day(typed: str | None, earliest: date, latest: date, otherwise: date, error: Refused | None) -> str:
    """Return the day that stands in a field: what was typed when that is to be put right, else a day of the place."""
    if typed is None:
        return otherwise.isoformat()
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        return "" if error is not None else otherwise.isoformat()  # a field for days can hold nothing else
    return (day if error is not None else min(max(day, earliest), latest)).isoformat()


def _day_before(text: str) -> str | None:
    """Return the day before the one at whose start a period ends: links from a chart name that one."""
    try:
        return (date.fromisoformat(text) - timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return None
