"""Rates: every book that was loaded with its versions, who loaded and approved it, what it says and changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing.models import RateBook
from portal.billing.rate_books import approve, checked, load, withdraw
from portal.core.errors import Refused
from portal.staff.rate_facts import LoadedBook, difference, explained, loaded
from portal.staff.views import actor_of, page, staff_only
from rates.errors import InputError, RateFileError

if TYPE_CHECKING:
    from rates.book import Version

TEXT_BYTES_MAX = 1_000_000
_LINE_CHARS = 160


@require_GET
@staff_only
def rates(request: HttpRequest) -> HttpResponse:
    """List the rate books by the day from which they hold, the newest first."""
    books = _books()
    choices = [choice for book in books for choice in book.choices]
    return page(request, "staff/rates.html", "rates", {"books": books, "choices": choices})


def _books() -> list[LoadedBook]:
    rows = RateBook.objects.select_related("loaded_by", "approved_by").order_by("-effective_from", "-loaded_at")
    return [loaded(row) for row in rows[:40]]


@require_http_methods(["GET", "POST"])
@staff_only
def rate_book(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one book in words; a POST approves it as the second person, or withdraws it."""
    row = get_object_or_404(RateBook.objects.select_related("loaded_by", "approved_by"), public_id=public_id)
    context: dict[str, Any] = {}
    if request.method == "POST":
        action = request.POST.get("action", "")
        if action not in ("approve", "withdraw"):
            return HttpResponse(status=400)
        try:
            if action == "approve":
                approve(row, actor=actor_of(request))
                messages.success(request, _("These rates are approved: bills from their first day on use them."))
            else:
                withdraw(row, actor=actor_of(request), reason=request.POST.get("reason", "")[:200])
                messages.success(request, _("These rates are withdrawn."))
        except Refused as error:
            row.refresh_from_db()
            context["error"] = str(error)
        else:
            return HttpResponseRedirect(reverse("staff:rate-book", args=[row.public_id]), status=303)
    book = loaded(row)
    context |= {"book": book, **_explanation(book, request.GET.get("version", ""), request.GET.get("class", ""))}
    return page(request, "staff/rate_book.html", "rates", context, status=422 if "error" in context else 200)


def _explanation(book: LoadedBook, version_id: str, rate_class: str) -> dict[str, Any]:
    """Return the chosen version and class explained; the newest version and its first class when none is chosen."""
    if book.book is None or not book.versions:
        return {}
    version = next((row for row in book.versions if row.id == version_id), book.versions[-1])
    classes = book.book.classes(version.start)
    chosen = rate_class if rate_class in classes else classes[0] if classes else ""
    try:
        said = explained(book.book, chosen, version.start) if chosen else []
    except InputError as error:
        return {"version": version, "classes": classes, "chosen": chosen, "said": [], "error": str(error)}
    return {"version": version, "classes": classes, "chosen": chosen, "said": said}


@require_GET
@staff_only
def compare(request: HttpRequest) -> HttpResponse:
    """Say in words what differs between two versions, of one book or of two."""
    books = _books()
    before, after = _version(books, request.GET.get("before", "")), _version(books, request.GET.get("after", ""))
    context: dict[str, Any] = {
        "choices": [choice for book in books for choice in book.choices],
        "chosen_before": request.GET.get("before", ""),
        "chosen_after": request.GET.get("after", ""),
    }
    if before and after:
        context |= {
            "before": before[1],
            "after": after[1],
            "differences": difference(before[0], before[1].start, after[0], after[1].start),
        }
    return page(request, "staff/rate_compare.html", "rates", context)


def _version(books: list[LoadedBook], text: str) -> tuple[Any, Version] | None:
    public_id, _colon, version_id = text.partition(":")
    if not text:
        return None
    for book in books:
        for version in book.versions:
            if book.row.public_id == public_id and version.id == version_id:
                return book.book, version
    raise Http404


@require_http_methods(["GET", "POST"])
@staff_only
def upload(request: HttpRequest) -> HttpResponse:
    """Take in a rate file; one with faults is shown with every fault at its line, and nothing is stored."""
    context: dict[str, Any] = {"text": "", "file_name": ""}
    if request.method == "POST":
        text, name = request.POST.get("text", ""), ""
        try:
            text, name = _given(request)
            name = getattr(checked(text, name=name), "title", "") or name
            row = load(text, name=name, actor=actor_of(request))
        except RateFileError as error:
            lines = text.splitlines()
            faults = [
                {"fault": fault, "text": lines[fault.line - 1][:_LINE_CHARS] if 0 < fault.line <= len(lines) else ""}
                for fault in error.faults
            ]
            context |= {"faults": faults, "text": text, "file_name": name}
        except Refused as error:
            context |= {"error": str(error), "text": text, "file_name": name}
        else:
            messages.success(request, _("The rates are loaded. A second person approves them."))
            return HttpResponseRedirect(reverse("staff:rate-book", args=[row.public_id]), status=303)
    bad = "error" in context or "faults" in context
    return page(request, "staff/rate_upload.html", "rates", context, status=422 if bad else 200)


def _given(request: HttpRequest) -> tuple[str, str]:
    """Return the text and the name of the file that came, or of what was pasted; raises Refused."""
    file = request.FILES.get("file")
    if file is not None:
        if (file.size or 0) > TEXT_BYTES_MAX:
            raise Refused("size", _("The file is larger than 1 MB."))
        return _decoded(file.read()), (file.name or "rates.yaml")[:120]
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if not text.strip():
        raise Refused("empty", _("Choose a file, or paste its text."))
    return text, "rates.yaml"


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("encoding", _("The file is not UTF-8 text.")) from None
