"""The simulator's branch of the error tree.

HeadwaterError
  SimError               a simulated street that cannot do what it was asked
    NoStreet             no street answers at the control socket
    UnknownMeter         the street has no such meter
  ConfigError            domain.errors: options that contradict each other, a usage folder without a usable home
  ResourceUnavailable    domain.errors: SpeedTooHigh, a directory or socket that cannot be made
"""

from __future__ import annotations

from domain.errors import HeadwaterError, ResourceUnavailable


class SimError(HeadwaterError):
    """A simulated street that cannot do what it was asked."""

    permanent = True


class NoStreet(SimError):
    """Nobody answers at a street's control socket."""

    exit_code = 10


class UnknownMeter(SimError):
    """The street has no meter of that id."""

    exit_code = 2


class SpeedTooHigh(ResourceUnavailable):
    """A clock faster than this machine can serve the lines; `highest` is the fastest that holds."""

    permanent = True

    def __init__(self, message: str, *, highest: int) -> None:
        super().__init__(message)
        self.highest = highest

    def as_json(self) -> dict[str, object]:
        """Return the error with the highest speed that holds."""
        return {**super().as_json(), "highest_speed": self.highest}
