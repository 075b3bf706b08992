"""The page of refused batches: why each was refused, in plain words, and what staff can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from domain.ids import Stream
from portal.core.errors import Refused
from portal.core.models import User
from portal.ingest import letters
from portal.staff.listing import PAGES_MAX, Cell, page_of, when
from portal.staff.views import staff_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.metering.models import RefusedBatch

REASONS: dict[str, Callable[[], str]] = {
    "topic": lambda: _("sent to an address that belongs to no collector"),
    "unknown-collector": lambda: _("this collector is not enrolled, or it was revoked"),
    "unknown-key": lambda: _("signed with a key that this collector has not enrolled"),
    "revoked-key": lambda: _("signed with a key that was revoked"),
    "expired-key": lambda: _("signed with a key that had been retired"),
    "algorithm": lambda: _("signed in another way than the enrolled key allows"),
    "signature": lambda: _("the signature does not fit: damaged or forged"),
    "envelope": lambda: _("not a signed message at all"),
    "oversized": lambda: _("larger than a batch may be"),
    "version": lambda: _("written in a newer format than this portal reads"),
    "compression": lambda: _("it cannot be unpacked"),
    "not-deterministic": lambda: _("signed, but not written as the format asks"),
    "format": lambda: _("signed, but a part is missing or of the wrong kind"),
    "range": lambda: _("signed, but a number or a time is impossible"),
    "order": lambda: _("signed, but its records are out of order"),
    "collector": lambda: _("it names another collector than the one that sent it"),
    "epoch": lambda: _("another collector has used the same store number"),
    "conflict": lambda: _("another batch with this number is stored already"),
    "chain": lambda: _("it does not join the batches before and after it"),
    "append-overlap": lambda: _("it repeats records of a batch that is stored already"),
    "too-far-ahead": lambda: _("too many batches before it are missing"),
    "not-storable": lambda: _("the database cannot hold one of its values"),
    "fault": lambda: _("this program failed while it was stored: a fault of ours"),
}
"""What each reason code means to people who look after collectors, not after programs."""


@require_http_methods(["GET", "POST"])
@staff_only
def refused(request: HttpRequest) -> HttpResponse:
    """Show the refused batches, a page at a time; a POST tries some again or takes one off the list."""
    if request.method == "POST":
        return _act(request)
    search = request.GET.get("q", "").strip()[:80]
    reason = request.GET.get("reason", "")
    reason = reason if reason in REASONS else ""
    number = request.GET.get("page", "1")
    page = min(int(number), PAGES_MAX) if number.isdecimal() and len(number) < 7 and int(number) else 1
    found = letters.listed()
    if search:
        found = found.filter(Q(topic_collector__icontains=search) | Q(reason__icontains=search))
    if reason:
        found = found.filter(reason=reason)
    rows, more = page_of(found, page)
    context: dict[str, Any] = {
        "name": "refused",
        "staff_page": True,
        "search": search,
        "reason": reason,
        "letters": [_line(row) for row in rows],
        "reasons": [(code, words(code), n, kept) for code, n, kept in letters.reasons()],
        "page": page,
        "previous": page - 1 if page > 1 else None,
        "following": page + 1 if more else None,
    }
    return render(request, "staff/refused.html", context)


def words(reason: str) -> str:
    """Return a reason in plain words; its code when it has none yet."""
    return REASONS[reason]() if reason in REASONS else reason


def _line(row: RefusedBatch) -> dict[str, Any]:
    """Return one letter as the page shows it."""
    identity = "\N{EN DASH}"
    if row.epoch is not None and row.sequence is not None:
        stream = _("urgent") if row.stream == Stream.URGENT else _("bulk")
        identity = f"{bytes(row.epoch).hex()[:8]} {stream} {row.sequence}"
    return {
        "pk": row.pk,
        "reason": words(row.reason),
        "code": row.reason,
        "detail": row.detail,
        "collector": row.topic_collector,
        "identity": identity,
        "digest": bytes(row.digest).hex()[:16],
        "size": f"{row.size_bytes:,}",
        "times": f"{row.times:,}",
        "first": when(row.first_at),
        "last": when(row.last_at),
        "kept": row.kept,  # type: ignore[attr-defined]
        "state": _state(row),
    }


def _state(row: RefusedBatch) -> Cell:
    if row.retry_asked_at is not None:
        return Cell(_("being tried again"), "warn")
    if row.retried_at is not None:
        return Cell(_("tried again, refused again"), "bad")
    return Cell(_("refused"), "bad")


def _act(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    action, reason = request.POST.get("action", ""), request.POST.get("reason", "")[:40]
    number = request.POST.get("letter", "")
    letter = int(number) if number.isdecimal() and len(number) < 19 else 0
    try:
        if action == "retry":
            letters.ask_retry(letter, actor=request.user)
            messages.success(request, _("The batch is being tried again. If it is taken now, it leaves this list."))
        elif action == "retry-all":
            asked = letters.ask_retry_all(reason, actor=request.user)
            messages.success(
                request,
                ngettext("%(n)s batch is being tried again.", "%(n)s batches are being tried again.", asked)
                % {"n": f"{asked:,}"},
            )
        elif action == "dismiss":
            letters.dismiss(letter, actor=request.user)
            messages.success(request, _("The batch is off the list."))
        else:
            return HttpResponse(status=400)
    except Refused as error:
        messages.error(request, str(error))
    back = {key: request.POST[key][:80] for key in ("q", "back", "page") if request.POST.get(key)}
    query = urlencode({{"back": "reason"}.get(key, key): value for key, value in back.items()})
    return HttpResponseRedirect(reverse("staff:refused") + (f"?{query}" if query else ""), status=303)
