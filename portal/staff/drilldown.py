"""From a line of a bill to the signed batches behind it: its segment, the dials at both ends, the reads, the batches.

Each batch is verified again from its stored bytes when the page is asked for, and the read is looked for inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from domain.ids import Stream
from domain.reading import ReadQuality
from portal.billing.models import BilledDial, BillSegment
from portal.ingest.verification import verify_stored
from portal.metering.models import Epoch, MeterRegister, OfficeRead, ReadVerdict
from portal.metering.provenance import batches_behind
from portal.metering.reads import from_us, reads_of
from portal.staff.listing import Cell, dial_text, when
from portal.staff.lists import QUALITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.ingest.verification import Verdict
    from portal.metering.models import StoredBatch
    from portal.metering.packed import KeptRead


@dataclass(frozen=True, slots=True)
class BatchFact:
    """One signed batch, verified now."""

    collector: str
    epoch: str
    stream: str
    sequence: str
    digest: str
    key_id: str
    key_state: Cell
    signature: Cell
    holds_read: Cell
    sealed: Cell
    received: Cell
    size: str


@dataclass(frozen=True, slots=True)
class ReadFact:
    """One read that a boundary rests on: from a collector with its batches, or from the office with who and why."""

    at: Cell
    dial: str
    quality: str
    source: str
    author: str = ""
    reason: str = ""
    entered: Cell | None = None
    evidence: tuple[tuple[str, str], ...] = ()
    verdict: str = ""
    batches: tuple[BatchFact, ...] = ()


@dataclass(frozen=True, slots=True)
class EndFact:
    """One end of a dial's time: what it showed, and the reads that say so."""

    title: str
    at: Cell
    dial: str
    count: str
    quality: str
    interpolated: bool
    reads: tuple[ReadFact, ...]


@dataclass(frozen=True, slots=True)
class DialFact:
    """One register of one meter in the segment."""

    meter: str
    register: str
    ends: tuple[EndFact, ...]
    counted: str


def dials_behind(segment: BillSegment) -> list[DialFact]:
    """Return the dials of a segment with everything behind them."""
    dials = BilledDial.objects.filter(segment=segment).select_related("register__meter", "installation")
    return [_dial(dial) for dial in dials.order_by("start", "pk")]


def _dial(dial: BilledDial) -> DialFact:
    register = dial.register
    counters = list(
        MeterRegister.objects.filter(
            meter=register.meter, register_id=register.register_id, unit=register.unit, scale=register.scale
        )
    )
    ends = (_end(dial, counters, first=True), _end(dial, counters, first=False))
    counted = dial.last_count - dial.first_count
    text = dial_text(counted, register)
    if register.scale:
        text = f"{text} ({_('counts')}: {counted:,})"
    return DialFact(register.meter.meter_id, register.register_id, ends, text)


def _end(dial: BilledDial, counters: Sequence[MeterRegister], *, first: bool) -> EndFact:
    read_us = dial.first_us if first else dial.last_us
    return EndFact(
        title=_("At the start") if first else _("At the end"),
        at=when(dial.start if first else dial.end),
        dial=dial_text(dial.first_shown if first else dial.last_shown, dial.register),
        count=f"{dial.first_count if first else dial.last_count:,}",
        quality=QUALITY[ReadQuality(dial.first_quality if first else dial.last_quality)](),
        interpolated=dial.first_interpolated if first else dial.last_interpolated,
        reads=tuple(fact for us in read_us for fact in _reads_at(dial, counters, int(us))),
    )


def _reads_at(dial: BilledDial, counters: Sequence[MeterRegister], read_us: int) -> list[ReadFact]:
    """Return what stands at a moment: an office read in force, collectors' reads, what a technician wrote down."""
    at = from_us(read_us)
    found = [_office(row) for row in _office_reads(counters, read_us)]
    for register in counters:
        found += [_stored(register, read) for read in reads_of(register.pk, read_us, read_us)]
    hung = dial.installation
    for moment, count in ((hung.start, hung.first_count), (hung.end, hung.last_count)):
        if moment == at and count is not None:
            text = _("written down when the meter was hung up or taken off")
            found.append(ReadFact(when(at), dial_text(count, dial.register), QUALITY[ReadQuality.MEASURED](), text))
    return found or [ReadFact(when(at), "\N{EN DASH}", QUALITY[ReadQuality.MISSING](), _("no longer stored"))]


