"""The profile: a page of sections, each a page of its own under /profile/<name>/.

A section is added by ONE line:

    Section("security", gettext_lazy("Security"), "resident:security", about=gettext_lazy("Password, ...")),

needs  the permission without which there is nothing to do there for a person; None: for everybody who is signed in.

A section's page passes `tab="profile"`, extends `base.html`, and starts with the way back:
`{% include "resident/profile_back.html" %}`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_required
from django.shortcuts import render
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portal.access.viewing import viewer_of
from portal.billing.documents import figures
from portal.billing.returned import returned_bills
from portal.customers.permissions import Permission, allowed_accounts
from portal.resident.navigation import Entry, open_to

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class Section(Entry):
    """One section of the profile; about: one sentence on what is done there."""

    about: StrPromise = field(kw_only=True)


SECTIONS: tuple[Section, ...] = (
    Section(
        "notifications",
        gettext_lazy("My Notifications"),
        "resident:notifications",
        Permission.ALERTS,
        about=gettext_lazy("Leak alerts, your own limits, vacation, bills and reminders: what you are told, and how."),
    ),
    Section(
        "security",
        gettext_lazy("Signing in and security"),
        "resident:security",
        about=gettext_lazy("Email address, password, authenticator app, passkeys."),
    ),
    Section(
        "accounts",
        gettext_lazy("Your accounts"),
        "resident:accounts",
        about=gettext_lazy("Link one more with its most recent bill, or let one go."),
    ),
    Section(
        "sign-ins",
        gettext_lazy("Where you are signed in"),
        "resident:sign-ins",
        about=gettext_lazy("Your devices, past sign-ins, and signing out everywhere."),
    ),
    Section(
        "household",
        gettext_lazy("Household and guests"),
        "resident:household",
        Permission.USAGE,
        about=gettext_lazy("Who else may see the water use or the bills: invite, change, remove."),
    ),
    Section(
        "messages",
        gettext_lazy("Your messages"),
        "resident:messages",
        about=gettext_lazy("Everything that we sent to you, and whether it arrived."),
    ),
    Section(
        "phone",
        gettext_lazy("Text messages"),
        "resident:phone",
        about=gettext_lazy("The mobile number that gets alerts and reminders."),
    ),
    Section(
        "comparisons",
        gettext_lazy("Comparison with similar homes"),
        "resident:comparisons",
        Permission.MANAGE,
        about=gettext_lazy("Leave your home out of it, both ways."),
    ),
    Section(
        "privacy",
        gettext_lazy("Your data"),
        "resident:privacy",
        about=gettext_lazy("What is kept and for how long, a copy of everything, deleting your sign-in."),
    ),
    Section(
        "tokens",
        gettext_lazy("Tokens for programs"),
        "resident:tokens",
        about=gettext_lazy("Let a program of yours read your water use or bills."),
    ),
)


@require_GET
@never_cache
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """Show who is signed in, and everything they can look at or set."""
    viewer = viewer_of(request)
    returned = [
        (row, figures.day(row.day) if row.day else "", row.address == viewer.user.email.lower())
        for row in returned_bills(list(allowed_accounts(viewer, Permission.MANAGE)))
    ]
    context = {"tab": "profile", "person": viewer.user, "sections": open_to(viewer, SECTIONS), "returned": returned}
    return render(request, "resident/profile.html", context)
