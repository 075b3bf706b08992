"""How fast the bulk stream may go, and how fast it went."""

from __future__ import annotations

import math
from dataclasses import dataclass

SEGMENT_BYTES = 1_400
SEGMENT_HEADER_BYTES = 40
MESSAGE_BYTES = 100
"""What a message costs beside its payload: topic, MQTT and TLS headers, and the broker's word that it came."""
_SHORT_S = 60.0
_ACKS_MIN = 4


def wire_bytes(payload_bytes: int) -> int:
    """Return about what a payload costs on the line, with the headers of TLS, TCP and IP."""
    return payload_bytes + MESSAGE_BYTES + SEGMENT_HEADER_BYTES * (1 + payload_bytes // SEGMENT_BYTES)


@dataclass(slots=True)
class Pace:
    """Keeps the bulk stream under a number of bytes a second; what is urgent goes at once and is charged all the same.

    bytes_per_s_max  0 for as fast as the link is.
    """

    bytes_per_s_max: int
    _free_at_s: float = -math.inf

    def allows(self, now_s: float) -> bool:
        """Return whether a bulk message may go: what was sent before has been paid for."""
        return now_s >= self._free_at_s

    def charge(self, payload_bytes: int, now_s: float) -> None:
        """Note a publication. Time in which nothing was sent is not saved up."""
        if self.bytes_per_s_max:
            self._free_at_s = max(self._free_at_s, now_s) + wire_bytes(payload_bytes) / self.bytes_per_s_max


@dataclass(slots=True)
class Throughput:
    """What a busy link carried to the portal and had acknowledged, most of it in the last minutes; 0.0 until known."""

    bytes_per_s: float = 0.0
    _began_s: float | None = None
    _bytes: float = 0.0
    _acks: int = 0

    def began(self, now_s: float) -> None:
        """Note that a batch goes out; a busy time begins with the first one on its way."""
        if self._began_s is None:
            self._began_s, self._bytes, self._acks = now_s, 0.0, 0

    def acked(self, payload_bytes: int, now_s: float, *, more: bool) -> None:
        """Note an ack; `more` says whether other batches are on their way, so that the busy time goes on."""
        if self._began_s is None:
            return
        self._bytes, self._acks = self._bytes + wire_bytes(payload_bytes), self._acks + 1
        busy_s = now_s - self._began_s
        if self._acks >= _ACKS_MIN and busy_s > 0:
            self.bytes_per_s = self._bytes / busy_s
        if busy_s > _SHORT_S:
            self._began_s, self._bytes = now_s - busy_s / 2, self._bytes / 2
        if not more:
            self._began_s = None

    def restart(self) -> None:
        """The session ended; what was on its way says nothing of the link."""
        self._began_s = None