def _office_reads(counters: Sequence[MeterRegister], read_us: int) -> list[OfficeRead]:
    rows = OfficeRead.objects.filter(
        register__in=counters, read_at=from_us(read_us), superseded_by__isnull=True, withdrawn=False
    )
    return list(rows.select_related("register", "entered_by", "supersedes"))


def _office(row: OfficeRead) -> ReadFact:
    evidence = tuple((str(key).replace("_", " "), str(value)) for key, value in sorted(row.evidence.items()))
    return ReadFact(
        at=when(row.read_at),
        dial=dial_text(row.raw_count, row.register),
        quality=QUALITY[ReadQuality(row.quality)](),
        source=str(row.get_source_display()),
        author=row.entered_by.get_full_name() if row.entered_by else _("a rule"),
        reason=row.reason,
        entered=when(row.entered_at),
        evidence=evidence,
    )


def _stored(register: MeterRegister, read: KeptRead) -> ReadFact:
    verdicts = ReadVerdict.objects.filter(
        register=register, read_us__lte=read.read_us, superseded_by__isnull=True
    ).select_related("decided_by")
    judged = [
        row
        for row in verdicts.order_by("-pk")
        if (row.until_us is None or row.until_us >= read.read_us) and row.verdict != ReadVerdict.Verdict.WITHDRAWN
    ]
    verdict = ""
    if judged:
        who = judged[0].decided_by.get_full_name() if judged[0].decided_by else judged[0].rule
        verdict = ", ".join(text for text in (str(judged[0].get_verdict_display()), who, judged[0].reason) if text)
    carried = [_batch(batch, read) for batch in batches_behind(register.pk, read.read_us)]
    # Ranges of the two streams may interleave: where one batch holds the read, the other only lies beside it.
    holding = [batch for batch in carried if batch.holds_read.tone == "good"]
    return ReadFact(
        at=when(from_us(read.read_us)),
        dial=dial_text(read.raw_count, register),
        quality=QUALITY[ReadQuality(read.quality)](),
        source=_("read by a collector"),
        verdict=verdict,
        batches=tuple(holding or carried),
    )


def _batch(stored: StoredBatch, read: KeptRead) -> BatchFact:
    verdict = verify_stored(stored)
    return BatchFact(
        collector=stored.epoch.collector.collector_id,
        epoch=bytes(stored.epoch.epoch).hex(),
        stream=_("urgent") if stored.stream == Stream.URGENT else _("bulk"),
        sequence=f"{stored.sequence:,}",
        digest=bytes(stored.batch_hash).hex(),
        key_id=verdict.key_id or "\N{EN DASH}",
        key_state=_key_state(verdict),
        signature=Cell(_("valid"), "good") if verdict.valid else Cell(_invalid(verdict.reason), "bad"),
        holds_read=_holds(verdict, stored.epoch, read),
        sealed=when(stored.sealed_at),
        received=when(stored.received_at),
        size=f"{len(bytes(stored.signed)):,}",
    )


def _key_state(verdict: Verdict) -> Cell:
    if verdict.key is None:
        return Cell(_("not enrolled"), "bad")
    if verdict.key.revoked_at is not None:
        return Cell(_("revoked since"), "warn")
    return Cell(_("retired since"), "warn") if verdict.key.valid_to is not None else Cell(_("in force"), "good")


def _invalid(reason: str) -> str:
    words = {
        "signature": _("invalid: it does not fit the bytes"),
        "unknown-key": _("cannot be checked: the key is not enrolled"),
        "algorithm": _("invalid: another algorithm than the key's"),
        "hash": _("invalid: not the bytes that were written down"),
        "identity": _("invalid: stored under another identity"),
        "envelope": _("invalid: not a signed message"),
    }
    return words.get(reason) or _("invalid: %(reason)s") % {"reason": reason}


def _holds(verdict: Verdict, epoch: Epoch, read: KeptRead) -> Cell:
    """Return whether the read stands in the batch, with this very count."""
    if verdict.batch is None:
        return Cell(_("cannot be looked for"), "bad")
    same = read.epoch == epoch.pk
    for stored in verdict.batch.reads:
        if stored.append_seq == read.append_seq and same and stored.read.raw_count == read.raw_count:
            return Cell(_("the read is in it"), "good")
    return Cell(_("the read is not in it"), "warn")
