"""What carries messages of one channel, and how it says no.

HeadwaterError
  NotTaken(permanent)   this message was not taken; away: nor will the others be for a while
  CarrierAway           nobody there, or nobody lets us in: no message is to blame
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from domain.errors import HeadwaterError

if TYPE_CHECKING:
    from portal.notifications.models import Message


class NotTaken(HeadwaterError):
    """A message that its server did not take.

    permanent  kept as for_good: no later try can help, somebody must correct an address, or call.
    away       the connection went with it: the messages behind it wait, untried.
    nobody     the server said in so many words that nobody has the address: no other message will arrive there.
    """

    def __init__(self, said: str, *, permanent: bool, away: bool = False, nobody: bool = False) -> None:
        self.for_good, self.away, self.nobody = permanent, away, nobody
        super().__init__(said)


class CarrierAway(HeadwaterError):
    """The server cannot be reached or refuses our sign-in: every message waits."""

    permanent = False


class Carrier(Protocol):
    """Carries messages of one channel while it is open. It never retries: the outbox does."""

    def open(self) -> None:
        """Connect; raises CarrierAway."""

    def carry(self, message: Message) -> str:
        """Hand one message over and return the provider's id of it, if it has any; raises NotTaken, CarrierAway."""

    def close(self) -> None:
        """Disconnect; never raises."""
