"""The list of people who sign in: found by address, user name, name, telephone or account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.core.models import User
from portal.customers.models import AccountAccess
from portal.customers.numbers import number_key
from portal.notifications.models import Phone
from portal.staff.listing import Cell, Listing, page_of, when

if TYPE_CHECKING:
    from django.db.models import QuerySet

NONE = "\N{EN DASH}"
_PHONE_DIGITS_MIN = 4


def people(search: str, number: int) -> Listing:
    """List people who sign in, by their address."""
    rows, more = page_of(_found(search).prefetch_related("account_access__account"), number)
    return Listing(
        _("People who sign in"),
        (_("Email address"), _("User name"), _("Name"), _("Accounts"), _("Last sign-in"), _("State")),
        tuple(_row(row) for row in rows),
        _("Nobody is like it. Try a part of the address, the user name, the name or the telephone number."),
        number,
        more,
    )


def _found(search: str) -> QuerySet[User]:
    found = User.objects.order_by("email")
    for word in search.split():
        like = Q(email__icontains=word) | Q(username__icontains=word) | Q(name__icontains=word)
        digits = re.sub(r"\D", "", word)
        if len(digits) >= _PHONE_DIGITS_MIN:
            like |= Q(pk__in=Phone.objects.filter(number__contains=digits).values("user"))
        if key := number_key(word):
            of = AccountAccess.objects.filter(account__number_key=key, ended_at__isnull=True)
            like |= Q(pk__in=of.values("user"))
        found = found.filter(like)
    return found


def _row(person: User) -> tuple[Cell, ...]:
    numbers = [row.account.number for row in person.account_access.all() if row.ended_at is None]
    return (
        Cell(person.email, href=reverse("staff:person", args=[person.public_id])),
        Cell(person.username or NONE),
        Cell(person.name or NONE),
        Cell(", ".join(sorted(numbers)[:5]) + ("…" if len(numbers) > 5 else "") or NONE),
        when(person.last_login) if person.last_login else Cell(_("never")),
        person_state(person),
    )


def person_state(person: User) -> Cell:
    """Return whether somebody can sign in, as a tag."""
    if not person.is_active:
        return Cell(_("locked"), "bad")
    return Cell(_("staff"), "warn") if person.is_staff else Cell(_("can sign in"), "good")
