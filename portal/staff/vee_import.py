"""The staff page that imports reads: a dry run that lists every problem, then the same file in one transaction."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from portal.core.errors import Refused
from portal.importing.errors import ImportRefused
from portal.importing.services import apply, check, kind_named
from portal.staff.views import actor_of, page, staff_only

if TYPE_CHECKING:
    from portal.importing.report import Report

BYTES_MAX = 1_500_000
"""A larger file goes through the command line: the page carries the file from its look to its import."""
_PROBLEMS_SHOWN = 200


@require_http_methods(["GET", "POST"])
@staff_only
def import_reads(request: HttpRequest) -> HttpResponse:
    """Look at a file of reads; enter them when nothing is wrong with any and staff say so."""
    context: dict[str, Any] = {"columns": ", ".join(column.name for column in kind_named("reads").columns)}
    if request.method == "POST":
        try:
            if "data" in request.POST:
                return _entered(request)
            context |= _looked_at(request)
        except ImportRefused as refused:
            context |= {"error": str(refused), **({} if refused.report is None else _shown(refused.report))}
        except Refused as refused:
            context["error"] = str(refused)
    return page(request, "staff/vee_import.html", "entered", context, status=422 if "error" in context else 200)


def _looked_at(request: HttpRequest) -> dict[str, Any]:
    file = request.FILES.get("file")
    if file is None:
        raise Refused("file", _("Choose a file."))
    if (file.size or 0) > BYTES_MAX:
        raise Refused("file", _("The file is too large for this page; use `headwater portal reads import`."))
    data = file.read()
    return {**_shown(check("reads", data, file=str(file.name)[:80])), "data": base64.b64encode(data).decode()}


def _entered(request: HttpRequest) -> HttpResponse:
    try:
        data = base64.b64decode(request.POST["data"], validate=True)
    except (binascii.Error, ValueError):
        raise Refused("file", _("Choose a file.")) from None
    done = apply("reads", data, file=request.POST.get("name", "")[:80], actor=actor_of(request))
    said = ngettext("%(n)d read was entered.", "%(n)d reads were entered.", done.new) % {"n": done.new}
    messages.success(request, said)
    return HttpResponseRedirect(reverse("staff:entered"))


def _shown(report: Report) -> dict[str, Any]:
    return {
        "report": report,
        "shown": report.problems[:_PROBLEMS_SHOWN],
        "hidden": max(0, len(report.problems) - _PROBLEMS_SHOWN),
    }
