"""Whom a banner is for: everybody, or the accounts of some billing cycles, routes, or of a list.

Cycles and routes are where an account is read and billed (`BillingAccount`), which for most utilities is a part of the
town. A banner for some is shown to those who sign in and have such an account, and to staff; never to strangers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from portal.billing.addressed import within
from portal.billing.models import BillingAccount, Cycle
from portal.core.errors import Refused
from portal.customers.models import Account
from portal.customers.numbers import find_account

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django.db.models import QuerySet

    from portal.service.models import Banner

Audience = dict[str, list[str]]
"""{"cycles": codes, "routes": names, "accounts": public ids}, each only where something is in it; empty: everybody."""

ACCOUNTS_MAX = 500


def audience_of(cycles: str = "", routes: str = "", accounts: str = "") -> Audience:
    """Return the audience that was typed, separated by commas, semicolons or lines (numbers by blanks too).

    raises  Refused(`cycles`, `routes`, `accounts`) naming what does not exist.
    """
    typed = {"cycles": _parts(cycles), "routes": _parts(routes), "accounts": _parts(accounts, blanks=True)}
    if missing := _missing(typed["cycles"], Cycle.objects.values_list("code", flat=True)):
        raise Refused("cycles", _("There is no billing cycle %(name)s.") % {"name": missing})
    lying = BillingAccount.objects.filter(route__in=typed["routes"]).values_list("route", flat=True).distinct()
    if missing := _missing(typed["routes"], lying):
        raise Refused("routes", _("No account lies on a route %(name)s.") % {"name": missing})
    if len(typed["accounts"]) > ACCOUNTS_MAX:
        raise Refused("accounts", _("Name at most %d accounts; use a route or a cycle for more.") % ACCOUNTS_MAX)
    typed["accounts"] = [_public_id(number) for number in typed["accounts"]]
    return {name: values for name, values in typed.items() if values}


def audience_text(audience: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return an audience as it is typed, accounts by their numbers of today."""
    numbers = Account.objects.filter(public_id__in=audience.get("accounts", ())).order_by("number")
    return {
        "cycles": ", ".join(audience.get("cycles", ())),
        "routes": ", ".join(audience.get("routes", ())),
        "accounts": ", ".join(numbers.values_list("number", flat=True)) if audience.get("accounts") else "",
    }


def seen_by(rows: Iterable[Banner], accounts: QuerySet[Account] | None) -> list[Banner]:
    """Return the banners that somebody with these accounts sees; None: a stranger. Nothing is asked without need."""
    return [
        row
        for row in rows
        if not row.audience or (accounts is not None and accounts.filter(within(row.audience)).exists())
    ]


def _parts(text: str, *, blanks: bool = False) -> list[str]:
    parts = re.split(r"[,;\s]+" if blanks else r"[,;\n]+", text)
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _missing(wanted: Sequence[str], there: Iterable[str]) -> str:
    """Return the first of some names that is not there; empty when all are."""
    known = set(there) if wanted else set()
    return next((name for name in wanted if name not in known), "")


def _public_id(number: str) -> str:
    account = find_account(number)
    if account is None:
        raise Refused("accounts", _("There is no account %(number)s.") % {"number": number})
    return account.public_id
