"""Meters and registers as the wire declares them: an unknown one is kept and waits to be claimed, never dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.fleet.models import Meter
from portal.metering.models import MeterRegister

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from domain.ids import MeterId
    from domain.reading import Register

_AT_ONCE = 500


def meters_for(meter_ids: Iterable[MeterId], *, seen_at: datetime) -> dict[str, Meter]:
    """Return the meters with these ids, made where they are seen for the first time."""
    wanted = sorted(set(meter_ids))
    found: dict[str, Meter] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        chunk = wanted[start : start + _AT_ONCE]
        found.update((meter.meter_id, meter) for meter in Meter.objects.filter(meter_id__in=chunk))
    for meter_id in wanted:
        if meter_id not in found:
            found[meter_id], _ = Meter.objects.get_or_create(meter_id=meter_id, defaults={"first_seen_at": seen_at})
    return found


def register_rows(registers: Iterable[Register], *, seen_at: datetime) -> dict[Register, int]:
    """Return the row id of every register, made (unclaimed) where it is seen for the first time.

    A new definition of a register that the office has claimed is claimed too when only its roll-over differs; with
    another unit or scale it waits, because it would show a resident a volume that is ten or a thousand times wrong.
    """
    wanted = sorted(set(registers), key=lambda r: (r.meter_id, r.register_id, r.unit.value, r.scale, r.modulus or 0))
    meters = meters_for((register.meter_id for register in wanted), seen_at=seen_at)
    known = _known(meters)
    result: dict[Register, int] = {}
    for register in wanted:
        row = known.get(_key(register))
        if row is None:
            row = _first_sight(meters[register.meter_id], register, known, seen_at)
        result[register] = row.pk
    return result


_Key = tuple[str, str, str, int, int]


def _key(register: Register) -> _Key:
    return register.meter_id, register.register_id, register.unit.value, register.scale, register.modulus or 0


def _known(meters: dict[str, Meter]) -> dict[_Key, MeterRegister]:
    known: dict[_Key, MeterRegister] = {}
    by_row = {meter.pk: meter_id for meter_id, meter in meters.items()}
    rows = list(by_row)
    for start in range(0, len(rows), _AT_ONCE):
        for row in MeterRegister.objects.filter(meter__in=rows[start : start + _AT_ONCE]):
            known[by_row[row.meter_id], row.register_id, row.unit, row.scale, row.modulus or 0] = row
    return known


def _first_sight(
    meter: Meter, register: Register, known: dict[_Key, MeterRegister], seen_at: datetime
) -> MeterRegister:
    like = [row for key, row in known.items() if key[:4] == _key(register)[:4] and row.claimed]
    row, _ = MeterRegister.objects.get_or_create(
        meter=meter,
        register_id=register.register_id,
        unit=register.unit.value,
        scale=register.scale,
        modulus=register.modulus,
        defaults={
            "claimed": bool(like),
            "in_usage": like[0].in_usage if like else not register.register_id.startswith("reverse"),
            "first_seen_at": seen_at,
        },
    )
    known[_key(register)] = row
    return row
