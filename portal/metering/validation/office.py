"""The office's own reads and its verdicts on stored ones: the only door to both. Every change is another version.

What a change bears on is rolled up again in the same transaction, so that roll-ups, charts and bills stay one source.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from domain.reading import ReadQuality
from domain.units import rollover_difference
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit, bump_change, utility_zone
from portal.metering.folding import roll_up_register
from portal.metering.models import Installation, MeterRegister, OfficeRead, ReadVerdict, RegisterState
from portal.metering.points import added_to, points_of
from portal.metering.reads import from_us, reads_of, to_us

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from domain.usage import CountPoint
    from portal.core.models import User

REASON_CHARS_MIN, REASON_CHARS_MAX = 4, 200
_QUALITIES = (ReadQuality.MEASURED, ReadQuality.ESTIMATED, ReadQuality.EDITED, ReadQuality.SUSPECT)


@transaction.atomic
def enter_read(
    register: MeterRegister,
    read_at: datetime,
    raw_count: int,
    *,
    source: OfficeRead.Source,
    quality: ReadQuality = ReadQuality.MEASURED,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    may_fall: bool = False,
    actor: User | None = None,
    label: str = "",
) -> OfficeRead:
    """Keep a read that no collector brought; entered again as it is, it is the same read.

    may_fall  take a count below the one before, or above the one after, all the same (it is judged later).
    raises    Refused: `count`, `future`, `not-installed`, `falls`, `conflict` when another count is there already.
    """
    _lock(register)
    if problem := problem_with(register, read_at, raw_count, may_fall=may_fall or quality == ReadQuality.SUSPECT):
        raise Refused(*problem)
    if quality not in _QUALITIES:
        raise Refused("quality", _("A read is measured, estimated, edited or suspect."))
    before = version_in_force(register, read_at)
    if before is not None and not before.withdrawn:
        if before.raw_count == raw_count and before.quality == quality:
            return before
        raise Refused("conflict", _("Another count is kept for this moment; edit that read instead."))
    row = OfficeRead.objects.create(
        register=register,
        read_at=read_at,
        raw_count=raw_count,
        quality=quality,
        source=source,
        reason=_reason(reason, needed=False),
        evidence=dict(evidence or {}),
        supersedes=before,
        entered_by=actor,
        entered_at=now(),
    )
    _changed(register, to_us(read_at), to_us(read_at))
    audit("read.enter", actor=actor, label=label, target=row, reason=row.reason, detail=_facts(row))
    return row


@transaction.atomic
def revise(
    read: OfficeRead,
    raw_count: int,
    *,
    reason: str,
    quality: ReadQuality = ReadQuality.EDITED,
    actor: User | None = None,
    label: str = "",
) -> OfficeRead:
    """Put another count in the place of an office read: its next version. raises Refused, see enter_read."""
    _lock(read.register)
    _in_force(read)
    if problem := problem_with(read.register, read.read_at, raw_count, may_fall=True):
        raise Refused(*problem)
    return _next_version(read, raw_count, quality, withdrawn=False, reason=reason, actor=actor, label=label)


@transaction.atomic
def withdraw(read: OfficeRead, *, reason: str, actor: User | None = None, label: str = "") -> OfficeRead:
    """Take an office read out of the usage; the state before it was entered comes back exactly.

    For an edit of a stored read the stored one counts again.
    """
    _lock(read.register)
    _in_force(read)
    row = _next_version(
        read, read.raw_count, ReadQuality(read.quality), withdrawn=True, reason=reason, actor=actor, label=label
    )
    if (edited := read.evidence.get("verdict")) is not None:
        take_back(ReadVerdict.objects.get(public_id=edited), reason=reason, actor=actor, label=label)
    return row


@transaction.atomic
def edit_stored(
    register: MeterRegister, read_us: int, raw_count: int, *, reason: str, actor: User | None = None, label: str = ""
) -> OfficeRead:
    """Put another count in the place of a stored read, which stays as it came and is kept out of the usage.

    raises  Refused: `no-read` when no read of that moment is stored, else see enter_read.
    """
    _lock(register)
    stored = [read for read in reads_of(register.pk, read_us, read_us) if read.quality != ReadQuality.MISSING]
    if not stored:
        raise Refused("no-read", _("No stored read of this moment was found."))
    verdict = decide(
        register, read_us, read_us, ReadVerdict.Verdict.EXCLUDED, rule="edit", reason=reason, actor=actor, label=label
    )
    return enter_read(
        register,
        from_us(read_us),
        raw_count,
        source=OfficeRead.Source.EDIT,
        quality=ReadQuality.EDITED,
        reason=_reason(reason),
        evidence={"verdict": verdict.public_id, "counts": [read.raw_count for read in stored]},
        may_fall=True,
        actor=actor,
        label=label,
    )


@transaction.atomic
def decide(
    register: MeterRegister,
    read_us: int,
    until_us: int | None,
    verdict: ReadVerdict.Verdict,
    *,
    rule: str = "",
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
    supersedes: ReadVerdict | None = None,
    actor: User | None = None,
    label: str = "",
) -> ReadVerdict:
    """Decide what becomes of the stored reads from read_us to until_us (None: and all that follow)."""
    _lock(register)
    if supersedes is not None:
        _still_in_force(supersedes)
    row = ReadVerdict.objects.create(
        register=register,
        read_us=read_us,
        until_us=until_us,
        verdict=verdict,
        rule=rule,
        reason=_reason(reason, needed=actor is not None),
        detail=dict(detail or {}),
        supersedes=supersedes,
        decided_by=actor,
        decided_at=now(),
    )
    low, high = read_us, until_us
    if supersedes is not None:
        low = min(low, supersedes.read_us)
        high = None if high is None or supersedes.until_us is None else max(high, supersedes.until_us)
    _changed(register, low, high)
    audit(
        "read.verdict",
        actor=actor,
        label=label or ("" if actor else "validation"),
        target=row,
        reason=row.reason,
        detail={"verdict": verdict, "rule": rule, "from_us": read_us, "until_us": until_us},
    )
    return row


def take_back(verdict: ReadVerdict, *, reason: str, actor: User | None = None, label: str = "") -> ReadVerdict:
    """Take a verdict back: what counted before it counts again."""
    return decide(
        verdict.register,
        verdict.read_us,
        verdict.until_us,
        ReadVerdict.Verdict.WITHDRAWN,
        rule=verdict.rule,
        reason=reason,
        supersedes=verdict,
        actor=actor,
        label=label,
    )


def version_in_force(register: MeterRegister, read_at: datetime) -> OfficeRead | None:
    """Return the newest version of the office read of a moment, withdrawn or not; None when there never was one."""
    return OfficeRead.objects.filter(register=register, read_at=read_at, superseded_by__isnull=True).first()


def versions(read: OfficeRead) -> list[OfficeRead]:
    """Return every version of an office read, the first one first."""
    rows = OfficeRead.objects.filter(register=read.register_id, read_at=read.read_at).select_related("entered_by")
    return list(rows.order_by("pk"))


def problem_with(
    register: MeterRegister, read_at: datetime, raw_count: int, *, may_fall: bool = False
) -> tuple[str, str] | None:
    """Return why a count cannot stand at a moment, as (code, sentence); None when it can."""
    if raw_count < 0 or (register.modulus is not None and raw_count >= register.modulus):
        return "count", _("The count is not one that this register can show.")
    if read_at > now():
        return "future", _("The read lies in the future.")
    installation = installation_at(register, read_at)
    if installation is None:
        return "not-installed", _("The meter was not installed anywhere at this moment.")
    before, after = neighbours(register, read_at, installation)
    for point in (before, after):
        if may_fall or point is None:
            continue
        earlier, later = (point.count, raw_count) if point is before else (raw_count, point.count)
        if rollover_difference(earlier, later, register.modulus) < 0:
            return "falls", _("The count falls: %(count)s was read at %(at)s.") % {
                "count": f"{point.count:,}",
                "at": date_format(point.at.astimezone(utility_zone()), pgettext("in a list", "Y-m-d g:i:s A")),
            }
    return None


def installation_at(register: MeterRegister, moment: datetime) -> Installation | None:
    """Return where a register's meter hung at a moment; its last moment there belongs to it."""
    rows = Installation.objects.filter(meter=register.meter_id, start__lte=moment).order_by("-start")
    row = rows.select_related("service_point").first()
    return row if row is not None and (row.end is None or moment <= row.end) else None


