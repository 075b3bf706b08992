"""What is kept about signing in, and for how long: a job of the worker."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib.sessions.models import Session

from portal.access.registration import prune
from portal.access.sign_ins import prune_sign_ins


def forget(moment: datetime) -> int:
    """Remove old tries, unconfirmed sign-ins, old history and expired sessions; return how many rows.

    moment  of the schedule. What expires here expires in real time: a demo's clock may run ahead of it.
    """
    expired, _rows = Session.objects.filter(expire_date__lt=datetime.now(UTC)).delete()
    return prune() + prune_sign_ins() + expired
