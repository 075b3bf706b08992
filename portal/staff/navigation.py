"""The staff pages' one navigation: groups of entries, and under them the box that finds an account.

A page is added by ONE line in the group where staff would look for it:

    Entry("findings", gettext_lazy("Reads to look at"), "staff:findings"),

name   what the page's view passes as `name` in its context, so that its entry is marked as the current one. Several
       pages of one matter (a list, one thing of it) pass the same name.
text   as short as it can be; group and entry are read together.
view   the name of its address, without arguments; left out, it is one of the lists (`portal/staff/lists.py`).

A page's template extends `staff/base.html`, its view is wrapped in `portal.staff.views.staff_only` and passes `name`
and `staff_page=True`; nothing else is needed. Its address goes into `portal/staff/urls.py` above the last line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext_lazy, pgettext_lazy

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class Entry:
    """One page that staff choose."""

    name: str
    text: StrPromise
    view: str = ""

    @property
    def href(self) -> str:
        """Its address."""
        return reverse(self.view) if self.view else reverse("staff:list", args=[self.name])


@dataclass(frozen=True, slots=True)
class Group:
    """Pages about one thing; choosing the group opens the first of them."""

    text: StrPromise
    entries: tuple[Entry, ...]

    @property
    def href(self) -> str:
        """The address of its first page."""
        return self.entries[0].href


GROUPS: tuple[Group, ...] = (
    Group(
        pgettext_lazy("group of staff pages", "Customers"),
        (
            Entry("accounts", gettext_lazy("Accounts"), "staff:accounts"),
            Entry("people", gettext_lazy("People")),
            Entry("places", gettext_lazy("Places")),
            Entry("leaks", gettext_lazy("Leaks"), "staff:leaks"),
            Entry("requests", gettext_lazy("Service requests"), "staff:requests"),
            Entry("messages", gettext_lazy("Messages"), "staff:messages"),
            Entry("imports", gettext_lazy("Imports"), "staff:imports"),
        ),
    ),
    Group(
        pgettext_lazy("group of staff pages", "Reads"),
        (
            Entry("findings", gettext_lazy("Reads to look at"), "staff:findings"),
            Entry("entered", gettext_lazy("Entered reads"), "staff:entered"),
            Entry("meters", gettext_lazy("Meters")),
            Entry("events", gettext_lazy("Events")),
        ),
    ),
    Group(
        pgettext_lazy("group of staff pages", "Billing"),
        (
            Entry("bills", gettext_lazy("Bills"), "staff:bills"),
            Entry("held", gettext_lazy("Held bills"), "staff:held"),
            Entry("runs", gettext_lazy("Runs"), "staff:runs"),
            Entry("rates", gettext_lazy("Rates"), "staff:rates"),
            Entry("cycles", gettext_lazy("Cycles and routes"), "staff:cycles"),
        ),
    ),
    Group(
        pgettext_lazy("group of staff pages", "Money"),
        (
            Entry("adjustments", gettext_lazy("Adjustments"), "staff:adjustments"),
            Entry("payment", gettext_lazy("Record a payment"), "staff:payment"),
            Entry("journal", gettext_lazy("Journal"), "staff:journal"),
            Entry("aging", gettext_lazy("Receivables by age"), "staff:aging"),
        ),
    ),
    Group(
        pgettext_lazy("group of staff pages", "Collectors"),
        (
            Entry("collectors", gettext_lazy("Collectors")),
            Entry("batches", gettext_lazy("Batches")),
            Entry("refused", gettext_lazy("Refused")),
            Entry("foreign", gettext_lazy("Foreign meters")),
            Entry("commands", gettext_lazy("Commands")),
        ),
    ),
    Group(
        pgettext_lazy("group of staff pages", "Portal"),
        (
            Entry("banners", gettext_lazy("Banners"), "staff:banners"),
            Entry("settings", gettext_lazy("Settings"), "staff:settings"),
        ),
    ),
    Group(
        pgettext_lazy("group of staff pages", "Audit"),
        (Entry("audit", gettext_lazy("Audit log")),),
    ),
)
"""Add entries here; see above. A group without any is not shown."""


def group_of(name: str) -> Group | None:
    """Return the group in which a page lies; None for a page that is in none."""
    return next((group for group in GROUPS if any(entry.name == name for entry in group.entries)), None)
