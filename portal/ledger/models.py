"""The journal: entries of postings that balance, only ever added to; and the chart of accounts that they post to.

An amount is in cents, a debit positive and a credit negative. Triggers of the database refuse any change or removal of
a posted entry, and an entry whose postings do not sum to zero: see portal/ledger/triggers.py.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from portal.core.public_id import LENGTH, PublicIdModel
from portal.customers.models import Account


class LedgerAccount(models.Model):
    """One account of the chart: `1200` receivables, `4100` water revenue, ..."""

    class Kind(models.TextChoices):
        """Its side of the balance."""

        ASSET = "asset", _("asset")
        LIABILITY = "liability", _("liability")
        INCOME = "income", _("income")
        EXPENSE = "expense", _("expense")
        EQUITY = "equity", _("equity")

    code = models.CharField(_("code"), max_length=16, unique=True)
    name = models.CharField(_("name"), max_length=80)
    kind = models.CharField(max_length=10, choices=Kind.choices)

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


class Seal(models.Model):
    """The proof that one entry is whole: its postings balance. An entry without one cannot be committed.

    entry_public_id  the entry's; the entry refers to it by a constraint that is checked at commit, on both databases.
    The trigger of its insertion counts and sums the postings; afterwards no posting can be added to the entry.
    """

    entry_public_id = models.CharField(primary_key=True, max_length=LENGTH)

    def __str__(self) -> str:
        return self.entry_public_id


class JournalEntry(PublicIdModel):
    """One business event, once.

    key       unique reason for being: `bill:PUBLIC_ID`, `payment:REFERENCE`; a repeat finds the entry that stands.
    date      the utility's day that it counts for; posted_at: when it was written.
    reverses  the entry that it takes back; an entry is reversed once at most.
    seal      written last, in the same transaction; its id is the entry's own public id.
    """

    key = models.CharField(max_length=160, unique=True)
    kind = models.CharField(max_length=24)
    date = models.DateField(db_index=True)
    posted_at = models.DateTimeField()
    memo = models.CharField(max_length=200, blank=True, default="")
    reverses = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="reversed_by")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor_label = models.CharField(max_length=80, blank=True, default="")
    detail = models.JSONField(default=dict)
    seal = models.ForeignKey(Seal, on_delete=models.PROTECT, related_name="+", db_index=False)

    class Meta:
        verbose_name = _("journal entry")
        verbose_name_plural = _("journal entries")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="ledger_entry_own_seal", condition=Q(seal=F("public_id"))),
        ]

    def __str__(self) -> str:
        return f"{self.date} {self.key}"


class Posting(models.Model):
    """One leg of an entry.

    account   the customer's account, on receivables, deposits and the like; None elsewhere.
    due_on    of a receivable: the day from which it ages.
    """

    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="postings")
    ledger_account = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="postings")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="postings")
    amount_cents = models.BigIntegerField()
    service = models.CharField(max_length=40, blank=True, default="")
    due_on = models.DateField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="ledger_posting_account", fields=["account", "ledger_account"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="ledger_posting_not_zero", condition=~Q(amount_cents=0)),
        ]

    def __str__(self) -> str:
        return f"{self.ledger_account} {self.amount_cents}"
