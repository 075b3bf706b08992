"""Imports by staff: a file is looked at first; the very same file, chosen again, is imported.

The file itself is not kept between the two: it is full of names and addresses. What is kept is a signed note of who
looked at which bytes (their digest) and when.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.core.errors import Refused
from portal.importing.csv_file import BYTES_MAX
from portal.importing.errors import ImportRefused
from portal.importing.services import KINDS, apply, check, history, template
from portal.staff.listing import Cell, when
from portal.staff.views import actor_of, page, staff_only

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.importing.report import Report

PROBLEMS_SHOWN = 500
_SALT = "portal.staff.imports"
_GOOD_FOR_S = 3600


@require_http_methods(["GET", "POST"])
@staff_only
def imports(request: HttpRequest) -> HttpResponse:
    """Offer the kinds of files; a POST looks at a file, or imports the one that was looked at."""
    kind = request.POST.get("kind", "") or request.GET.get("kind", "")
    context: dict[str, Any] = {"kind": kind if kind in KINDS else "", "kinds": list(KINDS.values())}
    if request.method == "POST":
        try:
            context |= _posted(request, kind, actor_of(request))
        except ImportRefused as error:
            context |= {"error": str(error), **_shown(error.report)}
        except Refused as error:
            context["error"] = str(error)
    context["history"] = [
        {**entry, "title": _title(entry.get("kind", "")), "when": when(entry["at"])} for entry in history(20)
    ]
    return page(request, "staff/imports.html", "imports", context, status=422 if "error" in context else 200)


@require_GET
@staff_only
def import_template(request: HttpRequest, kind: str) -> HttpResponse:
    """Hand out a file with all columns and one line as an example."""
    if kind not in KINDS:
        raise Http404
    response = HttpResponse(template(kind), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{kind}.csv"'
    return response


def _posted(request: HttpRequest, kind: str, actor: User) -> dict[str, Any]:
    file = request.FILES.get("file")
    if kind not in KINDS:
        raise Refused("kind", _("Choose what the file holds."))
    if file is None:
        raise Refused("file", _("Choose a file."))
    if (file.size or 0) > BYTES_MAX:
        raise Refused("file", _("the file has more than 64 MB; split it and import the parts one after the other"))
    data, name = file.read(), (file.name or "")[:120]
    if "looked" not in request.POST:
        report = check(kind, data, file=name)
        looked = signing.dumps([kind, report.digest, actor.pk], salt=_SALT)
        return {**_shown(report), "looked": "" if report.problems else looked}
    _same_file(request.POST["looked"], [kind, hashlib.sha256(data).hexdigest(), actor.pk])
    return _shown(apply(kind, data, file=name, actor=actor))


def _same_file(looked: str, expected: list[Any]) -> None:
    """Refuse anything but the file that this person has looked at within the hour."""
    try:
        before = signing.loads(looked, salt=_SALT, max_age=_GOOD_FOR_S)
    except signing.BadSignature as error:
        raise Refused("looked", _("It is too long ago that you looked at this file; look at it once more.")) from error
    if before != expected:
        raise Refused("looked", _("This is not the file that you looked at; look at this one first."))


def _shown(report: Report | None) -> dict[str, Any]:
    if report is None:
        return {}
    tone = "bad" if report.problems else "good"
    state = _("imported") if report.applied else _("not imported yet")
    return {
        "report": report,
        "title": _title(report.kind),
        "problems": report.problems[:PROBLEMS_SHOWN],
        "more": max(0, len(report.problems) - PROBLEMS_SHOWN),
        "state": Cell(_("to be corrected") if report.problems else state, tone),
    }


def _title(kind: str) -> str:
    return str(KINDS[kind].title) if kind in KINDS else kind
