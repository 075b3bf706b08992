"""What can go wrong in the collector's main program itself; faults of meters, store and uplink have their own branches.

HeadwaterError
  GatewayNotRunning      a command that needs the running service found none
  AlreadyRunning         a second service on one data directory
  BadCommand             the portal asks for something that this version cannot make sense of
"""

from __future__ import annotations

from domain.errors import HeadwaterError, ResourceUnavailable


class GatewayNotRunning(ResourceUnavailable):
    """No service answers in the data directory."""


class AlreadyRunning(ResourceUnavailable):
    """Another service owns the data directory; the message names its process id."""


class BadCommand(HeadwaterError):
    """A verified command with a kind or body of no use here; its text goes back to the portal."""

    permanent = True
