"""Finds an account by what somebody says: a number, name, address, email, user name, telephone, meter or bill.

Numbers are looked up first, by indexes. For names, addresses and parts of numbers PostgreSQL has indexes of trigrams
(migration `indexes_of_the_search` of billing); SQLite compares every row. Nothing is asked for more rows than a page
shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import CharField, Func, Prefetch, Q

from portal.billing.models import Bill, BillingAccount
from portal.core.models import User
from portal.customers.models import Account, AccountAccess, Occupancy, Premise
from portal.customers.numbers import find_accounts, number_key
from portal.fleet.models import Meter
from portal.metering.models import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

HITS_MAX = 50
SEARCH_CHARS_MAX = 120
_PART_CHARS_MIN = 3
_PHONE_DIGITS_MIN, _PART_PHONE_DIGITS_MIN = 10, 4
_BILL_NUMBER = re.compile(r"(\d{6})[-. ]?(\d{1,12})")
_BILL_SEQUENCE_DIGITS = (0, 6, 7, 8, 9)


class _MeterKey(Func):
    """A meter's number without dashes, blanks and small letters: word for word as the index `search_meter_key`."""

    template = "REPLACE(REPLACE(UPPER(%(expressions)s), '-', ''), ' ', '')"
    output_field = CharField()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    accounts  at most HITS_MAX, with `lived`: their occupancies with the places, the newest first.
    exact     the text is one account's number, meter, bill, email, user name or telephone, or nothing else is like it.
    more      there are others.
    """

    accounts: tuple[Account, ...]
    exact: bool = False
    more: bool = False


def find(text: str) -> Found:
    """Return the accounts that a text means; an exact number, meter, bill, email or telephone finds its own."""
    text = " ".join(text.split())[:SEARCH_CHARS_MAX]
    if not text:
        return Found(())
    for exact in _exactly(text):
        if len(exact) == 1:
            return Found(tuple(_with_places(exact)), exact=True)
    ids: list[int] = []
    for like in _like(text):
        ids += [pk for pk in like[: HITS_MAX + 1] if pk not in ids]
        if len(ids) > HITS_MAX:
            break
    if not ids:
        ids += _mixed(_words(text))[: HITS_MAX + 1]
    found = _with_places(ids[:HITS_MAX])
    return Found(tuple(found), exact=len(found) == 1, more=len(ids) > HITS_MAX)


def _exactly(text: str) -> Iterator[list[int]]:
    """Yield the ids of the accounts that have this number, bill, meter, email, user name or telephone, kind by kind."""
    yield [account.pk for account in find_accounts([text]).get(number_key(text), [])]
    if bill := _BILL_NUMBER.fullmatch(text):
        numbers = {text} | {f"{bill[1]}-{bill[2]:0>{digits}}" for digits in _BILL_SEQUENCE_DIGITS}
        yield list(Bill.objects.filter(number__in=numbers).values_list("account", flat=True).distinct())
    meters = list(Meter.objects.filter(meter_id__in={text, text.upper()}).values_list("pk", flat=True))
    yield _at_meters(meters or _meters_like_key(text))
    if "@" in text:
        billed = BillingAccount.objects.filter(email__iexact=text).values_list("account", flat=True)
        yield list(dict.fromkeys([*_of_people(email=text.lower()), *billed[: HITS_MAX + 1]]))
    elif re.fullmatch(r"[A-Za-z0-9._-]{3,40}", text):
        yield _of_people(username=text.lower())
    if phones := _telephone(text):
        yield _of_people(phone__number__in=phones)


def _of_people(**who: Any) -> list[int]:
    """Return the accounts of the people who sign in like this."""
    found = AccountAccess.objects.filter(user__in=User.objects.filter(**who), ended_at__isnull=True)
    return list(found.values_list("account", flat=True).distinct()[: HITS_MAX + 1])


def _telephone(text: str) -> list[str]:
    """Return the telephone numbers that a text may be, as they are kept; none when it is no such number."""
    digits = re.sub(r"\D", "", text)
    if not re.fullmatch(r"[\d\s().+/-]+", text) or not _PHONE_DIGITS_MIN <= len(digits) <= 15:
        return []
    return [f"+{digits}", f"+1{digits}"]


def _meters_like_key(text: str) -> list[int]:
    """Return the meters whose number is this one, dashes, blanks and capitals aside."""
    key = re.sub(r"[-. /]", "", text).upper()
    if len(key) <= _PART_CHARS_MIN or not any(char.isdigit() for char in key):
        return []
    return list(Meter.objects.alias(bare=_MeterKey("meter_id")).filter(bare=key).values_list("pk", flat=True)[:2])


def _at_meters(meters: list[int]) -> list[int]:
    """Return who lives where these meters hang, or lived there last."""
    if not meters:
        return []
    living = Occupancy.objects.filter(service_point__installations__meter__in=meters)
    rows = list(living.order_by("-start").values_list("account", "service_point__installations__end", "end"))
    now = [account for account, removed, left in rows if removed is None and left is None]
    return list(dict.fromkeys(now)) or [account for account, _, _ in rows[:1]]


def _like(text: str) -> Iterator[QuerySet[Account, int]]:
    """Yield the accounts that are like a text, the likeliest kind first; each word must be found."""
    accounts = _ids(Account.objects.all())
    key = number_key(text)
    if len(key) >= _PART_CHARS_MIN and any(char.isdigit() for char in key):
        yield accounts.filter(number_key__startswith=key)
        meters = Installation.objects.filter(meter__meter_id__icontains=text)
        yield accounts.filter(pk__in=_living(service_point__in=meters.values("service_point")))
    if "@" in text:
        yield accounts.filter(pk__in=_access(user__in=User.objects.filter(email__icontains=text)))
        yield accounts.filter(billing__email__icontains=text)
    digits = re.sub(r"\D", "", text)
    if len(digits) >= _PART_PHONE_DIGITS_MIN and not re.search(r"[A-Za-z]", text):
        yield accounts.filter(pk__in=_access(user__phone__number__contains=digits))
    named, placed = Q(), Q()
    for word in _words(text):
        named &= Q(name__icontains=word)
        placed &= Q(address__icontains=word)
    yield accounts.filter(named)
    yield accounts.filter(pk__in=_at(placed))
    if len(text) >= _PART_CHARS_MIN and " " not in text and "@" not in text:
        yield accounts.filter(pk__in=_access(user__in=User.objects.filter(username__icontains=text)))


def _mixed(words: list[str]) -> QuerySet[Account, int]:
    """Return the accounts of which each word stands in the name or in the address."""
    found = Account.objects.all() if len(words) > 1 else Account.objects.none()
    for word in words:
        named = Account.objects.filter(name__icontains=word).values("pk")
        found = found.filter(pk__in=named.union(_at(Q(address__icontains=word)), all=True))
    return _ids(found)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text) if word][:8]


def _ids(accounts: QuerySet[Account]) -> QuerySet[Account, int]:
    return accounts.order_by("number").values_list("pk", flat=True)


def _at(place: Q) -> QuerySet[Occupancy, Any]:
    """Return who lives or lived at addresses like this."""
    return _living(service_point__premise__in=Premise.objects.filter(place).values("pk"))


def _access(**who: Any) -> QuerySet[AccountAccess, Any]:
    """Return the accounts to which people like this have access."""
    return AccountAccess.objects.filter(ended_at__isnull=True, **who).values("account")


def _living(**where: Any) -> QuerySet[Occupancy, Any]:
    return Occupancy.objects.filter(**where).values("account")


def _with_places(ids: list[int]) -> list[Account]:
    """Return accounts in the order of their ids, with where they live and lived."""
    lived = Occupancy.objects.select_related("service_point__premise").order_by("-start")
    rows = Account.objects.prefetch_related(Prefetch("occupancies", lived, to_attr="lived")).in_bulk(ids)
    return [rows[pk] for pk in ids if pk in rows]
