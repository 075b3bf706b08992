"""Errors of metering, a part of the portal's branch.

PortalError
  Overlap               an installation or occupancy that would overlap another
  PackedReadsDamaged    a register day that does not unpack: rebuild it from the stored batches
"""

from __future__ import annotations

from portal.core.errors import PortalError, Refused


class Overlap(Refused):
    """A meter cannot hang in two places at once, nor two meters at one service point."""

    def __init__(self, message: str) -> None:
        super().__init__("overlap", message)


class PackedReadsDamaged(PortalError):
    """A packed register day is not what it must be; `headwater portal rebuild` makes it again."""
