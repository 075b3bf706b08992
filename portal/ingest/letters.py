"""Dead letters: batches that were not taken, kept within bounds so that staff see why and can have them tried again.

One collector cannot fill the table or push out what others have there: it has so many rows and so many bytes, and its
oldest make room, those that carry no good signature first. Bytes are kept only where trying again can help.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.metering.models import RefusedBatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet

    from domain.ids import BatchId
    from portal.core.models import User

ROWS_MAX, ROWS_EACH_MAX = 10_000, 500
"""Dead letters that are remembered in all, and of one collector."""

BYTES_MAX, BYTES_EACH_MAX = 256 * 1024 * 1024, 16 * 1024 * 1024
"""Bytes of batches that are kept in all, and of one collector."""

KEPT = timedelta(days=90)
HOPELESS = frozenset({"topic", "oversized", "envelope", "signature", "algorithm"})
"""Reasons for which the very same bytes will never be taken, whatever staff put right: they are not kept."""

_DETAIL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """A batch that was not taken.

    batch_id  its identity when its signature was good; detail: what else is known, for staff.
    """

    data: bytes
    reason: str
    collector: str
    at: datetime
    batch_id: BatchId | None = None
    detail: str = ""


def record_refusal(refusal: Refusal) -> bool:
    """Write a refusal down as a dead letter; equal ones are counted and the table stays bounded. Returns True."""
    identity = refusal.batch_id
    collector = refusal.collector[:64].replace("\0", "")
    with transaction.atomic():
        row, made = RefusedBatch.objects.get_or_create(
            digest=hashlib.sha256(refusal.data).digest(),
            reason=refusal.reason[:40],
            topic_collector=collector,
            defaults={
                "detail": refusal.detail.replace("\0", "")[:_DETAIL_CHARS],
                "size_bytes": len(refusal.data),
                "first_at": refusal.at,
                "last_at": refusal.at,
                "epoch": None if identity is None else identity.epoch,
                "stream": None if identity is None else int(identity.stream),
                "sequence": None if identity is None else identity.sequence,
            },
        )
        if not made:
            RefusedBatch.objects.filter(pk=row.pk).update(times=F("times") + 1, last_at=refusal.at)
            return True
        _bound_rows(row)
        if refusal.reason not in HOPELESS and _make_room(row):
            RefusedBatch.objects.filter(pk=row.pk).update(signed=refusal.data)
    return True


def _bound_rows(row: RefusedBatch) -> None:
    """Let the oldest letters go, of this collector and of all."""
    RefusedBatch.objects.filter(pk__lte=row.pk - ROWS_MAX).delete()
    own = _least_worth_first(RefusedBatch.objects.filter(topic_collector=row.topic_collector).exclude(pk=row.pk))
    if (surplus := own.count() + 1 - ROWS_EACH_MAX) > 0:
        RefusedBatch.objects.filter(pk__in=list(own.values_list("pk", flat=True)[:surplus])).delete()


def _make_room(row: RefusedBatch) -> bool:
    """Let go of older bytes until those of a new letter fit; returns whether they do.

    Only the collector's own older letters make room, and no letter with a good signature does so for one without.
    """
    held = RefusedBatch.objects.filter(signed__isnull=False)
    own = held.filter(topic_collector=row.topic_collector)
    in_all, of_own = (rows.aggregate(sum=Sum("size_bytes"))["sum"] or 0 for rows in (held, own))
    missing = max(in_all + row.size_bytes - BYTES_MAX, of_own + row.size_bytes - BYTES_EACH_MAX)
    if row.epoch is None:
        own = own.filter(epoch__isnull=True)
    let_go = []
    for pk, size in _least_worth_first(own).values_list("pk", "size_bytes").iterator():
        if missing <= 0:
            break
        let_go.append(pk)
        missing -= size
    if missing > 0:
        return False
    if let_go:
        RefusedBatch.objects.filter(pk__in=let_go).update(signed=None, retry_asked_at=None)
    return True


def _least_worth_first(rows: QuerySet[RefusedBatch]) -> QuerySet[RefusedBatch]:
    """Order letters: those without an identity that can be trusted first, the oldest of each kind first."""
    return rows.annotate(known=Q(epoch__isnull=False)).order_by("known", "last_at", "pk")


class RefusalLimit:
    """Bounds how often refusals of one collector are written down, so that garbage costs no commit each.

    A bucket of `burst` for each collector that fills again with `per_s`; clock is monotonic, in seconds.
    """

    COLLECTORS_MAX = 4096

    def __init__(self, clock: Callable[[], float], *, burst: float = 20.0, per_s: float = 1.0) -> None:
        self._clock, self._burst, self._per_s = clock, burst, per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, collector: str) -> bool:
        """Take one from a collector's bucket; False when it is empty."""
        now_s = self._clock()
        level, at_s = self._buckets.pop(collector, (self._burst, now_s))
        level = min(self._burst, level + (now_s - at_s) * self._per_s)
        allowed = level >= 1.0
        self._buckets[collector] = (level - 1.0 if allowed else level, now_s)
        if len(self._buckets) > self.COLLECTORS_MAX:
            self._buckets.pop(next(iter(self._buckets)))  # the one that was heard of longest ago
        return allowed


