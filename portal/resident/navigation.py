"""The residents' navigation: what each person may open, in the order of the tabs.

A page is added by ONE line:

    Entry("usage", gettext_lazy("Water use"), "resident:home"),

name   what the page's view passes as `tab`, so that its entry is marked as the current one.
needs  the permission without which the tab leads nowhere for a person; None: for everybody who is signed in.

A page's template extends `base.html`, loads `resident` and fills the block `tabs` with `{% resident_tabs tab %}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext_lazy

from portal.customers.permissions import Permission, Viewer, permissions_of

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class Entry:
    """One tab."""

    name: str
    text: StrPromise
    view: str
    needs: Permission | None = None

    @property
    def href(self) -> str:
        """Its address."""
        return reverse(self.view)


ENTRIES: tuple[Entry, ...] = (
    Entry("usage", gettext_lazy("Water use"), "resident:home"),
    Entry("bills", gettext_lazy("Bills"), "resident:bills", Permission.BILLS),
    Entry("alerts", gettext_lazy("Alerts"), "resident:alerts", Permission.ALERTS),
    Entry("profile", gettext_lazy("Profile"), "resident:profile"),
    Entry("help", gettext_lazy("Help"), "resident:help"),
)


def entries_for(viewer: Viewer) -> list[Entry]:
    """Return the tabs of a person, none when there is nothing to choose from."""
    may = permissions_of(viewer)
    entries = [one for one in ENTRIES if one.needs is None or one.needs in may]
    return entries if len(entries) > 1 else []
