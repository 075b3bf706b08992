"""The portal's clock: the machine's, or the virtual one that all processes of a demo share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from django.conf import settings

from domain.clock import clock_from_spec

if TYPE_CHECKING:
    from datetime import datetime

    from domain.clock import Clock


@functools.lru_cache(maxsize=4)
def _clock(spec: str) -> Clock:
    return clock_from_spec(spec)


def clock() -> Clock:
    """Return the clock that the settings name."""
    return _clock(settings.HEADWATER_CLOCK)


def now() -> datetime:
    """Return the time that meters, usage and occupancies live in: an aware UTC datetime.

    Certificates, codes, tokens and sessions use the machine's own time instead: TLS does not run faster in a demo.
    """
    return clock().now()
