"""What staff do about a finding: accept, leave reads out, correct one, estimate, send somebody; each with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.metering.models import MeterRegister, OfficeRead, ReadFinding, ReadVerdict
from portal.metering.reads import from_us
from portal.metering.validation import office
from portal.metering.validation.estimating import write_estimate

if TYPE_CHECKING:
    from datetime import datetime

    from portal.core.models import User

Resolution = ReadFinding.Resolution


@transaction.atomic
def accept(finding: ReadFinding, *, reason: str, actor: User) -> ReadFinding:
    """Find it right as it is: reads that screening kept out or marked count again, as measured."""
    row = _open(finding)
    verdict = _verdict_of(row)
    if verdict is not None:
        _judge_anew(verdict, ReadVerdict.Verdict.ACCEPTED, reason, actor)
    return _resolved(row, Resolution.ACCEPTED, reason, actor)


@transaction.atomic
def exclude(
    finding: ReadFinding,
    *,
    reason: str,
    actor: User,
    register: MeterRegister | None = None,
    read_us: int | None = None,
    until_us: int | None = None,
) -> ReadFinding:
    """Leave reads out of the usage, until_us None: all that follow too. Without read_us: those that screening found."""
    row = _open(finding)
    verdict = _verdict_of(row)
    if read_us is not None:
        if until_us is not None and until_us < read_us:
            raise Refused("span", _("The last read to leave out lies before the first one."))
        office.decide(
            _register(row, register), read_us, until_us, ReadVerdict.Verdict.EXCLUDED, rule=row.rule, reason=reason,
            actor=actor,
        )  # fmt: skip
    elif verdict is None:
        raise Refused("read", _("Choose the reads to leave out."))
    elif verdict.verdict != ReadVerdict.Verdict.EXCLUDED:
        _judge_anew(verdict, ReadVerdict.Verdict.EXCLUDED, reason, actor)
    return _resolved(row, Resolution.EXCLUDED, reason, actor)


@transaction.atomic
def edit(
    finding: ReadFinding,
    *,
    read_us: int,
    raw_count: int,
    reason: str,
    actor: User,
    register: MeterRegister | None = None,
) -> ReadFinding:
    """Put another count in the place of a read, stored or of the office."""
    row = _open(finding)
    own = _register(row, register)
    standing = office.version_in_force(own, from_us(read_us))
    if standing is not None and not standing.withdrawn:
        office.revise(standing, raw_count, reason=reason, actor=actor)
    else:
        office.edit_stored(own, read_us, raw_count, reason=reason, actor=actor)
    return _resolved(row, Resolution.EDITED, reason, actor)


@transaction.atomic
def estimate(
    finding: ReadFinding, at: datetime, *, reason: str, actor: User, register: MeterRegister | None = None
) -> OfficeRead:
    """Estimate the count at a moment from the place's own profile."""
    row = _open(finding)
    made = write_estimate(_register(row, register), at, reason=reason, actor=actor)
    _resolved(row, Resolution.ESTIMATED, reason, actor)
    return made


@transaction.atomic
def order_visit(finding: ReadFinding, *, reason: str, actor: User) -> ReadFinding:
    """Send somebody to look; the finding stays open, and a bill held, until the answer is in."""
    row = _open(finding)
    note = _checked(reason)
    row.visit_ordered_at = now()
    row.save(update_fields=["visit_ordered_at"])
    audit("finding.visit", actor=actor, target=row, reason=note, detail={"rule": row.rule})
    return row


def registers_of(finding: ReadFinding) -> list[MeterRegister]:
    """Return the registers that a finding may be about, its own first."""
    if finding.register is not None:
        return [finding.register]
    hung = finding.service_point.installations.filter(start__lt=finding.end)
    hung = hung.filter(Q(end__isnull=True) | Q(end__gt=finding.start))
    meters = [row.meter_id for row in hung.order_by("-start")]
    rows = MeterRegister.objects.filter(meter__in=meters, claimed=True, in_usage=True).select_related("meter")
    return sorted(rows, key=lambda row: (meters.index(row.meter_id), row.pk))


def _open(finding: ReadFinding) -> ReadFinding:
    row = ReadFinding.objects.select_for_update().get(pk=finding.pk)
    if row.resolved_at is not None:
        raise Refused("resolved", _("Somebody has resolved this meanwhile."))
    return row


def _verdict_of(finding: ReadFinding) -> ReadVerdict | None:
    """Return the verdict in force that screening made with a finding."""
    name = finding.detail.get("verdict")
    if name is None:
        return None
    return ReadVerdict.objects.filter(public_id=name, superseded_by__isnull=True).first()


def _register(finding: ReadFinding, register: MeterRegister | None) -> MeterRegister:
    known = registers_of(finding)
    if register is None and known:
        return known[0]
    if register is None or register not in known:
        raise Refused("register", _("This register is none of the place's."))
    return register


def _checked(reason: str) -> str:
    text = " ".join(reason.split())[: office.REASON_CHARS_MAX]
    if len(text) < office.REASON_CHARS_MIN:
        raise Refused("reason", _("Please write why, in a few words that can be checked later."))
    return text


def _judge_anew(verdict: ReadVerdict, judged: ReadVerdict.Verdict, reason: str, actor: User) -> None:
    """Put another verdict on the same reads in the place of one."""
    office.decide(
        verdict.register,
        verdict.read_us,
        verdict.until_us,
        judged,
        rule=verdict.rule,
        reason=reason,
        supersedes=verdict,
        actor=actor,
    )


def _resolved(row: ReadFinding, resolution: ReadFinding.Resolution, reason: str, actor: User) -> ReadFinding:
    row.reason = _checked(reason)
    row.resolution, row.resolved_at, row.resolved_by = resolution, now(), actor
    row.save(update_fields=["reason", "resolution", "resolved_at", "resolved_by"])
    audit(
        "finding.resolve",
        actor=actor,
        target=row,
        reason=row.reason,
        detail={"rule": row.rule, "resolution": str(resolution)},
    )
    return row
