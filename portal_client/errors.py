"""What can go wrong between a client and the portal's HTTP API.

PortalError(status)      the portal cannot be reached, or answered what nobody expects
  NotAuthorised          the token is missing, expired or of another scope
  NotEnrolled            an enrolment was refused: code, proof or key
  Conflict               the request contradicts what the portal has, or makes no sense to it
"""

from __future__ import annotations

from domain.errors import HeadwaterError


class PortalError(HeadwaterError):
    """The portal could not be asked. `status` is the HTTP status, None when there was no answer."""

    exit_code = 8

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        self.status, self.code = status, code
        super().__init__(message)

    def as_json(self) -> dict[str, object]:
        """Return the error with the HTTP status and the portal's own code."""
        return {**super().as_json(), "status": self.status, "code": self.code}


class NotAuthorised(PortalError):
    """The portal does not know the token, or it may not do this."""

    permanent = True


class NotEnrolled(PortalError):
    """The portal refused the enrolment; the message says what to do."""

    permanent = True


class Conflict(PortalError):
    """The portal understood the request and cannot do it: nothing there, or it contradicts what is."""

    permanent = True
