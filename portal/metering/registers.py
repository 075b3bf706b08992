"""Meters and registers as the wire declares them: an unknown one is kept and waits to be claimed, never dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.fleet.models import Meter
from portal.metering.models import MeterRegister

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from domain.reading import Register

_AT_ONCE = 500


def meter_rows(meter_ids: Iterable[str], *, seen_at: datetime) -> dict[str, int]:
    """Return the row ids of the meters with these ids, made where they are seen for the first time."""
    wanted = sorted(set(meter_ids))
    found = _known_meters(wanted)
    if unknown := [meter_id for meter_id in wanted if meter_id not in found]:
        # In the order of their ids: two processes that see the same ones wait for each other, in one direction.
        rows = [Meter(meter_id=meter_id, first_seen_at=seen_at) for meter_id in unknown]
        Meter.objects.bulk_create(rows, batch_size=_AT_ONCE, ignore_conflicts=True)
        found |= _known_meters(unknown)
    return found


def register_rows(registers: Iterable[Register], *, seen_at: datetime) -> dict[Register, int]:
    """Return the row id of every register, made (unclaimed) where it is seen for the first time.

    A new definition of a register that the office has claimed is claimed too when only its roll-over differs; with
    another unit or scale it waits, because it would show a resident a volume that is ten or a thousand times wrong.
    """
    return rows_and_made(registers, seen_at=seen_at)[0]


def rows_and_made(
    registers: Iterable[Register], *, seen_at: datetime, foreign: Collection[str] = frozenset()
) -> tuple[dict[Register, int], bool]:
    """Return what register_rows does, and whether one had to be made.

    foreign  meters whose new registers are claimed by nothing: who declares them may not speak for them.
    """
    wanted = set(registers)
    meter_ids = {register.meter_id for register in wanted}
    known, claimed = _known_registers(meter_ids)
    unknown = sorted((register for register in wanted if _key(register) not in known), key=_key)
    if unknown:
        for meter_id in foreign:
            claimed.pop(meter_id, None)
        _first_sight(unknown, claimed, seen_at=seen_at)
        known, _ = _known_registers(meter_ids)
    return {register: known[_key(register)] for register in wanted}, bool(unknown)


_Key = tuple[str, str, str, int, int]


def _key(register: Register) -> _Key:
    return register.meter_id, register.register_id, register.unit.value, register.scale, register.modulus or 0


def _known_meters(meter_ids: Collection[str]) -> dict[str, int]:
    wanted, known = list(meter_ids), dict[str, int]()
    for start in range(0, len(wanted), _AT_ONCE):
        rows = Meter.objects.filter(meter_id__in=wanted[start : start + _AT_ONCE])
        known.update(rows.values_list("meter_id", "pk"))
    return known


_Claimed = dict[str, dict[tuple[str, str, int], bool]]
"""By meter id: what the office has claimed (register id, unit, scale), and whether it is in the usage."""


def _known_registers(meter_ids: Collection[str]) -> tuple[dict[_Key, int], _Claimed]:
    """Return the row ids of the meters' registers, and what of them is claimed."""
    known: dict[_Key, int] = {}
    claimed: _Claimed = {}
    wanted = list(meter_ids)
    for start in range(0, len(wanted), _AT_ONCE):
        rows = MeterRegister.objects.filter(meter__meter_id__in=wanted[start : start + _AT_ONCE])
        columns = ("pk", "claimed", "in_usage", "meter__meter_id", "register_id", "unit", "scale", "modulus")
        for pk, is_claimed, in_usage, meter_id, register_id, unit, scale, modulus in rows.values_list(*columns):
            known[meter_id, register_id, unit, scale, modulus or 0] = pk
            if is_claimed:
                claimed.setdefault(meter_id, {}).setdefault((register_id, unit, scale), in_usage)
    return known, claimed


def _first_sight(registers: list[Register], claimed: _Claimed, *, seen_at: datetime) -> None:
    """Make the rows of registers that nobody has declared before; they come in the order of their keys."""
    meters = meter_rows((register.meter_id for register in registers), seen_at=seen_at)
    rows = []
    for register in registers:
        like = claimed.get(register.meter_id, {}).get((register.register_id, register.unit.value, register.scale))
        rows.append(
            MeterRegister(
                meter_id=meters[register.meter_id],
                register_id=register.register_id,
                unit=register.unit.value,
                scale=register.scale,
                modulus=register.modulus,
                claimed=like is not None,
                in_usage=not register.register_id.startswith("reverse") if like is None else like,
                first_seen_at=seen_at,
            )
        )
    MeterRegister.objects.bulk_create(rows, batch_size=_AT_ONCE, ignore_conflicts=True)
