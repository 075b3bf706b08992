"""Errors of the fleet, a part of the portal's branch.

PortalError
  EnrolmentRefused(code)   a code, key or request that does not enrol anybody
"""

from __future__ import annotations

from portal.core.errors import Refused


class EnrolmentRefused(Refused):
    """An enrolment that is refused; the collector has to start again, mostly with a new code."""
