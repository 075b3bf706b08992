"""What an account gets and on which terms, and how its bills reach it: every change with its day and who made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.billing.models import Bill, BillingAccount, ServiceAgreement
from portal.core.errors import Refused
from portal.core.services import audit
from rates.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account, ServicePoint
    from rates.book import Book

LANGUAGES = ("en", "es")
_MAIL_TO_CHARS_MAX = 400


@dataclass(frozen=True, slots=True)
class Terms:
    """What prices depend on: the class, its inputs, and the services (none named: all that the class has)."""

    rate_class: str
    inputs: Mapping[str, Any]
    services: tuple[str, ...] = ()

    @classmethod
    def of(cls, agreement: ServiceAgreement) -> Terms:
        """Return the terms of an agreement."""
        return cls(agreement.rate_class, dict(agreement.inputs), tuple(agreement.services))

    def as_json(self) -> dict[str, Any]:
        """Return them for the audit log."""
        return {"rate_class": self.rate_class, "inputs": dict(self.inputs), "services": list(self.services)}


def check_terms(terms: Terms, on: date, book: Book | None) -> None:
    """Refuse terms that a book has no price for on a day; without a book anything goes.

    raises Refused(`class`, `service`, `input`).
    """
    if book is None:
        return
    classes = book.classes(on)
    if terms.rate_class not in classes:
        shown = {"name": terms.rate_class, "known": ", ".join(classes)}
        raise Refused("class", _("There is no rate class “%(name)s”; choose one of: %(known)s.") % shown)
    try:
        has = book.services(terms.rate_class, on)
        inputs = book.inputs(terms.rate_class, on)
    except InputError as error:
        raise Refused("input", str(error)) from error
    for service in terms.services:
        if service not in has:
            shown = {"name": service, "known": ", ".join(has)}
            raise Refused("service", _("The class has no service “%(name)s”; it has: %(known)s.") % shown)
    for spec in inputs:
        value = terms.inputs.get(spec.name)
        if value is not None and spec.values and str(value) not in spec.values:
            shown = {"name": spec.name, "value": str(value), "known": ", ".join(spec.values)}
            raise Refused("input", _("%(name)s cannot be “%(value)s”; choose one of: %(known)s.") % shown)


@transaction.atomic
def start_agreement(
    account: Account,
    service_point: ServicePoint,
    terms: Terms,
    on: date,
    *,
    book: Book | None = None,
    actor: User | None = None,
    label: str = "",
) -> ServiceAgreement:
    """Start an agreement; raises Refused(`overlap`) when the service point has one on that day or later."""
    check_terms(terms, on, book)
    standing = ServiceAgreement.objects.filter(service_point=service_point).filter(Q(end__isnull=True) | Q(end__gt=on))
    if standing.exists():
        raise Refused("overlap", _("The service point has an agreement then; end that one first."))
    made = _made(account, service_point, terms, on, None)
    audit("agreement.start", actor=actor, label=label, target=made, detail=_told(made, terms))
    return made


@transaction.atomic
def change_agreement(
    agreement: ServiceAgreement,
    terms: Terms,
    on: date,
    *,
    reason: str,
    book: Book | None = None,
    actor: User | None = None,
    label: str = "",
) -> tuple[ServiceAgreement, Sequence[Bill]]:
    """Give an agreement other terms from a day on; return the one that holds then, and the bills made before it did.

    One ends and the next starts on that day. From its own first day on it is corrected in place: the audit log has what
    it was, issued bills keep what they were made of. Bills that the change touches stay as they are until somebody
    cancels them.
    raises Refused(`reason`, `day`, `same`) and what check_terms raises.
    """
    reason = " ".join(reason.split())[:200]
    if not reason:
        raise Refused("reason", _("Say why."))
    agreement = ServiceAgreement.objects.select_for_update().select_related("account").get(pk=agreement.pk)
    if on < agreement.start or (agreement.end is not None and on >= agreement.end):
        last = "…" if agreement.end is None else (agreement.end - timedelta(days=1)).isoformat()
        shown = {"start": agreement.start.isoformat(), "end": last}
        raise Refused("day", _("The agreement holds from %(start)s to %(end)s; choose a day in it.") % shown)
    before = Terms.of(agreement)
    if before == terms:
        raise Refused("same", _("These are the terms that hold already."))
    check_terms(terms, on, book)
    if on == agreement.start:
        changed = agreement
        changed.rate_class, changed.inputs, changed.services = terms.rate_class, dict(terms.inputs), [*terms.services]
        changed.save(update_fields=["rate_class", "inputs", "services"])
    else:
        end = agreement.end
        ServiceAgreement.objects.filter(pk=agreement.pk).update(end=on)
        changed = _made(agreement.account, agreement.service_point, terms, on, end)
    detail = {**_told(changed, terms), "from": before.as_json(), "before": agreement.public_id}
    audit("agreement.change", actor=actor, label=label, target=changed, reason=reason, detail=detail)
    touched = Bill.objects.filter(account=agreement.account, period_end__gt=on).exclude(state=Bill.State.CANCELLED)
    return changed, list(touched.order_by("period_end"))


@transaction.atomic
def end_agreement(
    agreement: ServiceAgreement, on: date, *, actor: User | None = None, label: str = ""
) -> ServiceAgreement:
    """End an open agreement on a day, which is not billed any more; raises Refused(`day`)."""
    changed = ServiceAgreement.objects.filter(pk=agreement.pk, end__isnull=True, start__lt=on).update(end=on)
    if not changed:
        raise Refused("day", _("The agreement has ended already, or starts after that day."))
    agreement.refresh_from_db()
    audit("agreement.end", actor=actor, label=label, target=agreement, detail={"on": on.isoformat()})
    return agreement


@transaction.atomic
def set_delivery(
    account: Account,
    *,
    email: str,
    paper: bool,
    language: str,
    mail_to: str,
    actor: User | None = None,
    label: str = "",
) -> BillingAccount:
    """Choose how an account's bills reach it: by email, or on paper when asked for.

    raises Refused(`email`, `mail`, `language`, `not-billed`).
    """
    email, mail_to = email.strip(), "\n".join(line.strip() for line in mail_to.strip().splitlines() if line.strip())
    row = BillingAccount.objects.select_for_update().filter(account=account).first()
    if row is None:
        raise Refused("not-billed", _("This account is not billed."))
    if language not in LANGUAGES:
        raise Refused("language", _("Choose a language."))
    if email:
        try:
            validate_email(email)
        except ValidationError:
            raise Refused("email", _("This is no email address.")) from None
    if not paper and not email:
        raise Refused("email", _("A bill by email needs an email address; else choose paper."))
    if paper and not mail_to or len(mail_to) > _MAIL_TO_CHARS_MAX:
        raise Refused("mail", _("A bill on paper needs a mailing address of at most 400 characters."))
    before = {"email": row.email, "paper": row.paper, "language": row.language, "mail_to": row.mail_to}
    after = {"email": email, "paper": paper, "language": language, "mail_to": mail_to}
    if before != after:
        row.email, row.paper, row.language, row.mail_to = email, paper, language, mail_to
        row.save(update_fields=["email", "paper", "language", "mail_to"])
        private = ("email", "mail_to")  # the log says that an address changed, not which it is
        changed = {
            key: "changed" if key in private else [before[key], after[key]]
            for key in after
            if before[key] != after[key]
        }
        audit("account.delivery", actor=actor, label=label, target=account, detail=changed)
    return row


def _made(
    account: Account, service_point: ServicePoint, terms: Terms, start: date, end: date | None
) -> ServiceAgreement:
    return ServiceAgreement.objects.create(
        account=account,
        service_point=service_point,
        rate_class=terms.rate_class,
        services=list(terms.services),
        inputs=dict(terms.inputs),
        start=start,
        end=end,
    )


def _told(agreement: ServiceAgreement, terms: Terms) -> dict[str, Any]:
    return {"account": agreement.account.public_id, "on": agreement.start.isoformat(), **terms.as_json()}
