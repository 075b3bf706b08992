"""How often something may be asked: counted in the cache, for each home (address or /64) and for everybody together."""

from __future__ import annotations

import time

from django.core.cache import cache


def within(name: str, who: str, *, most: int, everybody: int, seconds: int) -> bool:
    """Count one more and tell whether it is still within the limits of the current span of `seconds`.

    who  from where it is asked; the empty text counts for everybody alone.
    """
    span = int(time.time()) // seconds
    fine = True
    for key, limit in ((f"{name}:{span}:{who}", most), (f"{name}:{span}", everybody)):
        cache.add(key, 0, timeout=seconds * 2)
        try:
            fine = cache.incr(key) <= limit and fine
        except ValueError:  # it ran out between the two
            continue
    return fine
