"""A bill in words: one language's view of its facts, which the web page and the PDF only lay out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.billing.documents import figures
from portal.billing.documents.chart import Bar, Tick, bars
from portal.billing.documents.dials import DialRow, dial_notes, dial_rows
from portal.billing.documents.lines import SectionWords, in_language, price_basis, sections
from portal.billing.documents.use import ComparedRow, PeriodRow, chart_text, compared, comparison_sentence, period_rows

if TYPE_CHECKING:
    from portal.billing.documents.facts import BillFacts, UtilityFacts

LANGUAGES = ("en", "es")


@dataclass(frozen=True, slots=True)
class Pair:
    """A name with its value; strong: a sum."""

    label: str
    value: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Banner:
    """Something that must be seen first; warning: beware of it."""

    text: str
    warning: bool


@dataclass(frozen=True, slots=True)
class BillWords:
    """All that a bill says, in one language; the fields stand in the order in which it says them."""

    language: str
    title: str
    heading: str
    utility: str
    banners: tuple[Banner, ...]
    mail_to: tuple[str, ...]
    facts: tuple[Pair, ...]
    due_label: str
    due_amount: str
    due_by_label: str
    due_by: str
    due_note: str
    balance: tuple[Pair, ...]
    sections: tuple[SectionWords, ...]
    charges_total: str
    price_basis: tuple[str, ...]
    used: str
    used_label: str
    chart_title: str
    chart_alt: str
    chart_unit: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    period_rows: tuple[PeriodRow, ...]
    compared: tuple[ComparedRow, ...]
    comparison: str
    dials: tuple[DialRow, ...]
    dial_notes: tuple[str, ...]
    budget: str
    ways_to_pay: tuple[Pair, ...]
    late_fee: str
    contact: tuple[Pair, ...]
    dispute: str
    stub: tuple[Pair, ...]
    remit_to: tuple[str, ...]
    labels: dict[str, str]


def words_of(facts: BillFacts, language: str) -> BillWords:
    """Return a bill in words; a language that bills are not written in becomes English."""
    language = language if language in LANGUAGES else "en"
    with translation.override(language):
        return _words(facts, language)


def _words(facts: BillFacts, language: str) -> BillWords:
    found, ticks = bars(facts)
    unit = facts.segments[0].unit if facts.segments else ""
    used = facts.periods[-1].units * Fraction(10) ** facts.segments[0].unit_scale if facts.periods else Fraction(0)
    utility = facts.utility
    return BillWords(
        language=language,
        title=_title(facts),
        heading=_heading(facts),
        utility=utility.name,
        banners=_banners(facts),
        mail_to=facts.mail_to or tuple(part for part in (facts.name, *facts.addresses[:1]) if part),
        facts=_facts(facts),
        **_due(facts),
        balance=_balance(facts),
        sections=sections(facts, language),
        charges_total=figures.money(facts.charges_cents),
        price_basis=price_basis(facts),
        used=f"{figures.amount(used)} {figures.symbol(unit)}" if facts.segments else "",
        used_label=_("Water used in this period"),
        chart_title=_("Your water use, period by period"),
        chart_alt=chart_text(facts),
        chart_unit=figures.unit_name(unit) if unit else "",
        bars=found,
        ticks=ticks,
        period_rows=period_rows(facts),
        compared=compared(facts),
        comparison=comparison_sentence(facts),
        dials=dial_rows(facts),
        dial_notes=dial_notes(facts),
        budget=_budget(facts),
        ways_to_pay=tuple(
            Pair(in_language(way.get("label", {}), language), in_language(way.get("detail", {}), language))
            for way in utility.ways_to_pay
        ),
        late_fee=_late_fee(facts),
        contact=contact_of(utility),
        dispute=in_language(utility.dispute, language),
        stub=_stub(facts),
        remit_to=(utility.name, *utility.postal_address) if utility.postal_address else (),
        labels=labels(language),
    )


@lru_cache(maxsize=8)
def labels(language: str) -> dict[str, str]:  # noqa: ARG001 - it is the language that is active; texts are kept by it
    """Return the fixed texts of a bill."""
    return {
        "summary": _("Summary"),
        "use": _("Your water use"),
        "charges": _("What makes up this bill"),
        "charge": _("Charge"),
        "how": _("How it is worked out"),
        "amount": _("Amount"),
        "subtotal": _("Subtotal"),
        "charges_total": _("Charges of this bill"),
        "period": _("Period"),
        "water_used": _("Water used"),
        "days": _("Days"),
        "per_day": _("Per day"),
        "remark": _("Remark"),
        "compared": _("Compared with earlier periods"),
        "dials": _("Readings of your meter"),
        "meter": _("Meter"),
        "from": _("First reading"),
        "to": _("Last reading"),
        "difference": _("Difference"),
        "pay": _("How to pay"),
        "way": _("Way to pay"),
        "detail": _("How it works"),
        "questions": _("Questions, or something looks wrong?"),
        "budget": _("Budget billing"),
        "stub": _("Return this part with your payment"),
        "enclosed": _("Amount enclosed"),
        "table_periods": _("Water used in the last periods"),
        "page": _("Page"),
        "of": _("of"),
        "chart_same": _("The same numbers stand in the table below."),
        "period_table": _("Show the numbers as a table"),
        "item": _("Item"),
    }


def _title(facts: BillFacts) -> str:
    if facts.number:
        return _("Water bill %(number)s") % {"number": facts.number}
    return _("Preview of a water bill")


def _heading(facts: BillFacts) -> str:
    return {"final": _("Final water bill"), "corrected": _("Corrected water bill")}.get(facts.kind, _("Water bill"))


def _banners(facts: BillFacts) -> tuple[Banner, ...]:
    found = []
    if facts.state in ("draft", "held"):
        found.append(Banner(_("Preview: this bill is not issued. Its amounts may still change."), warning=True))
    if facts.state == "cancelled":
        found.append(Banner(_("This bill was taken back. Do not pay it."), warning=True))
    if facts.replaces:
        text = _("This bill takes the place of bill %(number)s, which was taken back.") % {"number": facts.replaces}
        found.append(Banner(text, warning=False))
    if facts.kind == "final":
        found.append(Banner(_("This is your final bill: your account ends with this period."), warning=False))
    if facts.estimated:
        text = _(
            "This bill rests on an estimated reading. When your meter is read again, the difference is set right at "
            "the prices of the periods it belongs to."
        )
        found.append(Banner(text, warning=True))
    return tuple(found)


def _facts(facts: BillFacts) -> tuple[Pair, ...]:
    last = facts.period_end - timedelta(days=1)
    days = ngettext("%(days)s day", "%(days)s days", facts.days) % {"days": facts.days}
    pairs = [
        Pair(_("Account number"), facts.account_number),
        Pair(_("Service address"), "; ".join(facts.addresses)),
        Pair(_("Period"), f"{_span(facts.period_start, last)} ({days})"),
        Pair(_("Bill number"), facts.number),
        Pair(_("Bill date"), figures.day(facts.bill_date)),
    ]
    return tuple(pair for pair in pairs if pair.value)


def _span(first: date, last: date) -> str:
    return _("%(first)s to %(last)s") % {"first": figures.short_day(first), "last": figures.short_day(last)}


def _due(facts: BillFacts) -> dict[str, str]:
    if facts.due_cents > 0:
        earlier = facts.balance_before_cents
        note = _("Of this, %(amount)s is from earlier bills.") % {"amount": figures.money(earlier)}
        return {
            "due_label": _("Amount due"),
            "due_amount": figures.money(facts.due_cents),
            "due_by_label": _("Due by"),
            "due_by": figures.day(facts.due_date),
            "due_note": note if 0 < earlier < facts.due_cents else "",
        }
    credit = facts.due_cents < 0
    return {
        "due_label": _("Your credit") if credit else _("Amount due"),
        "due_amount": figures.money(abs(facts.due_cents)),
        "due_by_label": "",
        "due_by": "",
        "due_note": _("Nothing to pay: your credit goes toward your next bill.") if credit else _("Nothing to pay."),
    }


def _balance(facts: BillFacts) -> tuple[Pair, ...]:
    """Return how the amount due comes about, from the last bill on."""
    pairs = []
    if facts.previous_cents or facts.movements:
        pairs.append(Pair(_("Balance of your last bill"), figures.money(facts.previous_cents)))
    for moved in facts.movements:
        label = _("%(what)s, %(day)s") % {"what": _movement(moved.kind), "day": figures.short_day(moved.date)}
        pairs.append(Pair(label, figures.money(moved.amount_cents)))
    pairs.append(Pair(_("Balance before this bill"), figures.money(facts.balance_before_cents), strong=bool(pairs)))
    pairs.append(Pair(_("Charges of this bill"), figures.money(facts.charges_cents)))
    other = facts.due_cents - facts.balance_before_cents - facts.charges_cents
    if other:
        label = _("Budget billing: set aside until it is settled") if facts.budget else _("Set aside")
        pairs.append(Pair(label, figures.money(other)))
    label = _("Your credit") if facts.due_cents < 0 else _("Amount due")
    pairs.append(Pair(label, figures.money(facts.due_cents), strong=True))
    return tuple(pairs)


def _movement(kind: str) -> str:
    names = {
        "payment": _("Payment, thank you"),
        "bill": _("Bill"),
        "reversal": _("Taken back"),
        "adjustment": _("Adjustment"),
        "opening": _("Opening balance"),
        "late-fee": _("Late fee"),
        "fee": _("Fee"),
        "returned-payment": _("Returned payment"),
        "refund": _("Refund"),
        "deposit": _("Deposit"),
        "budget": _("Budget billing"),
        "write-off": _("Written off"),
    }
    return names.get(kind) or _("Other change")


def _budget(facts: BillFacts) -> str:
    plan = facts.budget
    if plan is None:
        return ""
    values = {
        "amount": figures.money(plan.amount_cents),
        "until": figures.day(plan.settle_on),
        "more": figures.money(abs(plan.deferred_cents)),
    }
    text = _("You pay %(amount)s a month until %(until)s, when the plan is settled.") % values
    if plan.deferred_cents > 0:
        return text + " " + _("So far you have used %(more)s more than you were asked to pay.") % values
    if plan.deferred_cents < 0:
        return text + " " + _("So far you were asked to pay %(more)s more than you have used.") % values
    return text


def _late_fee(facts: BillFacts) -> str:
    rule = facts.late_fee
    if rule is None or facts.due_cents <= 0:
        return ""
    values = {
        "due": figures.day(facts.due_date),
        "after": figures.day(facts.due_date + timedelta(days=max(0, rule.after_days - 1))),
        "percent": figures.amount(rule.percent),
        "minimum": figures.money(rule.minimum_cents),
        "threshold": figures.money(rule.threshold_cents),
    }
    if rule.minimum_cents:
        text = _("What is still unpaid after %(after)s costs a late fee of %(percent)s%%, at least %(minimum)s.")
    else:
        text = _("What is still unpaid after %(after)s costs a late fee of %(percent)s%%.")
    if rule.threshold_cents:
        text += " " + _("Who owes less than %(threshold)s pays none.")
    return text % values


def contact_of(utility: UtilityFacts) -> tuple[Pair, ...]:
    """Return how the utility is reached, in the language that is active."""
    pairs = [
        Pair(_("Call"), utility.contact_phone),
        Pair(_("Email"), utility.contact_email),
        Pair(_("Online"), utility.portal_url),
        Pair(_("Write"), ", ".join((utility.name, *utility.postal_address)) if utility.postal_address else ""),
    ]
    return tuple(pair for pair in pairs if pair.value)


def _stub(facts: BillFacts) -> tuple[Pair, ...]:
    """Return what is sent back with a check: only for a bill that stands, and where there is an address for it."""
    if facts.due_cents <= 0 or not facts.utility.postal_address or facts.state != "issued":
        return ()
    pairs = [
        Pair(_("Account number"), facts.account_number),
        Pair(_("Bill number"), facts.number),
        Pair(_("Due by"), figures.day(facts.due_date)),
        Pair(_("Amount due"), figures.money(facts.due_cents), strong=True),
    ]
    return tuple(pair for pair in pairs if pair.value)
