"""How often something may be asked: counted in the cache, for each home (address or /64) and for everybody together."""

from __future__ import annotations

import time

from django.core.cache import cache


def within(name: str, who: str, *, most: int, seconds: int, everybody: int | None = None) -> bool:
    """Count one more and tell whether it is still within the limits of the current span of `seconds`.

    who        from where it is asked; the empty text counts for everybody alone.
    everybody  the limit for all together; None: there is none.
    """
    fine = True
    for key, limit in _limits(name, who, most, everybody, seconds):
        cache.add(key, 0, timeout=seconds * 2)
        try:
            fine = cache.incr(key) <= limit and fine
        except ValueError:  # it ran out between the two
            continue
    return fine


def room_for(name: str, who: str, *, most: int, seconds: int, everybody: int | None = None) -> bool:
    """Tell whether `within` would still say yes, and count nothing: for what counts only when it is refused."""
    return all(cache.get(key, 0) < limit for key, limit in _limits(name, who, most, everybody, seconds))


def _limits(name: str, who: str, most: int, everybody: int | None, seconds: int) -> list[tuple[str, int]]:
    span = int(time.time()) // seconds
    limits = [(f"{name}:{span}:{who}", most)]
    return limits if everybody is None else [*limits, (f"{name}:{span}", everybody)]
