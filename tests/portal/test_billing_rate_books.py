"""Rate books: two persons, the same file once, the book of a day, and `headwater portal rates`."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from django.db import IntegrityError, transaction

from portal.billing.models import RateBook
from portal.billing.rate_books import approve, book_for, find, load, withdraw
from portal.cli import portal
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from rates.errors import InputError, RateFileError
from tests.portal.building import person

if TYPE_CHECKING:
    from pathlib import Path

    from portal.core.models import User

pytestmark = pytest.mark.django_db

FIRST = """\
metadata:
  effective_date: 2024-01-01
  utility_name: Example Springs
  bill_frequency: monthly
rate_structure:
  RESIDENTIAL_SINGLE:
    service_charge: 10
    commodity_charge: 2*usage_ccf
    bill: service_charge+commodity_charge
"""
SECOND = FIRST.replace("2024-01-01", "2026-07-01").replace("service_charge: 10", "service_charge: 12")
FAULTY = FIRST.replace("2*usage_ccf", "2**usage_ccf").replace("bill:", "bil:")


def desk(name: str) -> User:
    return person(f"{name}@utility.example", is_staff=True)


def test_a_book_prices_nothing_before_a_second_person_approved_it() -> None:
    ana, ben = desk("ana"), desk("ben")
    row = load(FIRST, name="first.owrs", actor=ana)
    assert (row.format, row.effective_from, row.effective_to) == ("owrs", date(2024, 1, 1), None)
    with pytest.raises(InputError, match="no approved rate book holds on 2025-01-01"):
        book_for(date(2025, 1, 1))
    with pytest.raises(Refused) as refused:
        approve(row, actor=ana)
    assert refused.value.code == "second-person"
    approve(row, actor=ben)
    assert book_for(date(2025, 1, 1)).rate_book == row.pk
    with pytest.raises(InputError, match="2023-12-31"):
        book_for(date(2023, 12, 31))
    done = (
        AuditEntry.objects.filter(action__startswith="rates.")
        .order_by("pk")
        .values_list("action", "actor", "target_id")
    )
    assert list(done) == [("rates.load", ana.pk, row.public_id), ("rates.approve", ben.pk, row.public_id)]


def test_the_database_itself_wants_two_persons() -> None:
    ana = desk("ana")
    row = load(FIRST, name="first.owrs", actor=ana)
    with pytest.raises(IntegrityError), transaction.atomic():
        RateBook.objects.filter(pk=row.pk).update(approved_by=ana)


def test_the_later_book_holds_and_a_withdrawn_one_no_longer() -> None:
    ana, ben = desk("ana"), desk("ben")
    first, second = (load(text, name="rates", actor=ana) for text in (FIRST, SECOND))
    approve(first, actor=ben)
    approve(second, actor=ben)
    held = [book_for(day).rate_book for day in (date(2026, 6, 30), date(2026, 7, 1))]
    assert held == [first.pk, second.pk]
    with pytest.raises(Refused) as refused:
        withdraw(second, actor=ana, reason="no")
    assert refused.value.code == "reason"
    withdraw(second, actor=ana, reason="council took the vote back")
    assert book_for(date(2026, 7, 1)).rate_book == first.pk
    assert AuditEntry.objects.get(action="rates.withdraw").reason == "council took the vote back"
    for attempt, code in ((approve, "withdrawn"), (withdraw, "withdrawn")):
        with pytest.raises(Refused) as refused:
            attempt(second, actor=ben, **({"reason": "once more, please"} if attempt is withdraw else {}))
        assert refused.value.code == code


def test_a_file_with_any_fault_is_not_stored() -> None:
    with pytest.raises(RateFileError) as refused:
        load(FAULTY, name="faulty.owrs", actor=desk("ana"))
    assert [fault.line for fault in refused.value.faults] == [6, 8]
    assert not RateBook.objects.exists()
    assert not AuditEntry.objects.filter(action="rates.load").exists()


def test_the_same_file_is_loaded_once_and_by_staff_only() -> None:
    ana = desk("ana")
    load(FIRST, name="first.owrs", actor=ana)
    for text, actor, code in ((FIRST, ana, "loaded"), (SECOND, person(), "not-staff"), (SECOND, None, "not-staff")):
        with pytest.raises(Refused) as refused:
            load(text, name="again", actor=actor)
        assert refused.value.code == code
    with pytest.raises(Refused) as refused:
        approve(RateBook.objects.get(), actor=person("eve@example.org"))
    assert refused.value.code == "not-staff"


def test_a_stored_file_that_was_changed_is_not_approved() -> None:
    row = load(FIRST, name="first.owrs", actor=desk("ana"))
    RateBook.objects.filter(pk=row.pk).update(text=FIRST.replace("10", "1"))
    with pytest.raises(Refused) as refused:
        approve(row, actor=desk("ben"))
    assert refused.value.code == "damaged"


def test_a_book_is_found_by_its_id_or_the_beginning_of_its_digest() -> None:
    row = load(FIRST, name="first.owrs", actor=desk("ana"))
    assert find(row.public_id) == find(row.digest[:8]) == row
    for text in ("nothing", row.digest[:7], ""):
        with pytest.raises(Refused, match="no such rate book"):
            find(text)


def test_the_command_loads_approves_lists_and_withdraws(tmp_path: Path) -> None:
    desk("ben")
    file = tmp_path / "rates.owrs"
    file.write_text("\ufeff" + FIRST, encoding="utf-8")
    run = CliRunner()

    def ask(*arguments: str) -> dict[str, object]:
        done = run.invoke(portal, ["rates", *arguments, "--json"], catch_exceptions=False)
        answer = json.loads(done.output)
        assert isinstance(answer, dict)
        return answer

    loaded = ask("load", str(file))
    assert (loaded["state"], loaded["name"], loaded["loaded_by"]) == ("loaded", "rates.owrs", None)
    approved = ask("approve", str(loaded["digest"])[:10], "--as", "Ben@utility.example")
    assert (approved["state"], approved["approved_by"]) == ("approved", "ben@utility.example")
    assert ask("list")["books"] == [approved]
    ask("withdraw", str(loaded["id"]), "--as", "ben@utility.example", "--reason", "loaded by mistake")
    text = run.invoke(portal, ["rates", "list"]).output
    assert "withdrawn" in text
    with pytest.raises(Refused, match="no active member of staff"):
        run.invoke(portal, ["rates", "approve", str(loaded["id"]), "--as", "eve@example.org"], catch_exceptions=False)


def test_the_command_refuses_a_faulty_file_with_every_line(tmp_path: Path) -> None:
    file = tmp_path / "faulty.owrs"
    file.write_text(FAULTY, encoding="utf-8")
    with pytest.raises(RateFileError, match=r"line 6: .*\n.*line 8: "):
        CliRunner().invoke(portal, ["rates", "load", str(file)], catch_exceptions=False)
