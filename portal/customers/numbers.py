"""Account numbers as people type them: with or without zeros, dashes and capitals, the present one or a former one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.models import Account, AccountAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.core.models import User

_AT_ONCE = 500
_MARKS = str.maketrans("", "", "-. /")


def number_key(number: str) -> str:
    """Return what of an account number counts when it is looked up; the same as the column `number_key`."""
    return number.translate(_MARKS).upper().lstrip("0")


def find_account(number: str) -> Account | None:
    """Return the account that a number means, now or formerly; None when there is none, or more than one."""
    found = find_accounts([number]).get(number_key(number), [])
    return found[0] if len(found) == 1 else None


def find_accounts(numbers: Iterable[str]) -> dict[str, list[Account]]:
    """Return the accounts by the keys of these numbers; those that have the number now come before former holders.

    Two accounts under one key (`12` and `0012`, from before anybody looked) are both given: the caller asks.
    """
    keys = sorted({number_key(number) for number in numbers} - {""})
    found: dict[str, list[Account]] = {}
    for start in range(0, len(keys), _AT_ONCE):
        for account in Account.objects.filter(number_key__in=keys[start : start + _AT_ONCE]).order_by("pk"):
            found.setdefault(account.number_key, []).append(account)
    for start in range(0, len(keys), _AT_ONCE):
        aliases = AccountAlias.objects.filter(number_key__in=keys[start : start + _AT_ONCE])
        for alias in aliases.select_related("account"):
            found.setdefault(alias.number_key, [alias.account])
    return found


@transaction.atomic
def change_number(account: Account, number: str, *, actor: User | None = None, label: str = "") -> None:
    """Give an account another number; the old one still finds it, and who signs in keeps the sign-in.

    raises Refused(`account-number`) when another account has the number or had it.
    """
    key, before = number_key(number), account.number
    others = [other for other in find_accounts([number]).get(key, []) if other.pk != account.pk]
    if not key or others:
        raise Refused("account-number", f"{number!r} belongs to another account, or is no number; choose another one")
    Account.objects.filter(pk=account.pk).update(number=number)
    if number_key(before) != key:
        AccountAlias.objects.filter(account=account, number_key=key).delete()
        AccountAlias.objects.get_or_create(
            number_key=number_key(before), defaults={"account": account, "number": before, "since": now()}
        )
    account.refresh_from_db()
    audit("account.number", actor=actor, label=label, target=account, detail={"from": before, "to": number})
