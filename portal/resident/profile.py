"""The profile: a page of sections, each a page of its own under /profile/<name>/.

A section is added by ONE line:

    Section("security", gettext_lazy("Security"), gettext_lazy("Password, ..."), "resident:security"),

text   one sentence on what is done there.
needs  the permission without which there is nothing to do there for a person; None: for everybody who is signed in.

A section's page passes `tab="profile"`, extends `base.html`, and starts with the way back:
`{% include "resident/profile_back.html" %}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_required
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portal.access.viewing import viewer_of
from portal.billing.documents import figures
from portal.billing.returned import returned_bills
from portal.customers.permissions import Permission, Viewer, allowed_accounts, permissions_of

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the profile."""

    name: str
    title: StrPromise
    text: StrPromise
    view: str
    needs: Permission | None = None

    @property
    def href(self) -> str:
        """Its address."""
        return reverse(self.view)


SECTIONS: tuple[Section, ...] = (
    Section(
        "notifications",
        gettext_lazy("My Notifications"),
        gettext_lazy("Leak alerts, your own limits, vacation, bills and reminders: what you are told, and how."),
        "resident:notifications",
        Permission.ALERTS,
    ),
    Section(
        "security",
        gettext_lazy("Signing in and security"),
        gettext_lazy("Email address, password, authenticator app, passkeys."),
        "resident:security",
    ),
    Section(
        "accounts",
        gettext_lazy("Your accounts"),
        gettext_lazy("Link one more with its most recent bill, or let one go."),
        "resident:accounts",
    ),
    Section(
        "sign-ins",
        gettext_lazy("Where you are signed in"),
        gettext_lazy("Your devices, past sign-ins, and signing out everywhere."),
        "resident:sign-ins",
    ),
    Section(
        "household",
        gettext_lazy("Household and guests"),
        gettext_lazy("Who else may see the water use or the bills: invite, change, remove."),
        "resident:household",
        Permission.USAGE,
    ),
    Section(
        "messages",
        gettext_lazy("Your messages"),
        gettext_lazy("Everything that we sent to you, and whether it arrived."),
        "resident:messages",
    ),
    Section(
        "phone",
        gettext_lazy("Text messages"),
        gettext_lazy("The mobile number that gets alerts and reminders."),
        "resident:phone",
    ),
    Section(
        "comparisons",
        gettext_lazy("Comparison with similar homes"),
        gettext_lazy("Leave your home out of it, both ways."),
        "resident:comparisons",
        Permission.MANAGE,
    ),
    Section(
        "privacy",
        gettext_lazy("Your data"),
        gettext_lazy("What is kept and for how long, a copy of everything, deleting your sign-in."),
        "resident:privacy",
    ),
    Section(
        "tokens",
        gettext_lazy("Tokens for programs"),
        gettext_lazy("Let a program of yours read your water use or bills."),
        "resident:tokens",
    ),
)


def sections_for(viewer: Viewer) -> list[Section]:
    """Return the sections of a person, in their order."""
    may = permissions_of(viewer)
    return [one for one in SECTIONS if one.needs is None or one.needs in may]


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
    context = {"tab": "profile", "person": viewer.user, "sections": sections_for(viewer), "returned": returned}
    return render(request, "resident/profile.html", context)
