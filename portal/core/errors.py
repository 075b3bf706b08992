"""The portal's branch of the error tree.

PortalError                 exit 8
  Refused(code)             what was asked for is not allowed or not possible; the code is stable, for machines
  NotInitialised            `headwater portal init` has not run, or something of it is gone
  ReconciliationDifference  exit 9
"""

from __future__ import annotations

from domain.errors import HeadwaterError


class PortalError(HeadwaterError):
    """Something the portal refuses or cannot do."""

    permanent = True
    exit_code = 8


class Refused(PortalError):
    """A request that the rules refuse.

    code  a short stable word such as `code-expired`; it goes to API clients and the audit log.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)

    def as_json(self) -> dict[str, object]:
        """Return the error with its stable code."""
        return {**super().as_json(), "code": self.code}


class NotInitialised(PortalError):
    """The portal's state directory or database is not there yet."""

    exit_code = 3


class ReconciliationDifference(PortalError):
    """Two records that must agree do not."""

    exit_code = 9
