"""Tells a customer what became of their request, in their own language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext as _

from portal.customers.permissions import Permission, may
from portal.notifications.notify import Category, Channel, Notice, notify, person_language

if TYPE_CHECKING:
    from portal.notifications.models import Message
    from portal.service.models import RequestStep, ServiceRequest


def tell(request: ServiceRequest, step: RequestStep) -> list[Message]:
    """Queue an email about a step to who asked, as long as they may still see the request."""
    person = request.asked_by
    if person is None or not may(person, Permission.MANAGE, request.account):
        return []
    with person_language(person):
        notice = Notice(
            key=f"request:{step.pk}",
            category=Category.SERVICE,
            subject=_("Your request is %(state)s") % {"state": step.get_state_display()},
            text=_text(request, step),
            sms="",
            account=request.account,
            link=reverse("resident:request", args=[request.public_id]),
        )
    return notify(person, notice, by=frozenset({Channel.EMAIL}))


def _text(request: ServiceRequest, step: RequestStep) -> str:
    facts = {
        "kind": request.get_kind_display(),
        "number": request.public_id,
        "state": step.get_state_display(),
    }
    parts = [_("Your request %(number)s (%(kind)s) is now: %(state)s.") % facts]
    if step.note:
        parts.append(_("The office writes: %s") % step.note)
    if step.state == request.State.RECEIVED:
        parts.append(_("You get an email whenever something happens with it."))
    return "\n\n".join(parts)
