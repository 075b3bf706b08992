"""Meters and registers as the wire declares them: an unknown one is kept and waits to be claimed, never dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.fleet.models import Meter
from portal.metering.models import MeterRegister

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
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
    wanted = set(registers)
    known = _known({register.meter_id for register in wanted})
    result = {register: row for register in wanted if (row := known.get(_key(register))) is not None}
    unknown = sorted(wanted - result.keys(), key=_key)
    meters = meters_for((register.meter_id for register in unknown), seen_at=seen_at)
    for register in unknown:
        result[register] = _first_sight(meters[register.meter_id], register, seen_at)
    return result


_Key = tuple[str, str, str, int, int]


def _key(register: Register) -> _Key:
    return register.meter_id, register.register_id, register.unit.value, register.scale, register.modulus or 0


def _known(meter_ids: Collection[MeterId]) -> dict[_Key, int]:
    known: dict[_Key, int] = {}
    wanted = list(meter_ids)
    for start in range(0, len(wanted), _AT_ONCE):
        rows = MeterRegister.objects.filter(meter__meter_id__in=wanted[start : start + _AT_ONCE])
        columns = ("pk", "meter__meter_id", "register_id", "unit", "scale", "modulus")
        for pk, meter_id, register_id, unit, scale, modulus in rows.values_list(*columns):
            known[meter_id, register_id, unit, scale, modulus or 0] = pk
    return known


def _first_sight(meter: Meter, register: Register, seen_at: datetime) -> int:
    like = MeterRegister.objects.filter(
        meter=meter, register_id=register.register_id, unit=register.unit.value, scale=register.scale, claimed=True
    ).first()
    row, _ = MeterRegister.objects.get_or_create(
        meter=meter,
        register_id=register.register_id,
        unit=register.unit.value,
        scale=register.scale,
        modulus=register.modulus,
        defaults={
            "claimed": like is not None,
            "in_usage": like.in_usage if like else not register.register_id.startswith("reverse"),
            "first_seen_at": seen_at,
        },
    )
    return row.pk