def neighbours(
    register: MeterRegister, moment: datetime, installation: Installation
) -> tuple[CountPoint | None, CountPoint | None]:
    """Return the raw points before and after a moment that count while the meter hangs where it does."""
    low_us = to_us(installation.start)
    high_us = to_us(installation.end or now() + timedelta(days=1))
    at_us = to_us(moment)
    points = points_of(register.pk, at_us, at_us, added_to([register.pk])[register.pk], low_us=low_us, high_us=high_us)
    earlier = [point for point in points if point.at < moment]
    later = [point for point in points if point.at > moment and point.quality != ReadQuality.ESTIMATED]
    return (earlier[-1] if earlier else None), (later[0] if later else None)


def _next_version(
    read: OfficeRead,
    raw_count: int,
    quality: ReadQuality,
    *,
    withdrawn: bool,
    reason: str,
    actor: User | None,
    label: str,
) -> OfficeRead:
    row = OfficeRead.objects.create(
        register=read.register,
        read_at=read.read_at,
        raw_count=raw_count,
        quality=quality,
        source=read.source,
        reason=_reason(reason),
        evidence=read.evidence,
        withdrawn=withdrawn,
        supersedes=read,
        entered_by=actor,
        entered_at=now(),
    )
    _changed(read.register, to_us(read.read_at), to_us(read.read_at))
    action = "read.withdraw" if withdrawn else "read.edit"
    audit(action, actor=actor, label=label, target=row, reason=row.reason, detail=_facts(row))
    return row


