"""The staff pages of billing: for staff alone, every change audited, bad input answered with a message and 422."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from portal.billing import rate_books, tasks
from portal.billing.models import Bill, BillingAccount, BillRun, Cycle, RateBook, ServiceAgreement
from portal.core.clock import now
from portal.core.models import AuditEntry
from portal.core.services import utility_zone
from portal.customers.models import Account
from portal.customers.numbers import change_number
from portal.fleet.models import CollectorKey
from portal.ingest.apply import apply_batch
from portal.metering.models import OfficeRead, StoredBatch
from portal.notifications.models import Phone
from portal.staff.listing import last_day
from portal.staff.navigation import GROUPS
from portal.staff.search import find
from portal.worker import run_queued_tasks
from rates.errors import RateFileError
from tests.portal.bills import make_account, make_bill
from tests.portal.building import NOON, enrolled, person, read, total

if TYPE_CHECKING:
    from portal.core.models import User

pytestmark = pytest.mark.django_db
RATES = """\
format: headwater-rates/1
name: Town of tests
currency: USD
languages: [en, es]
billed_unit: {unit: gal}
inputs:
  low_income:
    type: yes-no
    default: no
    label: {en: Low income, es: Bajos ingresos}
policies:
  - from: 2020-01-01
    proration: {tolerance_percent: 10}
    due: {days: 20, next_business_day: yes}
    estimation: {max_consecutive: 2}
versions:
  - id: "2020"
    start: 2020-01-01
    end: 2023-01-01
    name: Rates of 2020
    authority: A vote of tests
    classes:
      residential:
        label: {en: Residential, es: Residencial}
        services:
          water:
            label: {en: Water, es: Agua}
            lines:
              - code: base
                charge: fixed
                label: {en: Base fee, es: Cargo base}
                price: 9.00
