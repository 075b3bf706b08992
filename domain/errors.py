"""The root of the error tree. Each package's errors.py grows one branch of it.

HeadwaterError(permanent)
  ConfigError            ours, permanent: the technician must act
  ResourceUnavailable    a port in use, a missing serial device: act, then start again
  MeterError             drivers/errors.py    theirs or the line: retried at the next poll
  StoreError             buffer/errors.py
  SyncError              sync/errors.py
  RatesError             rates/errors.py      a rate file, or a question put to it
  PortalError            portal_client/errors.py, portal/core/errors.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class HeadwaterError(Exception):
    """Something Headwater can name. The message says what to do next.

    permanent  True when a retry cannot help and a person must act.
    exit_code  what the `headwater` command exits with; the table is docs/reference/exit-codes.md.
    """

    permanent: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def as_json(self) -> dict[str, object]:
        """Return the error as the object that `--json` prints on standard error."""
        return {"error": type(self).__name__, "message": str(self), "permanent": self.permanent}


class ConfigError(HeadwaterError):
    """A configuration with faults; all of them are reported together."""

    permanent = True
    exit_code = 3

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))

    def as_json(self) -> dict[str, object]:
        """Return the error with its faults as a list."""
        return {**super().as_json(), "faults": list(self.faults)}


class ResourceUnavailable(HeadwaterError):
    """A port in use, a missing serial device, a directory that cannot be written."""

    exit_code = 10
