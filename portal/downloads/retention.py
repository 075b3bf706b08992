"""How long each class of data is kept, and the worker's job that takes away what is past its time.

The days stand here; a utility changes them in `retention.toml` in the portal's directory (`messages = 365`; 0: the
class is kept until somebody deletes it). Nothing here touches signed batches, reads, bills or the ledger: they are the
evidence of what was charged, and the office decides about them by itself.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy

from domain.errors import ConfigError
from portal.access.models import Invitation
from portal.access.sign_ins import KEPT as SIGN_INS_KEPT
from portal.core.models import ApiToken, AuditEntry
from portal.core.services import audit
from portal.downloads.leaving import FAREWELL
from portal.notifications.models import Message, ReceivedText

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.models import QuerySet
    from django_stubs_ext import StrPromise

FILE = "retention.toml"
_YEAR = 365


@dataclass(frozen=True, slots=True)
class Class:
    """One class of data.

    days    how long it is kept by default; 0: for as long as the office keeps it.
    old     the rows that are past their time, given the moment before which they are old; None: no job touches it.
    real    the rows' moments are of real time, not of the portal's clock.
    """

    name: str
    title: StrPromise
    why: StrPromise
    days: int
    old: Callable[[datetime], QuerySet[Any]] | None = None
    real: bool = False


def _messages(before: datetime) -> QuerySet[Message]:
    return Message.objects.filter(Q(sent_at__lt=before) | Q(failed_at__lt=before), queued_at__lt=before)


def _texts(before: datetime) -> QuerySet[ReceivedText]:
    return ReceivedText.objects.filter(received_at__lt=before)


def _alerts(before: datetime) -> QuerySet[Any]:
    return apps.get_model("alerts", "Alert").objects.filter(ended_at__lt=before)


def _invitations(before: datetime) -> QuerySet[Invitation]:
    return Invitation.objects.filter(Q(accepted_at__lt=before) | Q(revoked_at__lt=before) | Q(expires_at__lt=before))


def _tokens(before: datetime) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(Q(revoked_at__lt=before) | Q(expires_at__lt=before))


def _audit(before: datetime) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(at__lt=before)


CLASSES: tuple[Class, ...] = (
    Class(
        "reads",
        gettext_lazy("Readings of the meter"),
        gettext_lazy("They are what bills rest on: with them anyone can check what was charged."),
        0,
    ),
    Class("bills", gettext_lazy("Bills and payments"), gettext_lazy("The law asks for them, at least seven years."), 0),
    Class(
        "messages",
        gettext_lazy("Messages to you"),
        gettext_lazy("So that you and the office can see what was sent, and when."),
        2 * _YEAR,
        _messages,
    ),
    Class(
        "received-texts",
        gettext_lazy("Text messages from you"),
        gettext_lazy("They prove that you asked to get texts, or to get none."),
        2 * _YEAR,
        _texts,
    ),
    Class(
        "alerts",
        gettext_lazy("Alerts and your answers"),
        gettext_lazy("So that a leak can be compared with the bill, and an adjustment be asked for."),
        3 * _YEAR,
        _alerts,
    ),
    Class(
        "sign-ins",
        gettext_lazy("Sign-ins"),
        gettext_lazy("So that you can see whether somebody else got in."),
        SIGN_INS_KEPT.days,
    ),
    Class(
        "invitations",
        gettext_lazy("Invitations of guests"),
        gettext_lazy("So that the household can see who was let in, and by whom."),
        _YEAR,
        _invitations,
        real=True,
    ),
    Class(
        "api-tokens",
        gettext_lazy("Tokens that ended"),
        gettext_lazy("So that a misused one can be found."),
        90,
        _tokens,
        real=True,
    ),
    Class(
        "audit",
        gettext_lazy("The log of who changed or looked at what"),
        gettext_lazy("So that every change, and every look of staff at a customer's data, can be accounted for."),
        7 * _YEAR,
        _audit,
        real=True,
    ),
)


def kept_days() -> list[tuple[Class, int]]:
    """Return every class with its days in force; raises ConfigError for a file that does not say what it must."""
    chosen = _chosen()
    return [(one, chosen.get(one.name, one.days)) for one in CLASSES]


def _chosen() -> Mapping[str, int]:
    """Return the days that the utility chose, all faults of its file at once."""
    path = settings.PORTAL_DIR / FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    may_be = {one.name for one in CLASSES if one.old is not None}
    faults = [
        f"{name} = {value!r}   expected one of {', '.join(sorted(may_be))}, and 0 to 36500 days"
        for name, value in values.items()
        if name not in may_be or not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 36_500
    ]
    if faults:
        raise ConfigError(f"{path}:\n" + "\n".join(faults))
    return values


def forget_old(moment: datetime) -> dict[str, int]:
    """Delete what is past its time and return how many rows of each class; the worker does so once a day.

    Doing it twice does no harm. The log says how many of each class went, nothing of what they were.
    """
    gone: dict[str, int] = {}
    with transaction.atomic():
        for one, days in kept_days():
            if one.old is not None and days:
                clock = datetime.now(UTC) if one.real else moment
                deleted, _by_model = one.old(clock - timedelta(days=days)).delete()
                if deleted:
                    gone[one.name] = deleted
        if letters := _farewells():
            gone["farewell-addresses"] = letters
        if gone:
            audit("retention", label="worker", detail=gone)
    return gone


def _farewells() -> int:
    """Take the address out of last letters that are done with: it was the last place where it stood."""
    done = Message.objects.filter(key__startswith=FAREWELL).exclude(to="")
    return done.filter(Q(sent_at__isnull=False) | Q(failed_at__isnull=False)).update(to="", text="", html="")