"""


@pytest.fixture
def sam() -> User:
    return person("sam@example.org", is_staff=True, name="Sam Staff")


@pytest.fixture
def staff(sam: User) -> Client:
    client = Client()
    client.force_login(sam)
    return client


def _text(answer: Any) -> str:
    return str(answer.content.decode())


# search


def test_an_account_is_found_by_everything_that_people_say() -> None:
    user = person("ana@example.org", username="ana.morales")
    Phone.objects.create(user=user, number="+14055550123", consented_at=now(), verified_at=now())
    account = make_account(
        "0010-2345", name="Ana Peña Morales", address="12 Elm Street", user=user, email="bills@x.org"
    )
    for n in range(3):
        make_account(name=f"Bob Morales {n}", address=f"{100 + n} Elm Street")
    bill = make_bill(account)
    meter = account.occupancies.get().service_point.installations.get().meter.meter_id
    change_number(account, "0010-9999")
    for said in (
        "0010-9999",
        "109999",
        "10-99.99",
        "0010-2345",  # the former number
        "ana@example.org",
        "ANA@example.org",
        "bills@x.org",
        "ana.morales",
        "Ana.Morales",
        "a.mor",
        "(405) 555-0123",
        "+1 405 555 0123",
        "555-0123",
        meter,
        meter.lower(),
        meter.replace("-", " "),
        bill.number or "",
        (bill.number or "").replace("-", ""),
        "morales, ana",
        "12 elm",
        "ana elm",
    ):
        found = find(said)
        assert [row.pk for row in found.accounts] == [account.pk], said
        assert found.exact, said
    assert len(find("morales").accounts) == 4
    assert not find("morales").exact
    assert find("").accounts == ()
    assert find("nobody of this name").accounts == ()
    assert find("' OR 1=1 --").accounts == ()


def test_what_is_found_is_bounded(django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    Account.objects.bulk_create(Account(number=f"77-{n:05}", name="Smith") for n in range(120))
    with django_assert_max_num_queries(12):
        found = find("smith")
    assert len(found.accounts) == 50
    assert found.more


def test_the_search_goes_straight_to_an_account(staff: Client) -> None:
    account = make_account("1234567")
    answer = staff.get("/staff/", {"q": "123-4567"})
    assert answer.status_code == 302
    assert answer.url == f"/staff/accounts/{account.public_id}/"
    page = _text(staff.get(answer.url))
    assert "1234567" in page
    assert "No account is like it" in _text(staff.get("/staff/", {"q": "zzz"}))


# who may


def _addresses(account: Account, bill: Bill, run: BillRun) -> list[str]:
    agreement, book = account.agreements.get(), RateBook.objects.first()
    assert book is not None
    return [
        "/staff/",
        f"/staff/accounts/{account.public_id}/",
        f"/staff/accounts/{account.public_id}/delivery/",
        f"/staff/accounts/{account.public_id}/final/",
        f"/staff/accounts/{account.public_id}/next-bill/",
        f"/staff/agreements/{agreement.public_id}/",
        "/staff/bills/",
        "/staff/bills/held/",
        f"/staff/bills/{bill.public_id}/",
        f"/staff/bills/{bill.public_id}/sheet/",
        f"/staff/bills/{bill.public_id}/bill.pdf",
        f"/staff/bills/{bill.public_id}/lines/0/",
        "/staff/runs/",
        f"/staff/runs/{run.public_id}/",
        "/staff/cycles/",
        "/staff/rates/",
        "/staff/rates/new/",
        "/staff/rates/compare/",
        f"/staff/rates/{book.public_id}/",
    ]


def _run(cycle: Cycle, **fields: object) -> BillRun:
    given = {
        "cycle": cycle,
        "period_start": date(2026, 5, 1),
        "period_end": date(2026, 6, 1),
        "bill_date": date(2026, 6, 3),
        "due_date": date(2026, 6, 23),
        "started_at": NOON,
        "accounts": 1,
        "state": "calculated",
        **fields,
    }
    return BillRun.objects.create(**given)


def test_neither_residents_nor_strangers_see_or_change_anything(staff: Client, sam: User) -> None:
    user = person("ana@example.org")
    account = make_account(user=user, email="ana@example.org")
    bill = make_bill(account)
    rate_books.load(RATES, name="Town", actor=sam)
    run = _run(Cycle.objects.get())
    resident, stranger = Client(), Client()
    resident.force_login(user)
    before = (AuditEntry.objects.count(), Bill.objects.count())
    for address in _addresses(account, bill, run):
        assert staff.get(address).status_code in (200, 422), address
        assert resident.get(address).status_code == 403, address
        assert resident.post(address, {"action": "rebill", "reason": "mine"}).status_code in (403, 405), address
        assert stranger.get(address).url.startswith("/accounts/login/"), address
        assert stranger.post(address, {"action": "rebill", "reason": "mine"}).status_code in (302, 405), address
    assert (AuditEntry.objects.count(), Bill.objects.count()) == before


def test_looking_changes_nothing(staff: Client) -> None:
    account = make_account()
    bill = make_bill(account)
    run = _run(Cycle.objects.get())
    before = AuditEntry.objects.count()
    for address in _addresses(account, bill, run):
        staff.get(address)
    assert AuditEntry.objects.count() == before


def test_every_entry_of_the_navigation_opens_and_is_marked(staff: Client) -> None:
    names = [entry.name for group in GROUPS for entry in group.entries]
    assert len(names) == len(set(names))
    for group in GROUPS:
        for entry in group.entries:
            page = _text(staff.get(entry.href))
            if len(group.entries) > 1:
                assert page.count('aria-current="page"') == 1, entry.name
            assert page.count('aria-current="true"') >= 1, entry.name


# the account


def test_the_page_of_an_account_has_everything(staff: Client) -> None:
    user = person("ana@example.org", name="Ana")
    account = make_account(name="Ana Morales", user=user, email="ana@example.org", address="12 Elm Street")
    bill = make_bill(account)
    page = _text(staff.get(f"/staff/accounts/{account.public_id}/"))
    for text in (
        "Ana Morales",
        "12 Elm Street",
        bill.number,
        "$101.45",
        "ana@example.org",
        "residential",
        "EFE-",
        "M1",
    ):
        assert str(text) in page, text
    assert f'data-cents="{bill.charges_cents}"' in page
    assert "Look, with a reason" in page  # usage keeps its rule


def test_how_bills_reach_an_account_is_changed_and_audited(staff: Client, sam: User) -> None:
    account = make_account(email="old@example.org")
    address = f"/staff/accounts/{account.public_id}/delivery/"
    good = {"way": "paper", "email": "", "mail_to": "Box 7\r\n Norman ", "language": "es"}
    for wrong in (
        {"way": "email", "email": ""},
        {"way": "email", "email": "no address"},
        {"way": "paper", "mail_to": ""},
        {"language": "fr"},
    ):
        refused = staff.post(address, good | wrong)
        assert refused.status_code == 422, wrong
        assert 'aria-invalid="true"' in _text(refused)
    assert not AuditEntry.objects.filter(action="account.delivery").exists()
    assert staff.post(address, good).status_code == 302
    row = BillingAccount.objects.get()
    assert (row.paper, row.mail_to, row.language, row.email) == (True, "Box 7\nNorman", "es", "")
    entry = AuditEntry.objects.get(action="account.delivery")
    assert entry.actor == sam
    assert "old@example.org" not in str(entry.detail)


def test_terms_change_from_a_day_on(staff: Client, sam: User) -> None:
    account = make_account()
    make_bill(account, period_start=date(2026, 5, 1))
    row = ServiceAgreement.objects.get()
    address = f"/staff/agreements/{row.public_id}/"
    good = {"on": "2026-05-15", "rate_class": "commercial", "input-dwelling_units": "2", "reason": "became a shop"}
    for wrong in ({"on": "soon"}, {"on": "2024-01-01"}, {"reason": " "}):
        refused = staff.post(address, good | wrong)
        assert refused.status_code == 422, wrong
        assert "errorlist" in _text(refused)
    assert ServiceAgreement.objects.count() == 1
    answer = staff.post(address, good, follow=True)
    assert "1 bill was made with the former terms" in _text(answer)
    before, after = ServiceAgreement.objects.order_by("start")
    assert (before.end, after.start, after.end) == (date(2026, 5, 15), date(2026, 5, 15), None)
    assert (before.rate_class, after.rate_class, after.inputs) == ("residential", "commercial", {"dwelling_units": 2})
    entry = AuditEntry.objects.get(action="agreement.change")
    assert (entry.actor, entry.reason, entry.detail["from"]["rate_class"]) == (sam, "became a shop", "residential")
    again = staff.post(f"/staff/agreements/{after.public_id}/", good)
    assert again.status_code == 422
    assert "hold already" in _text(again)


def test_a_class_that_the_rates_do_not_know_is_refused(staff: Client, sam: User) -> None:
    by_income = "price: {by: low_income, values: {no: 9.00, yes: 5.00}}"
    text = RATES.replace("    end: 2023-01-01\n", "").replace("price: 9.00", by_income)
    rate_books.approve(rate_books.load(text, name="Town", actor=sam), actor=person("toni@example.org", is_staff=True))
    make_account()
    row = ServiceAgreement.objects.get()
    form = {"on": "2026-05-15", "rate_class": "residential", "input-low_income": "yes", "reason": "papers shown"}
    page = _text(staff.get(f"/staff/agreements/{row.public_id}/?on=2026-05-15"))
    assert 'name="input-low_income"' in page
    for wrong in ({"rate_class": "palace"}, {"input-low_income": "perhaps"}):
        refused = staff.post(f"/staff/agreements/{row.public_id}/", form | wrong)
        assert refused.status_code == 422
    assert staff.post(f"/staff/agreements/{row.public_id}/", form).status_code == 302
    assert ServiceAgreement.objects.latest("start").inputs["low_income"] == "yes"


def test_a_final_bill_is_asked_for_twice(staff: Client) -> None:
    account = make_account()
    address = f"/staff/accounts/{account.public_id}/final/"
    for wrong in ({"on": "2026-05-15"}, {"on": "never", "sure": "yes"}, {"on": "2999-01-01", "sure": "yes"}):
        refused = staff.post(address, wrong)
        assert refused.status_code == 422
        assert "errorlist" in _text(refused)
    assert not Bill.objects.exists()
    assert ServiceAgreement.objects.get().end is None


# bills


def test_the_list_of_bills_is_filtered(staff: Client) -> None:
    first = make_bill(make_account(name="Ana"), period_start=date(2026, 4, 1))
    other = make_bill(make_account(name="Bob"), issued=False)
    Bill.objects.filter(pk=other.pk).update(state="held", findings=[{"code": "high", "severity": "hold", "detail": {}}])

    def names(**asked: str) -> set[str]:
        page = _text(staff.get("/staff/bills/", asked))
        return {name for name in ("Ana", "Bob") if f"> {name}<" in page or f">{name}<" in page.replace("\n", "")}

    assert names() == {"Ana", "Bob"}
    assert names(state="issued") == {"Ana"}
    assert names(state="held", reason="high") == {"Bob"}
    assert names(reason="gap") == set()
    assert first.period_end == date(2026, 5, 1)
    assert names(month="2026-04") == {"Ana"}  # the month of its last day
    assert names(month="2026-05") == names() - {"Ana"}
    assert names(month="2026-13", state="nonsense", reason="'; --", page="x") == {"Ana", "Bob"}
    assert names(cycle="M1") == {"Ana", "Bob"}
    assert names(cycle="X") == set()
    held = _text(staff.get("/staff/bills/held/"))
    assert "much more water than this account uses otherwise" in held


def test_a_held_bill_is_released_with_a_reason(staff: Client, sam: User) -> None:
    bill = make_bill(issued=False)
    Bill.objects.update(state="held", findings=[{"code": "high", "severity": "hold", "detail": {"times": 4}}])
    address = f"/staff/bills/{bill.public_id}/"
    assert staff.post(address, {"action": "burn"}).status_code == 400
    refused = staff.post(address, {"action": "release", "reason": "  "})
    assert refused.status_code == 422
    assert 'role="alert"' in _text(refused)
    not_yet = staff.post(address, {"action": "issue"})
    assert not_yet.status_code == 422
    done = staff.post(address, {"action": "release", "reason": "pool was filled", "back": "held"})
    assert (done.status_code, done.url) == (303, "/staff/bills/held/")
    bill.refresh_from_db()
    assert bill.state == "draft"
    entry = AuditEntry.objects.get(action="bill.release")
    assert (entry.actor, entry.reason, entry.target_id) == (sam, "pool was filled", bill.public_id)
    page = _text(staff.get(address))
    assert "pool was filled" in page
    assert "Issue this bill" in page
    assert staff.post(address, {"action": "cancel", "reason": "made twice"}).status_code == 303
    assert AuditEntry.objects.get(action="bill.cancel").reason == "made twice"


def test_an_issued_bill_is_cancelled_only_by_another_one_with_a_reason(staff: Client) -> None:
    bill = make_bill()
    address = f"/staff/bills/{bill.public_id}/"
    for form in ({"action": "rebill", "reason": ""}, {"action": "cancel", "reason": "x"}, {"action": "recalculate"}):
        assert staff.post(address, form).status_code == 422, form
    bill.refresh_from_db()
    assert bill.state == "issued"
    assert not AuditEntry.objects.filter(action__startswith="bill.").exists()


# from a line to the signed batches


def _billed_by_a_collector() -> tuple[Bill, StoredBatch]:
    bill = make_bill()
    dial = bill.segments.get().dials.get()
    register = total(dial.register.meter.meter_id, unit=dial.register.as_register().unit, scale=0)
    box = enrolled("hw-tower")
    reads = [read(register, dial.first_count, dial.start), read(register, dial.last_count, dial.end)]
    assert apply_batch(box.sealed(reads, ()), box.name, now())
    dial.first_us = [int(dial.start.timestamp()) * 1_000_000]
    dial.last_us = [int(dial.end.timestamp()) * 1_000_000]
    dial.save()
    return bill, StoredBatch.objects.get()


def test_a_line_leads_to_its_signed_batches_and_each_is_verified_now(staff: Client) -> None:
    bill, batch = _billed_by_a_collector()
    address = f"/staff/bills/{bill.public_id}/lines/1/"
    page = _text(staff.get(address))
    key = CollectorKey.objects.get()
    for text in ("hw-tower", bytes(batch.batch_hash).hex(), bytes(batch.epoch.epoch).hex(), key.kid, "tier 1"):
        assert text in page, text
    assert page.count(">valid<") == 2
    assert page.count("the read is in it") == 2
    CollectorKey.objects.update(revoked_at=now())
    assert _text(staff.get(address)).count("revoked since") == 2
    assert _text(staff.get(address)).count(">valid<") == 2
    damaged = bytearray(bytes(batch.signed))
    damaged[-1] ^= 1
    StoredBatch.objects.update(signed=bytes(damaged))
    page = _text(staff.get(address))
    assert ">valid<" not in page
    assert "invalid: it does not fit the bytes" in page
    StoredBatch.objects.update(signed=bytes(batch.signed), sequence=99)
    assert "invalid: stored under another identity" in _text(staff.get(address))
    StoredBatch.objects.update(sequence=batch.sequence, batch_hash=bytes(32))
    assert "invalid: not the bytes that were written down" in _text(staff.get(address))
    CollectorKey.objects.all().delete()
    assert "the key is not enrolled" in _text(staff.get(address))


def test_an_office_read_is_shown_with_who_entered_it_and_why(staff: Client, sam: User) -> None:
    bill, _batch = _billed_by_a_collector()
    dial = bill.segments.get().dials.get()
    OfficeRead.objects.create(
        register=dial.register,
        read_at=dial.end,
        raw_count=dial.last_count,
        quality=2,
        source="edit",
        reason="photo shows another digit",
        evidence={"photo": "IMG_7.jpg"},
        entered_by=sam,
        entered_at=NOON,
    )
    page = _text(staff.get(f"/staff/bills/{bill.public_id}/lines/1/"))
    for text in ("Sam Staff", "photo shows another digit", "IMG_7.jpg"):
        assert text in page
    assert staff.get(f"/staff/bills/{bill.public_id}/lines/99/").status_code == 404


@pytest.mark.parametrize(("language", "until"), [("en", "Until"), ("es", "Hasta")])
def test_what_has_ended_says_its_last_day(staff: Client, sam: User, language: str, until: str) -> None:
    """Periods, terms and stays are kept with the day after them; people are told the last day, everywhere the same."""
    account = make_account()
    run = _run(Cycle.objects.get())
    bill = make_bill(account, period_start=date(2026, 5, 1), run=run)
    terms = account.agreements.get()
    ServiceAgreement.objects.filter(pk=terms.pk).update(end=date(2026, 6, 1))
    account.occupancies.update(end=datetime(2026, 6, 1, tzinfo=utility_zone()))
    rate_books.load(RATES, name="Town", actor=sam)
    addresses = [f"bills/{bill.public_id}/", f"bills/{bill.public_id}/lines/1/", f"accounts/{account.public_id}/"]
    addresses += [f"agreements/{terms.public_id}/", f"runs/{run.public_id}/", "runs/"]
    for address in addresses:
        page = _text(staff.get(f"/staff/{address}", headers={"accept-language": language}))
        assert f'lang="{language}"' in page
        assert "2026-05-31" in page, address
        assert not re.search(r"2026-06-01(?! \d)", page), address  # as a moment, with its time, it is one
        assert address.startswith("runs/") or until.lower() in page.lower(), address
    assert "2020-01-01 – 2022-12-31" in _text(staff.get("/staff/rates/"))


def test_the_last_day_of_a_time_up_to_a_moment_is_the_day_it_was_still_going_on() -> None:
    zone = utility_zone()
    ends = [datetime(2026, 6, 1, tzinfo=zone), datetime(2026, 6, 1, 0, 0, 1, tzinfo=zone), date(2026, 6, 1)]
    assert [last_day(end).isoformat() for end in ends] == ["2026-05-31", "2026-06-01", "2026-05-31"]


# runs


def test_a_run_is_started_by_the_worker_and_never_twice(staff: Client, sam: User) -> None:
    book = rate_books.load(RATES.replace("    end: 2023-01-01\n", ""), name="Town", actor=sam)
    cycle = Cycle.objects.create(code="M1", read_day=1)
    end = now().date().replace(day=1)
    form = {"cycle": "M1", "end": end.isoformat()}
    refused = staff.post("/staff/runs/", form)
    assert refused.status_code == 422  # no rates are approved yet
    rate_books.approve(book, actor=person("toni@example.org", is_staff=True))
    for wrong in ({"cycle": "??"}, {"end": "soon"}, {"end": (end + timedelta(days=1)).isoformat()}):
        assert staff.post("/staff/runs/", form | wrong).status_code == 422, wrong
    assert not BillRun.objects.exists()
    make_account()
    answers = [staff.post("/staff/runs/", form) for _ in range(2)]
    run = BillRun.objects.get()
    assert [answer.url for answer in answers] == [f"/staff/runs/{run.public_id}/"] * 2
    assert (run.cycle, run.started_by, run.state) == (cycle, sam, "calculating")
    page = _text(staff.get(answers[0].url))
    assert 'hx-trigger="every 2s"' in page
    assert "Go on with this run" not in page
    assert AuditEntry.objects.get(action="run.start").actor == sam
    assert tasks.work_on(run).under_way
    refused = staff.post(answers[0].url, {"action": "continue"})
    assert refused.status_code == 422
    assert "at this run already" in _text(refused)


@pytest.mark.django_db(transaction=True)  # the worker of tasks closes its connection
def test_a_run_that_stopped_is_continued_and_issued_with_confirmation(staff: Client, sam: User) -> None:
    cycle = Cycle.objects.create(code="M1", read_day=1)
    run = _run(cycle, state="calculating", accounts=0)
    address = f"/staff/runs/{run.public_id}/"
    page = _text(staff.get(address))
    assert "Go on with this run" in page
    assert "hx-get" not in page
    assert staff.post(address, {"action": "continue"}).status_code == 303
    assert AuditEntry.objects.get(action="run.continue").actor == sam
    assert run_queued_tasks() == 1
    run.refresh_from_db()
    assert run.state == "calculated"
    make_bill(make_account(), issued=False, run=run)
    page = _text(staff.get(address))
    assert "Issue 1 bill" in page
    assert "Totals by rate line" in page
    assert staff.post(address, {"action": "issue"}).status_code == 422
    assert staff.post(address, {"action": "dance"}).status_code == 400
    assert staff.post(address, {"action": "cancel", "reason": " "}).status_code == 422
    assert staff.post(address, {"action": "issue", "sure": "yes"}).status_code == 303
    assert AuditEntry.objects.get(action="run.ask-issue").actor == sam
    assert run_queued_tasks() == 1
    run.refresh_from_db()
    assert (run.state, run.issued_by) == ("issued", sam)
    assert Bill.objects.get().state == "issued"


@pytest.mark.django_db(transaction=True)  # the worker of tasks closes its connection
def test_a_run_that_failed_says_so_and_may_go_on(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(Cycle.objects.create(code="M1", read_day=1), state="calculating")

    def fail(*_args: object, **_more: object) -> None:
        raise ValueError("the reads are gone")

    monkeypatch.setattr(tasks.runs, "continue_run", fail)
    address = f"/staff/runs/{run.public_id}/"
    assert staff.post(address, {"action": "continue"}).status_code == 303
    run_queued_tasks()
    page = _text(staff.get(address))
    assert "the reads are gone" in page
    assert "Go on with this run" in page


# rates


def test_a_rate_file_with_faults_is_refused_line_by_line(staff: Client) -> None:
    broken = RATES.replace("price: 9.00", "price: nine").replace("  - from: 2020-01-01", "  - from: never")
    with pytest.raises(RateFileError) as refused:
        rate_books.checked(broken, name="rates.yaml")
    assert len(refused.value.faults) >= 2
    answer = staff.post("/staff/rates/new/", {"text": broken})
    assert answer.status_code == 422
    for fault in refused.value.faults:
        assert f"Line {fault.line}, column {fault.column}" in _text(answer)
    assert "price: nine" in _text(answer)
    assert not RateBook.objects.exists()
    for wrong in ({"text": ""}, {"text": "just words"}, {"text": "\x00"}):
        assert staff.post("/staff/rates/new/", wrong).status_code == 422


def test_rates_are_approved_by_a_second_person_and_withdrawn_with_a_reason(staff: Client, sam: User) -> None:
    answer = staff.post("/staff/rates/new/", {"text": RATES.replace("\n", "\r\n")})
    book = RateBook.objects.get()
    assert (answer.status_code, book.name, book.loaded_by) == (303, "Town of tests", sam)
    address = f"/staff/rates/{book.public_id}/"
    page = _text(staff.get(address))
    assert "somebody else approves them" in page
    assert "Approve as second person" not in page
    assert staff.post(address, {"action": "approve"}).status_code == 422
    toni, other = person("toni@example.org", is_staff=True), Client()
    other.force_login(toni)
    assert "Approve as second person" in _text(other.get(address))
    assert other.post(address, {"action": "approve"}).status_code == 303
    book.refresh_from_db()
    assert book.approved_by == toni
    assert [row.actor for row in AuditEntry.objects.filter(action__startswith="rates.").order_by("pk")] == [sam, toni]
    assert other.post(address, {"action": "withdraw", "reason": "no"}).status_code == 422
    assert other.post(address, {"action": "withdraw", "reason": "wrong ordinance"}).status_code == 303
    assert AuditEntry.objects.get(action="rates.withdraw").reason == "wrong ordinance"
    assert "withdrawn" in _text(other.get("/staff/rates/"))
    assert staff.post(address, {"action": "frame"}).status_code == 400


def test_the_difference_of_two_versions_is_said_in_words(staff: Client, sam: User) -> None:
    second = RATES[RATES.index('  - id: "2020"') :].replace("2020", "2023").replace("9.00", "11.25")
    text = RATES + second.replace("    end: 2023-01-01\n", "")
    book = rate_books.load(text, name="Town", actor=sam)
    asked = {"before": f"{book.public_id}:2020", "after": f"{book.public_id}:2023"}
    page = _text(staff.get("/staff/rates/compare/", asked))
    gone, new = page[page.index("Holds no longer") :].split("Holds instead")
    assert "$9.00" in gone
    assert "$11.25" not in gone
    assert "$11.25" in new
    same = _text(staff.get("/staff/rates/compare/", asked | {"after": asked["before"]}))
    assert "Nothing is different" in same
    assert staff.get("/staff/rates/compare/", asked | {"after": "x:y"}).status_code == 404
    rows = _text(staff.get("/staff/rates/"))
    assert rows.index("2020-01-01") < rows.index("2023-01-01")
