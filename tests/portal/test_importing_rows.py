"""Imports into the database: a dry run writes nothing, applying is one transaction, and again changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from portal.billing.models import BillingAccount, ServiceAgreement
from portal.cli import portal as portal_group
from portal.core.models import AuditEntry
from portal.customers.models import Account, Occupancy, ServicePoint
from portal.customers.numbers import find_account
from portal.importing.errors import ImportRefused
from portal.importing.services import apply, check, history
from portal.ledger.services import balance_cents
from portal.metering.models import Installation, MeterRegister
from tests.portal.billed import rate_book

if TYPE_CHECKING:
    from pathlib import Path

    from portal.importing.report import Report

pytestmark = pytest.mark.django_db

TOWN = {
    "cycles": "code,read_day\n01,5\n",
    "accounts": "number,name,cycle,email,paper,mailing address\n"
    '0010-1,Ana Peña,01,ana@example.org,no,\n0010-2,Ben,1,,yes,"PO Box 1\nTown"\n',
    "premises": "service point,address\nSP-1,12 Elm Street\nSP-2,14 Elm Street\n",
    "meters": "meter,unit,multiplier,digits\nM1,gal,10,6\nM2,gal,10,6\nM3,ft3,1,6\n",
    "installations": "meter,service point,installed,first count,removed,last count\n"
    "M1,SP-1,2020-04-01,100,2024-05-06 10:00,7000\nM3,SP-1,2024-05-06 10:00,0,,\nM2,,2020-04-01,5,,\n",
    "occupancies": "account,service point,from\n101,SP-1,2020-04-01\n10-2,SP-2,2020-04-01\n",
    "agreements": "account,service point,class,start,dwelling_units\n101,SP-1,residential,2020-04-01,1\n",
    "balances": "account,amount,due date\n101,61.25,2026-05-31\n102,-5.00,2026-05-31\n",
    "payments": "account,amount,method,received,reference\n101,41.25,Check,2026-06-02,4711\n",
}
TOWN["installations"] = TOWN["installations"].replace("M2,,", "M2,SP-2,")


def _town() -> dict[str, Report]:
    return {kind: apply(kind, TOWN[kind].encode(), label="test") for kind in TOWN}


def _problems(kind: str, text: str) -> list[str]:
    return [str(problem) for problem in check(kind, text.encode()).problems]


def test_a_town_comes_in_and_again_nothing_changes() -> None:
    made = _town()
    assert {kind: report.new for kind, report in made.items()} == {
        "cycles": 1, "accounts": 2, "premises": 2, "meters": 3, "installations": 3, "occupancies": 2, "agreements": 1,
        "balances": 2, "payments": 1,
    }  # fmt: skip
    again = _town()
    assert {(report.new, report.changed) for report in again.values()} == {(0, 0)}
    ben = Account.objects.get(number="0010-2")
    assert (ben.billing.cycle.code, ben.billing.paper, ben.billing.mail_to) == ("01", True, "PO Box 1\nTown")
    old, new = Installation.objects.filter(service_point__code="SP-1").order_by("start")
    assert (old.first_count, old.last_count, old.end) == (100, 7000, new.start)
    assert old.register is not None
    assert (old.register.scale, old.register.modulus, old.register.claimed) == (1, 10**6, True)
    assert ServiceAgreement.objects.get().inputs == {"dwelling_units": "1"}
    ana = find_account("00101")
    assert ana is not None
    assert balance_cents(ana) == 2000
    assert balance_cents(ben) == -500
    assert made["balances"].totals == {"amount": "56.25", "new": "56.25"}
    assert [entry["kind"] for entry in history()][:3] == ["payments", "balances", "agreements"]


def test_a_dry_run_writes_nothing_and_a_file_with_a_problem_comes_in_not_at_all() -> None:
    assert check("premises", TOWN["premises"].encode()).new == 2
    assert ServicePoint.objects.count() == 0
    bad = TOWN["premises"] + "SP-2,16 Elm Street\n"
    with pytest.raises(ImportRefused) as refused:
        apply("premises", bad.encode(), label="test")
    assert refused.value.report is not None
    assert [problem.line for problem in refused.value.report.problems] == [4]
    assert ServicePoint.objects.count() == 0
    assert not AuditEntry.objects.filter(action="import.apply").exists()


def test_every_problem_is_listed_with_its_line_and_the_files_own_column() -> None:
    found = _problems(
        "accounts",
        "Account No,E-mail,Cycle,Stop\n1E+5,a@example.org,01,1\n7,nobody,,x\n8,,99,\n08,,,\n9,,,4\n",
    )
    assert [text.partition(": ")[0] for text in found] == [
        "line 2, Account No",
        "line 3, E-mail",
        "line 3, Stop",
        "line 4, Cycle",
        "line 5, Account No",
        "line 6, Cycle",
    ]
    assert "the same as on line 4" in found[4]


def test_a_changed_account_is_changed_and_an_empty_cell_leaves_what_is_there() -> None:
    _town()
    report = apply("accounts", b"number,name,email,paper\n101,,new@example.org,\n102,Benjamin,,no\n", label="test")
    assert (report.new, report.changed, report.unchanged) == (0, 2, 0)
    ana, ben = BillingAccount.objects.order_by("account__number")
    assert (ana.account.name, ana.email) == ("Ana Peña", "new@example.org")
    assert (ben.account.name, ben.paper, ben.mail_to) == ("Benjamin", False, "PO Box 1\nTown")
    entry = AuditEntry.objects.get(action="account.import", target_id=ana.account.public_id)
    assert entry.detail == {"email": ["ana@example.org", "new@example.org"]}


def test_a_new_number_keeps_the_account_and_the_old_number_finds_it() -> None:
    _town()
    ana = find_account("101")
    report = apply("accounts", b"number,old number\n9-0010-1,0010-1\n", label="test")
    assert (report.new, report.changed) == (0, 1)
    assert find_account("101") == find_account("900101") == ana
    assert apply("accounts", b"number,old number\n9-0010-1,0010-1\n", label="test").unchanged == 1
    [two] = _problems("accounts", "number,old number\n0010-2,101\n")
    assert "two accounts are not merged" in two


def test_what_is_not_there_is_named() -> None:
    _town()
    found = _problems("occupancies", "account,service point,address,from\n77,SP-1,,2020-04-01\n101,SP-9,,2020-04-01\n"
                                     "101,,99 Elm Street,2020-04-01\n101,,,2020-04-01\n")  # fmt: skip
    assert [text.partition(";")[0] for text in found] == [
        "line 2, account: no account has this number",
        "line 3, service point: no service point has this number",
        "line 4, address: no premise has this address",
        "line 5, service point: give the service point by its number or its address",
    ]


def test_several_service_points_at_an_address_are_told_apart_by_their_label() -> None:
    _town()
    apply("premises", b"address,label\n12 elm street,irrigation\n", label="test")
    assert ServicePoint.objects.filter(premise__address="12 Elm Street").count() == 2
    [several] = _problems("occupancies", "account,address,from\n102,12 ELM STREET,2020-04-01\n")
    assert "water, irrigation" in several
    by_label = b"account,address,label,from\n102,12 ELM STREET,Irrigation,2020-04-01\n"
    assert apply("occupancies", by_label, label="test").new == 1


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("occupancies", "account,service point,from\n102,SP-1,2024-01-01\n", "give its end first"),
        ("occupancies", "account,service point,from\n102,SP-1,2020-04-01\n", "account 0010-1 is there since then"),
        ("installations", "meter,service point,start\nM2,SP-1,2025-01-01\n", "give its end first"),
        ("installations", "meter,service point,start\nM3,SP-2,2024-05-06 10:00\n", "the meter hangs at"),
        (
            "installations",
            "meter,service point,start,first count\nM3,SP-1,2024-05-06 10:00,9\n",
            "0 stands in the portal",
        ),
        ("installations", "meter,service point,start,first count\nM9,SP-1,2024-05-06,9\n", "no such meter"),
        (
            "installations",
            "meter,service point,start,last count\nM3,SP-1,2024-05-06 10:00,1000000\n",
            "counts to 999999",
        ),
        ("meters", "meter,unit\nM1,m3\n", "find out at the meter which is right"),
        ("meters", "meter,unit,scale,multiplier\nM8,gal,1,100\n", "say different things"),
        ("balances", "account,amount,due date\n101,61.26,2026-05-31\n", "61.25 was posted"),
        (
            "payments",
            "account,amount,method,received,reference\n101,61.20,check,2026-06-02,4711\n",
            "41.25 was posted under this reference",
        ),
        ("payments", "account,amount,method,received,reference\n101,0,check,2026-06-02,4712\n", "more than nothing"),
        ("payments", "account,amount,method,received,reference\n101,1,barter,2026-06-02,4712\n", "expected one of"),
        ("agreements", "account,service point,class,start\n102,SP-1,x,2026-01-01\n", "give its end first"),
        ("agreements", "account,service point,class,start,meter_size\n102,SP-2,x,2026-01-01,8-May\n", "5/8 becomes"),
    ],
)
def test_what_contradicts_the_portal_is_refused(kind: str, text: str, says: str) -> None:
    _town()
    found = _problems(kind, text)
    assert any(says in problem for problem in found), found


def test_an_end_and_its_successor_come_in_one_file() -> None:
    _town()
    moved = b"account,service point,from,to\n101,SP-1,2020-04-01,2024-01-01\n102,SP-1,2024-01-01,\n"
    report = apply("occupancies", moved, label="test")
    assert (report.new, report.changed) == (1, 1)
    assert Occupancy.objects.filter(service_point__code="SP-1", end__isnull=True).get().account.number == "0010-2"
    swapped = (
        b"meter,service point,start,end,last count\nM3,SP-1,2024-05-06 10:00,2025-01-01,55\nM1,SP-1,2025-01-01,,\n"
    )
    report = apply("installations", swapped, label="test")
    assert (report.new, report.changed) == (1, 1)
    assert Installation.objects.filter(service_point__code="SP-1").count() == 3


def test_classes_and_inputs_are_compared_with_the_rate_book() -> None:
    _town()
    rate_book()
    [found] = _problems("agreements", "account,service point,class,start\n102,SP-2,resedential,2024-01-01\n")
    assert "resedential" in found
    assert _problems("agreements", "account,service point,class,start\n102,SP-2,residential,2024-01-01\n") == []


def test_a_compound_meter_has_two_registers_and_counts_name_theirs() -> None:
    _town()
    both = b"meter,register,unit\nC1,total high,gal\nC1,total_low,gal\n"
    assert apply("meters", both, label="test").new == 2
    assert MeterRegister.objects.filter(meter__meter_id="C1", claimed=True, in_usage=True).count() == 2
    apply("premises", b"address\n20 Elm Street\n", label="test")
    [asked] = _problems("installations", "meter,address,start,first count\nC1,20 Elm Street,2024-01-01,5\n")
    assert "total_high, total_low" in asked


def test_the_command_reports_by_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "cycles.csv"
    file.write_text("code,read_day\n01,31\n", encoding="utf-8")
    done = CliRunner().invoke(portal_group, ["import", "cycles", str(file), "--json"])
    assert isinstance(done.exception, ImportRefused)
    assert done.exception.exit_code == 3
    assert done.exception.as_json()["report"]["problems"][0]["line"] == 2  # type: ignore[index]
    file.write_text("code,read_day\n01,28\n", encoding="utf-8")
    done = CliRunner().invoke(portal_group, ["import", "cycles", str(file), "--apply", "--json"])
    assert json.loads(done.output)["applied"] is True
    done = CliRunner().invoke(portal_group, ["import", "template", "cycles"])
    assert done.output.startswith("\ufeffcode,name,read_day")
