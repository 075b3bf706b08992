"""What is held about a person in service requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy

from portal.core.personal_data import PersonalData
from portal.service.models import RequestStep, ServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User


def _requests(user: User) -> Iterator[dict[str, object]]:
    rows = ServiceRequest.objects.filter(asked_by=user).select_related("account").prefetch_related("steps")
    for row in rows.order_by("pk"):
        yield {
            "number": row.public_id,
            "account": row.account.number,
            "kind": row.kind,
            "direction": row.direction,
            "details": row.details,
            "wished_on": row.wished_on,
            "phone": row.phone,
            "repaired_on": row.repaired_on,
            "evidence": row.evidence,
            "made_at": row.made_at,
            "steps": [f"{step.at.isoformat()} {step.state} {step.note}".strip() for step in row.steps.all()],
        }


def _erase_requests(user: User) -> int:
    """Empty what the person wrote in requests that are closed; what is open stays until the office has answered it."""
    RequestStep.objects.filter(by=user).update(by=None)
    rows = ServiceRequest.objects.filter(asked_by=user)
    rows.exclude(state__in=ServiceRequest.OPEN).update(details="", phone="", evidence="")
    return rows.update(asked_by=None)


REQUESTS = PersonalData(
    "service-requests",
    _requests,
    _erase_requests,
    gettext_lazy("That something was asked for an account, and what became of it, stays with the account."),
)
