"""Writes calculated bills down as drafts: many at once, all rows of a bill in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from portal.billing.models import Bill, BilledDial, BillLine, BillSegment, Charge, WinterAverageOf
from portal.core.clock import now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from fractions import Fraction

    from portal.billing.calculation import BilledLine, CalculatedBill, Segment
    from portal.billing.models import BillRun

_ROWS = 1000


@transaction.atomic
def write_drafts(
    bills: Sequence[CalculatedBill],
    *,
    bill_date: date,
    due_dates: Mapping[int, date],
    run: BillRun | None = None,
    kind: str = Bill.Kind.REGULAR,
    replaces: Bill | None = None,
) -> list[Bill]:
    """Write bills down, held where something must be looked at first; return the rows in their order.

    due_dates  by account.
    raises  IntegrityError when an account has a living bill that starts on the same day.
    """
    moment = now()
    rows = [
        Bill(
            account_id=bill.account,
            run=run,
            kind=kind,
            period_start=bill.period.start,
            period_end=bill.period.end,
            bill_date=bill_date,
            due_date=due_dates[bill.account],
            replaces=replaces,
            calculated_at=moment,
            **_result(bill),
        )
        for bill in bills
    ]
    Bill.objects.bulk_create(rows, batch_size=_ROWS)
    write_parts(rows, bills)
    return rows


def _result(bill: CalculatedBill) -> dict[str, Any]:
    """Return the columns of a bill that its calculation gives."""
    return {
        "state": Bill.State.HELD if bill.held else Bill.State.DRAFT,
        "charges_cents": bill.charges_cents,
        "due_cents": bill.charges_cents,
        "estimated": bill.estimated,
        "findings": [finding.as_json() for finding in bill.findings],
    }


@transaction.atomic
def rewrite_draft(row: Bill, bill: CalculatedBill, *, bill_date: date, due_date: date) -> Bill:
    """Put another calculation in the place of a draft's; the row stays, with its public id."""
    row.segments.all().delete()
    row.lines.all().delete()
    for name, value in _result(bill).items():
        setattr(row, name, value)
    row.bill_date, row.due_date, row.calculated_at = bill_date, due_date, now()
    row.period_start, row.period_end = bill.period.start, bill.period.end
    row.save()
    write_parts([row], [bill])
    return row


def write_parts(rows: Sequence[Bill], bills: Sequence[CalculatedBill]) -> None:
    """Write segments, dials and lines of bills, and mark the charges that are on them."""
    segments = [_segment(row, segment) for row, bill in zip(rows, bills, strict=True) for segment in bill.segments]
    BillSegment.objects.bulk_create(segments, batch_size=_ROWS)
    dials, lines, charges, place = list[BilledDial](), list[BillLine](), list[tuple[int, BillLine]](), 0
    for row, bill in zip(rows, bills, strict=True):
        own = segments[place : place + len(bill.segments)]
        place += len(bill.segments)
        for written, segment in zip(own, bill.segments, strict=True):
            dials += _dials(written, segment)
        for position, line in enumerate(bill.lines):
            made = _line(row, position, line, None if line.segment is None else own[line.segment])
            lines.append(made)
            if line.charge is not None:
                charges.append((line.charge, made))
    BilledDial.objects.bulk_create(dials, batch_size=_ROWS)
    BillLine.objects.bulk_create(lines, batch_size=_ROWS)
    if charges:
        waiting = Charge.objects.in_bulk([charge for charge, _ in charges])
        for charge, written_line in charges:
            waiting[charge].line = written_line
        Charge.objects.bulk_update(waiting.values(), ["line"], batch_size=_ROWS)
    _keep_winters(rows, bills)


def _keep_winters(rows: Sequence[Bill], bills: Sequence[CalculatedBill]) -> None:
    WinterAverageOf.objects.bulk_create(
        [
            WinterAverageOf(
                account_id=row.account_id,
                service_point_id=winter.service_point,
                start=winter.start,
                units=str(winter.units),
                basis=list(winter.basis),
            )
            for row, bill in zip(rows, bills, strict=True)
            for winter in bill.new_winters
        ],
        ignore_conflicts=True,
    )


def _segment(row: Bill, segment: Segment) -> BillSegment:
    return BillSegment(
        bill=row,
        agreement_id=segment.agreement,
        rate_book_id=segment.rate_book,
        version=segment.version,
        start=segment.start,
        end=segment.end,
        days=segment.days,
        full_days=segment.full_days,
        units=segment.units,
        unit=segment.quantity.unit.value,
        unit_scale=segment.quantity.scale,
        remainder=str(segment.carried.litres),
        quality=int(segment.quality),
        inputs={
            name: value if isinstance(value, (str, int, bool)) else str(value) for name, value in segment.inputs.items()
        },
    )


def _dials(row: BillSegment, segment: Segment) -> list[BilledDial]:
    return [
        BilledDial(
            segment=row,
            register_id=dial.register,
            installation_id=dial.installation,
            start=dial.first.at,
            end=dial.last.at,
            first_count=dial.first.count,
            last_count=dial.last.count,
            first_shown=dial.first.shown,
            last_shown=dial.last.shown,
            first_quality=int(dial.first.quality),
            last_quality=int(dial.last.quality),
            first_interpolated=dial.first.interpolated,
            last_interpolated=dial.last.interpolated,
            first_us=list(dial.first.read_us),
            last_us=list(dial.last.read_us),
        )
        for dial in segment.dials
    ]


def _line(row: Bill, position: int, line: BilledLine, segment: BillSegment | None) -> BillLine:
    priced = line.line
    made = BillLine(
        bill=row,
        segment=segment,
        position=position,
        service=line.service,
        code=line.code,
        kind=line.kind,
        label=dict(line.label),
        amount_cents=line.amount_cents,
        detail=dict(line.detail),
    )
    if priced is not None:
        made.tier, made.days, made.full_days = priced.tier, priced.days, priced.full_days
        made.lower, made.upper = _text(priced.lower), _text(priced.upper)
        made.quantity, made.price, made.per = _text(priced.quantity), _text(priced.price), str(priced.per)
        made.version = priced.version
    return made


def _text(value: Fraction | None) -> str:
    return "" if value is None else str(value)
