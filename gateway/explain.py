"""What a meter's failure means: as a reason code for an event, and in the words of a technician on a ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.errors import BadReply, LinkDown, MeterError, NoReply
from gateway.schedule import spoken

if TYPE_CHECKING:
    from gateway.config import BusConfig

_SHOWN_BYTES = 24


def reason_of(error: Exception) -> str:
    """Return an error's class as a reason code: BadChecksum becomes `bad-checksum`."""
    name = type(error).__name__
    return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def explained(
    error: MeterError, address: str, *, bus: BusConfig, driver: str, attempts: int, took_s: float
) -> MeterError:
    """Return the same failure, its message now with what was seen, at which setting of the line, and what to try."""
    tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
    scan = f"Try: headwater gateway scan --bus {bus.name}"
    text = str(error)
    if isinstance(error, NoReply):
        noise = f": {_shown(error.seen)}. Check baud rate, parity and wiring." if error.seen else "."
        text = f"no reply in {spoken(took_s)}, {tries}; {len(error.seen)} bytes seen at {bus.line}{noise}  {scan}"
    elif isinstance(error, BadReply):
        seen = f"{len(error.reply)} bytes seen at {bus.line}{': ' + _shown(error.reply) if error.reply else ''}"
        text = (
            f"damaged or unusable reply, {tries}: {error}; {seen}.  "
            f"Check wiring, termination, and that no two meters have one address. {scan}"
        )
    if not isinstance(error, LinkDown):
        error.args = (f"meter {address} ({driver})  {text}",)
    return error


def _shown(data: bytes) -> str:
    return data[:_SHOWN_BYTES].hex(" ") + (" ..." if len(data) > _SHOWN_BYTES else "")
