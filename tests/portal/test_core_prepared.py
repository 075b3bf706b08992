"""Prepared queries: what the queryset itself says, asked with other values and in the same number of questions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext

from portal.core import statements
from portal.core.models import User
from portal.core.prepared import Prepared, ask_ahead
from portal.core.remembering import remembering
from portal.core.sessions import SessionStore
from portal.customers.models import Account, Occupancy
from portal.customers.services import ensure_premise, move_in

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from pytest_django import DjangoAssertNumQueries as Counted

pytestmark = pytest.mark.django_db
START = datetime(2026, 6, 1, 5, 0, 0, 123456, tzinfo=UTC)


def _lived(accounts: tuple[int, ...], moment: datetime, label: str) -> QuerySet[Occupancy]:
    rows = Occupancy.objects.filter(Q(end__isnull=True) | Q(end__gt=moment), account__in=accounts, start__lte=moment)
    return rows.filter(service_point__label=label).select_related("service_point__premise").order_by("start")


@pytest.fixture
def homes() -> list[Account]:
    accounts = []
    for number in range(3):
        account = Account.objects.create(number=f"{number:07}", name="Ana")
        move_in(account, ensure_premise(f"{number} Elm Street"), START + timedelta(days=number))
        accounts.append(account)
    return accounts


def test_it_says_what_the_queryset_says(homes: list[Account], django_assert_num_queries: Counted) -> None:
    lived = Prepared(_lived)
    keys = tuple(account.pk for account in homes)
    for given in (keys, keys[:1], keys[1:2], keys[1:], ()):
        for moment in (START - timedelta(microseconds=1), START, START + timedelta(days=1), START + timedelta(days=5)):
            for label in ("water", "irrigation"):
                assert lived(given, moment, label) == list(_lived(given, moment, label))
    with django_assert_num_queries(1):
        (found,) = lived(keys[2:], START + timedelta(days=2), "water")
        assert (found.start, found.service_point.premise.address) == (START + timedelta(days=2), "2 Elm Street")
    with django_assert_num_queries(0):
        assert lived((), START, "water") == []


def test_values_and_days_come_back_as_django_makes_them(homes: list[Account]) -> None:
    days = Prepared(
        lambda days, account: Occupancy.objects.filter(start__date__in=days, account=account).values_list(
            "start", "account__number"
        )
    )
    assert days((date(2026, 6, 2), date(2026, 6, 1)), homes[1].pk) == [(START + timedelta(days=1), "0000001")]
    assert days((date(2026, 6, 2), date(2026, 6, 3)), homes[0].pk) == []


def test_what_does_not_hand_a_value_on_as_it_is_is_refused(homes: list[Account]) -> None:
    alike = Prepared(lambda text: Account.objects.filter(name__contains=text))
    with pytest.raises(TypeError, match="another way"):
        alike("An")
    shifted = Prepared(lambda number: Account.objects.annotate(next=F("pk") + number * 2).filter(next__gt=0))
    with pytest.raises(TypeError, match="another way"):
        shifted(3)


def test_what_is_asked_ahead_is_not_asked_again_and_ends_with_the_page(
    homes: list[Account], django_assert_num_queries: Counted
) -> None:
    lived, known = Prepared(_lived), Prepared(lambda account: Account.objects.filter(pk=account))
    keys, moment = tuple(account.pk for account in homes), START + timedelta(days=5)
    with remembering():
        with django_assert_num_queries(1 if connection.vendor == "postgresql" else 2):
            ask_ahead((lived, keys, moment, "water"), (known, keys[1]), (lived, (), moment, "water"))
        with django_assert_num_queries(0):
            ask_ahead((known, keys[1]))
            addresses = [row.service_point.premise.address for row in lived(keys, moment, "water")]
            assert addresses == ["0 Elm Street", "1 Elm Street", "2 Elm Street"]
            assert known(keys[1]) == [homes[1]]
        with django_assert_num_queries(1):
            assert known(keys[2]) == [homes[2]]  # nobody asked for it ahead
    Account.objects.filter(pk=keys[1]).update(name="Beto")
    assert [account.name for account in known(keys[1])] == ["Beto"]
    with django_assert_num_queries(0):
        ask_ahead((known, keys[0]))  # no page: nobody could be given it


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps no plans")
def test_postgresql_keeps_the_plan_of_a_text(homes: list[Account]) -> None:
    label = "50% of 'water'"  # written out in the text, where a percent sign is no parameter
    query = Prepared(lambda account: Account.objects.filter(pk=account).exclude(name=label))

    def kept() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%%50!%% of%%' ESCAPE '!'")
            return [name for (name,) in cursor.fetchall()]

    assert query(homes[0].pk) == [homes[0]]
    (name,) = kept()
    with CaptureQueriesContext(connection) as asked:
        assert query(homes[1].pk) == [homes[1]]
    assert [entry["sql"] for entry in asked] == [f"EXECUTE {name}({homes[1].pk})"]
    assert kept() == [name]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps no plans")
def test_a_connection_keeps_no_more_than_it_may(homes: list[Account], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_KEPT_MOST", 0)
    query = Prepared(lambda account: Account.objects.filter(pk=account, name="Ana"))
    assert [query(account.pk) for account in homes] == [[account] for account in homes]


def test_a_session_that_is_over_or_was_never_made_is_none() -> None:
    mine = SessionStore()
    mine["mark"] = "kept"
    mine.create()
    assert SessionStore(mine.session_key).load() == {"mark": "kept"}
    assert db.SessionStore(mine.session_key).load() == {"mark": "kept"}  # Django's own: those of before stay good
    Session.objects.update(expire_date=datetime.now(UTC) - timedelta(seconds=1))
    for key in (mine.session_key, "chosen-by-a-stranger"):
        other = SessionStore(key)
        assert (other.load(), other.session_key) == ({}, None)


def test_a_person_is_found_by_the_row_id_and_only_among_those_asked_for(django_assert_num_queries: Counted) -> None:
    ana, ben = User.objects.create_user("ana@example.org"), User.objects.create_user("ben@example.org")
    with django_assert_num_queries(1):
        assert User.objects.get(pk=ana.pk) == ana
    group = Group.objects.create(name="office")
    group.user_set.add(ben)
    with pytest.raises(User.DoesNotExist):
        group.user_set.get(pk=ana.pk)  # Django makes managers like this one of ours
    ana.delete()
    with pytest.raises(User.DoesNotExist):
        User.objects.get(pk=ana.pk or 0)


def test_values_of_one_page_do_not_stay_for_the_next(homes: list[Account]) -> None:
    numbers = Prepared(lambda account: Account.objects.filter(pk=account))
    first = numbers(homes[0].pk)
    Account.objects.filter(pk=homes[0].pk).update(number="changed")
    assert [one.number for one in (*first, *numbers(homes[0].pk), *numbers(homes[1].pk))] == [
        homes[0].number,
        "changed",
        homes[1].number,
    ]
