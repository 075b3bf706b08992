"""Banners: what stands above every page now, what is planned, what has been; made, changed and ended by staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_settings
from portal.service.audience import audience_of, audience_text
from portal.service.models import Banner
from portal.service.services import TEXT_MAX, TITLE_MAX, BannerWords, change_banner, end_banner, make_banner
from portal.staff.fields import MomentField, split_words, words_field, words_of
from portal.staff.listing import Cell, Listing, when
from portal.staff.views import actor_of, page, staff_only

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

NAME = "banners"
PAST_SHOWN = 20
_FIELD = {"title": "title_en", "text": "text_en", "ends": "ends_at"}
"""Code of a refusal -> field at fault, where the two differ."""


class BannerForm(forms.Form):
    """What a banner says and when."""

    kind = forms.ChoiceField(label=gettext_lazy("About"), choices=Banner.Kind.choices)
    title_en = words_field(gettext_lazy("Title"), "en", required=True, most=TITLE_MAX)
    title_es = words_field(gettext_lazy("Title"), "es", most=TITLE_MAX)
    text_en = words_field(gettext_lazy("Text"), "en", most=TEXT_MAX, lines=3)
    text_es = words_field(gettext_lazy("Text"), "es", most=TEXT_MAX, lines=3)
    starts_at = MomentField(label=gettext_lazy("Shown from"))
    ends_at = MomentField(
        label=gettext_lazy("Shown until"),
        required=False,
        help_text=gettext_lazy("Empty: until somebody ends it."),
    )
    link = forms.URLField(label=gettext_lazy("Link"), required=False, assume_scheme="https")
    link_text_en = words_field(gettext_lazy("Words on the link"), "en", most=80)
    link_text_es = words_field(gettext_lazy("Words on the link"), "es", most=80)
    link_from = MomentField(
        label=gettext_lazy("Link shown from"),
        required=False,
        help_text=gettext_lazy("The moment from which the linked page is there. Empty: at once."),
    )
    cycles = forms.CharField(
        label=gettext_lazy("Only for billing cycles"),
        required=False,
        max_length=500,
        help_text=gettext_lazy("Codes, with commas. Empty here and below: for everybody, signed in or not."),
    )
    routes = forms.CharField(
        label=gettext_lazy("Only for routes"),
        required=False,
        max_length=2000,
        help_text=gettext_lazy("Names of routes, with commas."),
    )
    accounts = forms.CharField(
        label=gettext_lazy("Only for accounts"),
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Account numbers. Who has one of these, or lies in one of the above, sees the banner."),
    )
    hold_late_fees = forms.BooleanField(
        label=gettext_lazy("Hold late fees while this lasts"),
        required=False,
        help_text=gettext_lazy("No late fee falls due on its days; afterwards the days to pay count anew."),
    )

    field_order = ("kind",)

    def banner_words(self) -> BannerWords:
        """Return what was typed; valid forms only."""
        typed = self.cleaned_data
        return BannerWords(
            kind=typed["kind"],
            title=words_of(typed, "title"),
            text=words_of(typed, "text"),
            starts_at=typed["starts_at"],
            ends_at=typed["ends_at"],
            link=typed["link"],
            link_text=words_of(typed, "link_text"),
            link_from=typed["link_from"],
            hold_late_fees=typed["hold_late_fees"],
            audience=audience_of(typed["cycles"], typed["routes"], typed["accounts"]),
        )


def _initial(row: Banner | None) -> dict[str, Any]:
    if row is None:
        return {"starts_at": now(), "kind": Banner.Kind.NOTICE}
    return {
        **{name: getattr(row, name) for name in ("kind", "starts_at", "ends_at", "link", "link_from")},
        **split_words(row.title, "title"),
        **split_words(row.text, "text"),
        **split_words(row.link_text, "link_text"),
        **audience_text(row.audience),
        "hold_late_fees": row.grace_id is not None,
    }


@require_GET
@staff_only
def banners(request: HttpRequest) -> HttpResponse:
    """List the banners that are shown, planned and over."""
    moment = now()
    found = Banner.objects.select_related("made_by").order_by("-starts_at", "-pk")
    open_, past = list(found.exclude(ends_at__lte=moment)), list(found.filter(ends_at__lte=moment)[:PAST_SHOWN])
    shown = [row for row in open_ if row.starts_at <= moment]
    planned = [row for row in open_ if row.starts_at > moment]
    lists = (
        ("shown", _listing(_("Shown now"), shown, moment, _("No banner is shown."))),
        ("planned", _listing(_("Planned"), planned, moment, _("None is planned."))),
        ("past", _listing(_("Over"), past, moment, _("There has been none."))),
    )
    return page(request, "staff/banners.html", NAME, {"lists": lists})


def _listing(title: str, rows: Iterable[Banner], moment: datetime, empty: str) -> Listing:
    return Listing(
        title,
        (_("Title"), _("About"), _("For"), _("Shown from"), _("Shown until"), _("Late fees"), _("Made by")),
        tuple(
            (
                Cell(row.shown_title, href=_address(row, moment)),
                Cell(row.get_kind_display(), "bad" if row.kind == Banner.Kind.OUTAGE else "warn"),
                Cell(_whom(row)),
                when(row.starts_at),
                when(row.ends_at) if row.ends_at else Cell(_("until it is ended")),
                Cell(_("held") if row.grace_id else ""),
                Cell(row.made_by.get_full_name() if row.made_by else _("command line")),
            )
            for row in rows
        ),
        empty,
    )


def _whom(row: Banner) -> str:
    """Say for whom a banner is, in few words."""
    if not row.audience:
        return _("everybody")
    said = {
        "cycles": _("cycles %(names)s"),
        "routes": _("routes %(names)s"),
        "accounts": _("%(count)d accounts"),
    }
    return "; ".join(
        text % {"names": ", ".join(row.audience[name]), "count": len(row.audience[name])}
        for name, text in said.items()
        if name in row.audience
    )


def _address(row: Banner, moment: datetime) -> str:
    """Return where a banner can be changed; nowhere once it is over."""
    over = row.ends_at is not None and row.ends_at <= moment
    return "" if over else reverse("staff:banner", args=[row.public_id])


@require_http_methods(["GET", "POST"])
@staff_only
def new(request: HttpRequest) -> HttpResponse:
    """Announce something."""
    return _form(request, None)


@require_http_methods(["GET", "POST"])
@staff_only
def banner(request: HttpRequest, public_id: str) -> HttpResponse:
    """Change a banner that is not over."""
    return _form(request, get_object_or_404(Banner, public_id=public_id))


def _form(request: HttpRequest, row: Banner | None) -> HttpResponse:
    form = BannerForm(request.POST or None, initial=_initial(row), label_suffix="")
    if request.method == "POST" and form.is_valid():
        try:
            if row is None:
                make_banner(form.banner_words(), actor=actor_of(request))
            else:
                change_banner(row, form.banner_words(), actor=actor_of(request))
        except Refused as error:
            name = _FIELD.get(error.code, error.code)
            form.add_error(name if name in form.fields else None, str(error))
        else:
            messages.success(request, _("Saved. Every page shows it while its dates hold."))
            return HttpResponseRedirect(reverse("staff:banners"), status=303)
    context = {"form": form, "row": row, "zone": utility_settings().zone}
    return page(request, "staff/banner.html", NAME, context, status=422 if form.is_bound else 200)


@require_POST
@staff_only
def end(request: HttpRequest, public_id: str) -> HttpResponse:
    """Take a banner off every page now."""
    end_banner(get_object_or_404(Banner, public_id=public_id), actor=actor_of(request))
    messages.success(request, _("The banner is off all pages."))
    return HttpResponseRedirect(reverse("staff:banners"), status=303)
