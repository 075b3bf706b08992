"""Banners: what the office tells everybody who opens a page, and the late fees that wait meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.billing import fees
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.prepared import Prepared
from portal.core.services import audit, last_day, utility_zone
from portal.service.models import Banner

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.service.audience import Audience

TITLE_MAX, TEXT_MAX = 120, 1000


@dataclass(frozen=True, slots=True)
class BannerWords:
    """What a banner says and when; for the fields see Banner.

    hold_late_fees  whether the late fees of those whom it is for wait from its first to its last day.
    """

    kind: str
    title: dict[str, str]
    text: dict[str, str]
    starts_at: datetime
    ends_at: datetime | None = None
    link: str = ""
    link_text: dict[str, str] = field(default_factory=dict)
    link_from: datetime | None = None
    hold_late_fees: bool = False
    audience: Audience = field(default_factory=dict)


def banners(moment: datetime) -> list[Banner]:
    """Return what is shown at a moment: outages first, then what began last."""
    return sorted(SHOWN_AT(moment), key=lambda row: row.kind != Banner.Kind.OUTAGE)


SHOWN_AT: Prepared[Banner] = Prepared(
    lambda moment: Banner.objects.filter(
        Q(ends_at__isnull=True) | Q(ends_at__gt=moment), starts_at__lte=moment
    ).order_by("-starts_at", "-pk")
)


@transaction.atomic
def make_banner(words: BannerWords, *, actor: User | None = None, label: str = "") -> Banner:
    """Announce something from its day on; raises Refused naming the fault (`title`, `kind`, `ends`, `link`)."""
    _check(words)
    row = Banner(made_at=now(), made_by=actor)
    _write(row, words)
    _hold_fees(row, words, actor, label)
    audit("banner.made", actor=actor, label=label, target=row, detail=_facts(row))
    return row


@transaction.atomic
def change_banner(banner: Banner, words: BannerWords, *, actor: User | None = None, label: str = "") -> Banner:
    """Change a banner that is not over; raises Refused(`over`), or as make_banner does."""
    row = Banner.objects.select_for_update().get(pk=banner.pk)
    if row.ends_at is not None and row.ends_at <= now():
        raise Refused("over", _("This banner is over. Make a new one."))
    _check(words)
    before = _facts(row)
    _write(row, words)
    _hold_fees(row, words, actor, label)
    if _facts(row) != before:
        audit("banner.changed", actor=actor, label=label, target=row, detail={"before": before, "after": _facts(row)})
    return row


@transaction.atomic
def end_banner(banner: Banner, *, actor: User | None = None, label: str = "") -> Banner:
    """Take a banner off the pages now, or off the plan; its grace ends today. Doing it again changes nothing."""
    row, moment = Banner.objects.select_for_update().get(pk=banner.pk), now()
    if row.ends_at is not None and row.ends_at <= moment:
        return row
    planned, grace = row.starts_at > moment, row.grace
    row.ends_at = row.starts_at if planned else moment
    row.grace = None if planned else grace
    row.save(update_fields=["ends_at", "grace"])
    if grace is not None:
        fees.cancel_grace(grace, actor=actor, label=label)
    audit("banner.ended", actor=actor, label=label, target=row, detail={"was": "planned" if planned else "shown"})
    return row


def _check(words: BannerWords) -> None:
    if words.kind not in Banner.Kind.values:
        raise Refused("kind", _("Choose what the banner is about."))
    if not words.title.get("en", "").strip():
        raise Refused("title", _("Write a title in English; Spanish may follow."))
    if any(len(text) > TITLE_MAX for text in words.title.values()):
        raise Refused("title", _("Write a title of at most %d characters.") % TITLE_MAX)
    if any(len(text) > TEXT_MAX for text in words.text.values()):
        raise Refused("text", _("Write a text of at most %d characters.") % TEXT_MAX)
    if words.ends_at is not None and words.ends_at <= words.starts_at:
        raise Refused("ends", _("The end must lie after the beginning."))
    if words.link and not words.link.startswith(("https://", "http://")):
        raise Refused("link", _("Write the whole address, with https:// in front."))


def _write(row: Banner, words: BannerWords) -> None:
    row.kind, row.title, row.text = words.kind, words.title, words.text
    row.starts_at, row.ends_at = words.starts_at, words.ends_at
    row.audience = words.audience
    row.link, row.link_text, row.link_from = words.link, words.link_text, words.link_from


def _hold_fees(row: Banner, words: BannerWords, actor: User | None, label: str) -> None:
    """Let late fees wait as long as the banner says, or no longer."""
    standing = row.grace
    if standing is not None and standing.audience != row.audience:
        row.grace = None
        row.save()  # nobody is charged for days that were held for them: the grace before ends, another begins
        fees.cancel_grace(standing, actor=actor, label=label)
        standing = None
    if words.hold_late_fees:
        first = row.starts_at.astimezone(utility_zone()).date()
        last = None if row.ends_at is None else last_day(row.ends_at)
        if standing is None:
            row.grace = fees.plan_grace(
                reason=row.title["en"], start=first, end=last, audience=row.audience, actor=actor, label=label
            )
        else:
            fees.move_grace(standing, start=min(first, standing.start), end=last, actor=actor, label=label)
    row.grace = row.grace if words.hold_late_fees else None
    row.save()
    if standing is not None and not words.hold_late_fees:
        fees.cancel_grace(standing, actor=actor, label=label)


def _facts(row: Banner) -> dict[str, object]:
    """Return a banner as the audit log keeps it."""
    return {
        "kind": row.kind,
        "title": row.title,
        "text": row.text,
        "from": row.starts_at.astimezone(UTC).isoformat(),
        "until": row.ends_at and row.ends_at.astimezone(UTC).isoformat(),
        "link": row.link,
        "late_fees_held": row.grace is not None,
        **({"audience": row.audience} if row.audience else {}),
    }
