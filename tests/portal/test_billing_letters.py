"""A home that no email reaches learns by mail, once, of a sign-in that was linked to its account."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pikepdf
import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from portal.access.registration import link_account, unlink
from portal.billing import printing
from portal.billing.delivery import deliver_many
from portal.billing.documents.facts import freeze
from portal.billing.documents.letter import LetterFacts, LetterWords, words_of_letter
from portal.billing.models import BillingAccount, Letter, PrintBatch
from portal.billing.printing import print_run
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.notifications.bounces import mark_bad
from portal.notifications.models import Message
from tests.portal.bills import make_account, make_bill
from tests.portal.building import person

if TYPE_CHECKING:
    from portal.customers.models import Account

pytestmark = pytest.mark.django_db


def confirmed(email: str, name: str = "") -> User:
    user = person(email, name=name)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def words(account: Account) -> LetterWords:
    return words_of_letter(LetterFacts.from_json(Letter.objects.get(access__account=account).facts))


def read(letter: LetterWords) -> str:
    parts = [text for part in letter.parts for text in (part.title, *part.said)]
    return " ".join([letter.title, *letter.said, *parts, letter.why])


@pytest.mark.parametrize("paper", [True, False])
def test_the_first_sign_in_of_an_account_without_an_address_is_told_by_one_letter(paper: bool) -> None:
    UtilitySettings.objects.update_or_create(pk=1, defaults={"name": "City Water", "contact_phone": "555-0139"})
    account = make_account(address="12 Elm Street", paper=paper)
    mallory = confirmed("mallory@example.org", "CALL 555-6666 INSTEAD")
    link_account(mallory, account)
    link_account(mallory, account)
    BillingAccount.objects.filter(account=account).update(mail_to="Mallory\nPO Box 1", language="es")
    letter = words(account)
    assert letter.mail_to == ("Ana Morales", "12 Elm Street", "Norman, OK 73069")
    assert [(pair.label, pair.value) for pair in letter.contact][0] == ("Call", "555-0139")
    said = read(letter)
    assert "the water account of 12 Elm Street is theirs" in said
    assert "the bills come by email to m…y@example.org, not on paper" in said
    assert "choose paper under Bills" in said
    assert "If it was not you" in said
    assert "mallory@example.org" not in said
    assert "6666" not in said  # nobody writes to a home on the utility's paper
    assert not Message.objects.exists()
    [entry] = AuditEntry.objects.filter(action="account.letter")
    assert (entry.actor, entry.target_id) == (mallory, account.public_id)


def test_the_letter_is_in_the_language_of_the_account() -> None:
    account = make_account(language="es", paper=True)
    link_account(confirmed("ana@example.org"), account)
    letter = words(account)
    assert (letter.language, letter.title) == ("es", "Se vinculó un acceso a su cuenta de agua")
    assert "Desde ahora las facturas llegan por correo electrónico a a…a@example.org" in read(letter)


def test_whoever_is_told_by_email_gets_no_letter() -> None:
    of_record, held = make_account(email="ana@example.org", paper=True), make_account(paper=True)
    link_account(confirmed("mallory@example.org"), of_record)
    link_account(confirmed("ana.holds@example.org"), held)
    Letter.objects.all().delete()
    link_account(confirmed("ben@example.org"), held)
    assert set(Message.objects.values_list("to", flat=True)) == {"ana@example.org", "ana.holds@example.org"}
    assert not Letter.objects.exists()


def test_an_address_that_nobody_reads_or_has_confirmed_tells_nobody() -> None:
    """Email came back from one home; another's holder came over from the former portal and never signed in."""
    unread, never_in = make_account(email="gone@example.org"), person("ana@example.org")
    mark_bad("gone@example.org", "550 user unknown", label="tests")
    link_account(confirmed("mallory@example.org"), unread)
    assert "come by email to m…y@example.org" in read(words(unread))
    brought = make_account(user=never_in)
    link_account(confirmed("ben@example.org"), brought)
    assert "The bills come on paper, as before." in read(words(brought))
    at_record = make_account(user=never_in, email="ana@example.org")
    link_account(confirmed("cleo@example.org"), at_record)
    assert Message.objects.filter(to="ana@example.org", account=at_record).count() == 1


def test_a_letter_goes_once_with_the_paper_bills_printed_next_and_is_not_lost_when_that_fails(
    monkeypatch: pytest.MonkeyPatch, admin_client: Client
) -> None:
    told, billed, newcomer = make_account(paper=True), make_account(paper=True), confirmed("ana@example.org")
    link_account(newcomer, told)
    unlink(newcomer, told)  # whoever gives it up at once is told of all the same
    bill = make_bill(billed)
    freeze([bill])
    bill.save()
    deliver_many([bill])
    with monkeypatch.context() as broken:
        broken.setattr(printing, "write_private", _disk_full)
        with pytest.raises(OSError, match="no space"):
            print_run(None, label="tests")
    assert (PrintBatch.objects.count(), Letter.objects.get().print_batch) == (0, None)
    assert "waits for the printer" in admin_client.get("/staff/runs/").content.decode()
    page = admin_client.get(f"/staff/accounts/{told.public_id}/").content.decode()
    assert "letter about a new sign-in" in page
    assert ">waits<" in page

    [printed] = print_run(None, label="tests")
    rows = list(csv.DictReader(io.StringIO(printed.addresses.read_text(encoding="utf-8"))))
    assert [(row["bill"], row["account"], row["pages"]) for row in rows] == [
        (bill.number, billed.number, "2"),
        ("letter", told.number, "1"),
    ]
    assert [row["line1"] for row in rows] == ["Ana Morales", "Ana Morales"]
    with pikepdf.open(printed.pdf) as document:
        assert len(document.pages) == 3
    assert (printed.batch.bills, printed.batch.letters, printed.batch.sheets) == (1, 1, 2)
    content = printed.pdf.read_bytes()
    printed.pdf.unlink()
    [again] = print_run(None, label="tests")
    assert (again.pdf.read_bytes(), PrintBatch.objects.count()) == (content, 1)
    assert ">waits<" not in admin_client.get(f"/staff/accounts/{told.public_id}/").content.decode()
    assert "letters-wait" not in admin_client.get("/staff/runs/").content.decode()


def test_letters_are_printed_when_no_bill_is_each_on_its_own_sheet() -> None:
    for n, email in enumerate(("ana@example.org", "ben@example.org")):
        link_account(confirmed(email), make_account(paper=True, route="R1", stop=9 - n))
    [printed] = print_run(None, label="tests")
    rows = list(csv.DictReader(io.StringIO(printed.addresses.read_text(encoding="utf-8"))))
    assert [row["account"] for row in rows] == list(
        BillingAccount.objects.order_by("stop").values_list("account__number", flat=True)
    )
    with pikepdf.open(printed.pdf) as document:
        assert len(document.pages) == 3  # a blank back between them
    assert (printed.batch.letters, printed.batch.sheets) == (2, 2)


def _disk_full(*_args: object) -> None:
    raise OSError("no space left on device")