def _in_force(read: OfficeRead) -> None:
    if read.withdrawn or OfficeRead.objects.filter(supersedes=read).exists():
        raise Refused("superseded", _("Somebody has changed this read meanwhile; look at it again."))


def _still_in_force(verdict: ReadVerdict) -> None:
    if ReadVerdict.objects.filter(supersedes=verdict).exists():
        raise Refused("superseded", _("Somebody has decided about these reads meanwhile; look at them again."))


def _changed(register: MeterRegister, low_us: int, high_us: int | None) -> None:
    """Roll up again what a change between two moments bears on, and tell those who look at it."""
    if high_us is None:
        newest = RegisterState.objects.filter(register=register).values_list("last_read_at", flat=True).first()
        high_us = max(low_us, to_us(newest)) if newest is not None else low_us
    roll_up_register(register.pk, register.modulus, low_us, high_us, added_to([register.pk])[register.pk])
    bump_change()


def _lock(register: MeterRegister) -> None:
    """Let nobody else change this register's reads until the transaction ends."""
    MeterRegister.objects.select_for_update().get(pk=register.pk)


def _reason(text: str, *, needed: bool = True) -> str:
    reason = " ".join(text.split())[:REASON_CHARS_MAX]
    if needed and len(reason) < REASON_CHARS_MIN:
        raise Refused("reason", _("Please write why, in a few words that can be checked later."))
    return reason


def _facts(row: OfficeRead) -> dict[str, Any]:
    return {
        "meter": row.register.meter.meter_id,
        "register": row.register.register_id,
        "read_at": row.read_at.isoformat(),
        "count": row.raw_count,
        "quality": ReadQuality(row.quality).name.lower(),
        "source": row.source,
    }
