"""Which collector may speak for which meter, and the registers a collector brings: looked up once, then remembered.

The first collector that names a meter is the one that speaks for it, until staff move the meter. What another one says
of it is kept in its batches, counted in `Quarantined` and shown to nobody but staff. Routing is a function of the
stored batches and the assignments alone, so a rebuild gives the same result.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portal.metering.models import MeterAssignment, RegistryToken
from portal.metering.reads import to_us
from portal.metering.registers import meter_rows, rows_and_made

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from domain.reading import Register

Windows = tuple[tuple[int, int], ...]
_EVER_US, _NEVER_US = -(2**63), 2**63
_AT_ONCE = 500
_COLLECTORS_REMEMBERED, _REGISTERS_REMEMBERED = 2_000, 5_000


@dataclass(slots=True)
class Sight:
    """What is known of the meters that one collector names.

    meters     meter id to row id and windows: the spans [start, end) of microseconds in which the collector may speak
               for the meter; None for always.
    registers  each register's row id.
    table      the registers of the batch before, if the collector may always speak for all of them; rows: their ids.
               Decoding gives the very same table again and again, so that nothing of it has to be looked up.
    """

    token: bytes
    meters: dict[str, tuple[int, Windows | None]] = field(default_factory=dict)
    registers: dict[Register, int] = field(default_factory=dict)
    table: Sequence[Register] = ()
    rows: list[int] = field(default_factory=list)


_REMEMBERED: dict[int, Sight] = {}


def sight_of(
    collector: int,
    *,
    registers: Sequence[Register],
    meters: Collection[str] = (),
    token: bytes | None = None,
    seen_at: datetime,
) -> Sight:
    """Return what is known of these registers and meters; what nobody has seen before is made and assigned.

    collector  Collector's row id. token: its registry's as the transaction sees it, empty for none; None to look it up.
    """
    if token is None:
        # Before everything else: what is looked up after it is at least as new.
        found = RegistryToken.objects.filter(collector=collector).values_list("token", flat=True).first()
        token = bytes(found or b"")
    sight = _REMEMBERED.get(collector)
    if sight is None or sight.token != token:
        sight = Sight(token)
    if registers is sight.table and not meters:
        return sight
    new_registers = [register for register in registers if register not in sight.registers]
    new_meters = {register.meter_id for register in new_registers} | set(meters)
    new_meters -= sight.meters.keys()
    if new_registers or new_meters:
        sight = _looked_up(sight, collector, new_registers, new_meters, seen_at=seen_at)
        _remember(collector, sight)
    return sight


def renew_token(collector: int) -> bytes:
    """Make every process look up a collector's meters anew; the caller holds the collector's row."""
    token = secrets.token_bytes(16)
    RegistryToken.objects.update_or_create(collector_id=collector, defaults={"token": token})
    return token


def _remember(collector: int, sight: Sight) -> None:
    if len(_REMEMBERED) >= _COLLECTORS_REMEMBERED:
        _REMEMBERED.clear()
    if len(sight.registers) + len(sight.meters) <= 2 * _REGISTERS_REMEMBERED:
        _REMEMBERED[collector] = sight
    else:
        _REMEMBERED.pop(collector, None)


def _looked_up(
    sight: Sight, collector: int, registers: list[Register], meters: set[str], *, seen_at: datetime
) -> Sight:
    """Return the sight with more in it, under a new token when something was made for it.

    Another object: should the transaction be rolled back, the sight of before is what was committed.
    """
    rows = meter_rows(meters, seen_at=seen_at)
    windows, assigned = _windows(rows.values(), collector)
    seen = sight.meters | {meter_id: (row, windows[row]) for meter_id, row in rows.items()}
    foreign = {meter_id for meter_id, (_, spans) in seen.items() if spans is not None}
    found, made = rows_and_made(registers, seen_at=seen_at, foreign=foreign)
    token = renew_token(collector) if assigned or made or not sight.token else sight.token
    return Sight(token, seen, sight.registers | found)


def _windows(meters: Iterable[int], collector: int) -> tuple[dict[int, Windows | None], bool]:
    """Return the windows of each meter for a collector, and whether a meter was assigned for the first time."""
    wanted = sorted(meters)
    rows = _assignments(wanted)
    first_seen = [meter for meter in wanted if meter not in rows]
    if first_seen:
        made = [MeterAssignment(meter_id=meter, collector_id=collector) for meter in first_seen]
        MeterAssignment.objects.bulk_create(made, batch_size=_AT_ONCE, ignore_conflicts=True)
        rows |= _assignments(first_seen)
    return {meter: _windows_of(rows[meter], collector) for meter in wanted}, bool(first_seen)


_Span = tuple[int, int, int]
"""Collector's row id, start and end in microseconds."""


def _assignments(meters: list[int]) -> dict[int, list[_Span]]:
    found: dict[int, list[_Span]] = defaultdict(list)
    for place in range(0, len(meters), _AT_ONCE):
        rows = MeterAssignment.objects.filter(meter__in=meters[place : place + _AT_ONCE])
        for meter, collector, start, end in rows.values_list("meter_id", "collector_id", "start", "end"):
            start_us = _EVER_US if start is None else to_us(start)
            found[meter].append((collector, start_us, _NEVER_US if end is None else to_us(end)))
    return dict(found)


def _windows_of(spans: list[_Span], collector: int) -> Windows | None:
    """Return when a collector may speak for a meter; None for always."""
    if len(spans) == 1 and spans[0][0] == collector and spans[0][2] == _NEVER_US:
        return None
    own = [(start, end) for name, start, end in spans if name == collector]
    earliest = min(start for _, start, _ in spans)
    return tuple(sorted([(_EVER_US, earliest), *own] if earliest > _EVER_US else own))


def allowed(windows: Windows | None, at_us: int) -> bool:
    """Return whether a moment is one at which the collector may speak for the meter."""
    return windows is None or any(start <= at_us < end for start, end in windows)
