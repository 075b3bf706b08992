"""Errors of the API, a part of the portal's branch: each becomes {"error": code, "message": what to do}.

PortalError
  Refused(code)     from any service below; its status is in STATUS, 400 where it is not
  Unauthorised      401: no token, or none that is good for this
  NotFound          404: nothing there that this token may see
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS: Mapping[str, int] = {"unauthorised": 401, "code": 403, "proof": 403, "not-found": 404, "rate": 429}


class Unauthorised(Refused):
    """No good token."""

    def __init__(self) -> None:
        super().__init__(
            "unauthorised", "send `Authorization: Bearer TOKEN` with a token of this portal that has not expired"
        )


class NotFound(Refused):
    """Nothing there, or nothing that this token may see: the two are not told apart."""

    def __init__(self, what: str) -> None:
        super().__init__("not-found", f"there is no such {what} for this token; GET me lists what there is")