def waiting_for_retry(limit: int = 8) -> list[RefusedBatch]:
    """Return letters that staff want tried again, the longest asked first."""
    return list(
        RefusedBatch.objects.filter(retry_asked_at__isnull=False, signed__isnull=False).order_by(
            "retry_asked_at", "pk"
        )[:limit]
    )


def taken(data: bytes, collector: str) -> None:
    """Forget whatever was written down against the bytes of a batch that has now been committed."""
    RefusedBatch.objects.filter(digest=hashlib.sha256(data).digest(), topic_collector=collector).delete()


@transaction.atomic
def refused_again(letter: int, refusal: Refusal | None, at: datetime) -> None:
    """Keep a letter that was tried again and not taken, under the reason of now."""
    row = RefusedBatch.objects.filter(pk=letter).first()
    if row is None:
        return
    if refusal is not None and refusal.reason != row.reason:
        row.delete()
        record_refusal(refusal)
        same = RefusedBatch.objects.filter(digest=row.digest, topic_collector=row.topic_collector)
        same.filter(reason=refusal.reason[:40]).update(first_at=row.first_at, retried_at=at)
        return
    RefusedBatch.objects.filter(pk=letter).update(retry_asked_at=None, retried_at=at)


def listed() -> QuerySet[RefusedBatch]:
    """Return the letters that staff see, the newest first; without their bytes."""
    rows = RefusedBatch.objects.filter(dismissed_at__isnull=True).defer("signed")
    return rows.annotate(kept=Q(signed__isnull=False)).order_by("-last_at", "-pk")


def reasons() -> list[tuple[str, int, int]]:
    """Return (reason, letters, letters whose bytes are kept) of what is listed, the most frequent first."""
    rows = RefusedBatch.objects.filter(dismissed_at__isnull=True).order_by()
    counted = rows.values_list("reason").annotate(n=Count("pk"), kept=Count("pk", filter=Q(signed__isnull=False)))
    return sorted(((reason, n, kept) for reason, n, kept in counted), key=lambda row: (-row[1], row[0]))


def collectors_with_letters() -> frozenset[str]:
    """Return the names under which something was refused."""
    return frozenset(RefusedBatch.objects.order_by().values_list("topic_collector", flat=True).distinct())


@transaction.atomic
def ask_retry(letter: int, *, actor: User) -> None:
    """Have one letter tried again; ingest does it within seconds. raises Refused when its bytes are not kept."""
    row = RefusedBatch.objects.select_for_update().filter(pk=letter, dismissed_at__isnull=True).first()
    if row is None:
        raise Refused("letter", _("This batch is not on the list any more."))
    if row.signed is None:
        raise Refused("letter", _("The bytes of this batch were not kept, so it cannot be tried again."))
    row.retry_asked_at = now()
    row.save(update_fields=["retry_asked_at"])
    audit("refused.retry", actor=actor, target=row, detail=_described(row))


@transaction.atomic
def ask_retry_all(reason: str, *, actor: User) -> int:
    """Have every letter with a reason tried again whose bytes are kept; return how many."""
    rows = RefusedBatch.objects.filter(reason=reason, signed__isnull=False, dismissed_at__isnull=True)
    asked = rows.update(retry_asked_at=now())
    audit("refused.retry-all", actor=actor, detail={"reason": reason, "batches": asked})
    return asked


@transaction.atomic
def dismiss(letter: int, *, actor: User) -> None:
    """Take one letter off the list and let its bytes go. A collector that still has the batch may send it again."""
    row = RefusedBatch.objects.select_for_update().filter(pk=letter, dismissed_at__isnull=True).first()
    if row is None:
        raise Refused("letter", _("This batch is not on the list any more."))
    row.dismissed_at, row.signed, row.retry_asked_at = now(), None, None
    row.save(update_fields=["dismissed_at", "signed", "retry_asked_at"])
    audit("refused.dismiss", actor=actor, target=row, detail=_described(row))


def _described(row: RefusedBatch) -> dict[str, object]:
    return {
        "reason": row.reason,
        "collector": row.topic_collector,
        "digest": bytes(row.digest).hex(),
        "bytes": row.size_bytes,
        **({"epoch": bytes(row.epoch).hex(), "stream": row.stream, "sequence": row.sequence} if row.epoch else {}),
    }


def prune_letters(moment: datetime) -> int:
    """Forget letters that were last seen long ago; return how many."""
    return RefusedBatch.objects.filter(last_at__lt=moment - KEPT).delete()[0]
