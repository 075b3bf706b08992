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
from portal.customers.permissions import Permission, Viewer, allowed_accounts

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
        "household",
        gettext_lazy("Household and guests"),
        gettext_lazy("Who else may see the water use or the bills: invite, change, remove."),
        "resident:household",
        Permission.USAGE,
    ),
)


def sections_for(viewer: Viewer) -> list[Section]:
    """Return the sections of a person, in their order."""
    return [one for one in SECTIONS if one.needs is None or allowed_accounts(viewer, one.needs).exists()]


@require_GET
@never_cache
@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """Show who is signed in, and everything they can look at or set."""
    viewer = viewer_of(request)
    context = {"tab": "profile", "person": viewer.user, "sections": sections_for(viewer)}
    return render(request, "resident/profile.html", context)
