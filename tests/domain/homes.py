"""A home's water use, told in litres a minute from a seed: still nights, busy mornings and evenings."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from domain.ids import MeterId, RegisterId
from domain.reading import Register
from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 3, 2, tzinfo=UTC)


def register(*, unit: Unit = Unit.LITRE, scale: int = 0, modulus: int | None = 10**8) -> Register:
    """Return a total register; whole litres unless told."""
    return Register(MeterId("TST-1"), RegisterId("total"), unit, scale, modulus)


def home_litres(days: int, *, seed: int) -> list[float]:
    """Return litres of each minute: events of a few minutes, most in the morning and evening, none from 0 to 5 h."""
    draw = random.Random(seed)
    minutes = [0.0] * (days * 1440)
    for day in range(days):
        for _ in range(draw.randint(25, 40)):
            hour = draw.choices((6, 7, 8, 12, 13, 18, 19, 20, 21, 22, 23), (4, 6, 4, 2, 2, 4, 5, 4, 4, 2, 1))[0]
            begin = day * 1440 + hour * 60 + draw.randrange(60)
            for minute in range(begin, min(begin + draw.randint(1, 8), len(minutes))):
                minutes[minute] += draw.uniform(1, 9)
    return minutes


def with_leak(minutes: list[float], *, from_h: float, hours: float, litres_per_h: float) -> list[float]:
    """Return the use with a constant leak on top."""
    first, last = round(from_h * 60), round((from_h + hours) * 60)
    return [use + (litres_per_h / 60 if first <= at < last else 0) for at, use in enumerate(minutes)]


def with_toilet(minutes: list[float], *, from_h: float, hours: float, litres_per_h: float, seed: int) -> list[float]:
    """Return the use with a flapper that lets the cistern refill 1.5 to 3 litres at a time."""
    draw, result, at = random.Random(seed), list(minutes), from_h * 60
    while at < (from_h + hours) * 60:
        filling = draw.uniform(1.5, 3)
        result[int(at)] += filling
        at += filling / litres_per_h * 60 * draw.uniform(0.8, 1.2)
    return result


def reads(
    minutes: list[float], *, every_min: int, litres_per_count: float = 1, start_count: int = 0, modulus: int = 10**8
) -> Iterator[tuple[datetime, int]]:
    """Yield (read_at, raw count) as a meter with that dial would answer."""
    total = 0.0
    for at, use in enumerate(minutes):
        if at % every_min == 0:
            yield START + timedelta(minutes=at), (start_count + int(total / litres_per_count + 1e-9)) % modulus
        total += use
