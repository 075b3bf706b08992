"""The residents' navigation: what each person may open, in the order of the tabs.

A page is added by ONE line:

    Entry("usage", gettext_lazy("Water use"), "resident:home"),

name   what the page's view passes as `tab`, so that its entry is marked as the current one.
needs  the permission without which the tab leads nowhere for a person; None: for everybody who is signed in.

A page's template extends `base.html`, loads `resident` and fills the block `tabs` with `{% resident_tabs tab %}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from django.urls import reverse
from django.utils.translation import gettext_lazy

from portal.customers.permissions import Permission, Viewer, permissions_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class Entry:
    """One tab, or one section of a page of its own (`portal.resident.profile`)."""

    name: str
    text: StrPromise
    view: str
    needs: Permission | None = None

    @property
    def href(self) -> str:
        """Its address."""
        return reverse(self.view)


AnyEntry = TypeVar("AnyEntry", bound=Entry)

ENTRIES: tuple[Entry, ...] = (
    Entry("usage", gettext_lazy("Water use"), "resident:home"),
    Entry("bills", gettext_lazy("Bills"), "resident:bills", Permission.BILLS),
    Entry("alerts", gettext_lazy("Alerts"), "resident:alerts", Permission.ALERTS),
    Entry("profile", gettext_lazy("Profile"), "resident:profile"),
    Entry("help", gettext_lazy("Help"), "resident:help"),
)


def open_to(viewer: Viewer, entries: Iterable[AnyEntry]) -> list[AnyEntry]:
    """Return the entries that lead somewhere for a person, in their order."""
    may = permissions_of(viewer)
    return [one for one in entries if one.needs is None or one.needs in may]


def entries_for(viewer: Viewer) -> list[Entry]:
    """Return the tabs of a person, none when there is nothing to choose from."""
    entries = open_to(viewer, ENTRIES)
    return entries if len(entries) > 1 else []
