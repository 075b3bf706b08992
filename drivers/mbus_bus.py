"""The M-Bus master's side of one exchange: a request out, the one frame that answers it in (EN 13757-2).

The reader finds a frame among echo, stray bytes and noise, knows its length from the L field, and gives up when the
meter's time is over, never later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.errors import BadFrame, NoReply
from drivers.mbus_frame import ACK, LONG_START, SHORT_START, long_frame, parse_frame, short_frame

if TYPE_CHECKING:
    from drivers.base import Deadline, Link

# A meter answers within 330 bit times plus 50 ms (EN 13757-2, 5.7.3.1): 30 characters of 11 bits.
ANSWER_CHARS, ANSWER_S = 30, 0.05
# What USB adapters, level converters and schedulers add; a silent meter costs it, an answering one does not.
ADAPTER_S = 0.15
# Behind a TCP converter the line is invisible: take the usual speed, 2400 Bd 8E1.
UNSEEN_CHAR_TIME_S = 11 / 2400
LONGEST_REPLY_CHARS = 261
_PRIMARY_DIRECTION = 0x40  # set in the C field of every frame from a master: our own echo


class FrameReader:
    """Finds the reply in the bytes that arrive. No I/O: `feed` it, `take` from it, ask how many bytes it `needs`.

    ack   whether an E5 is the reply that is waited for; otherwise a long frame is.
    seen  every byte so far. `damage` is the first thing that looked like a reply and was none.
    """

    def __init__(self, *, ack: bool) -> None:
        self.ack = ack
        self.seen = bytearray()
        self.damage: BadFrame | None = None
        self.needs = 1 if ack else 4
        self._position = 0

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and is not whole yet."""
        return self._position < len(self.seen)

    def feed(self, data: bytes) -> None:
        """Add bytes from the line."""
        self.seen += data

    def take(self) -> bytes | None:
        """Return the reply when it is whole, else None; `needs` then says how many bytes are missing."""
        while self._position < len(self.seen):
            start = self.seen[self._position]
            if start == ACK and self.ack:
                self._position += 1
                return bytes((ACK,))
            length = self._candidate_length(start)
            missing = length - (len(self.seen) - self._position)
            if missing > 0:
                self.needs = missing
                return None
            frame = bytes(self.seen[self._position : self._position + length])
            if length == 1 or not self._is_sound(frame):
                self._position += 1
                continue
            self._position += length
            if frame[0] == LONG_START and not frame[4] & _PRIMARY_DIRECTION:
                return frame
        self.needs = 1 if self.ack else 4
        return None

    def finish(self) -> bytes | None:
        """Return a reply that stands behind a false start; call it when no more bytes come."""
        while self._position < len(self.seen):
            if self.seen[self._position] == LONG_START and self.damage is None:
                came = len(self.seen) - self._position
                self.damage = BadFrame(f"the reply was cut short after {came} bytes", reply=bytes(self.seen))
            self._position += 1
            if (frame := self.take()) is not None:
                return frame
        return None

    def _candidate_length(self, start: int) -> int:
        """Return the length of the frame that may start here as far as its bytes tell, 1 when none can."""
        if start == SHORT_START:
            return 5
        if start != LONG_START:
            return 1
        head = self.seen[self._position : self._position + 4]
        if len(head) > 1 and head[1] < 3:
            return 1
        if (len(head) > 2 and head[2] != head[1]) or (len(head) > 3 and head[3] != LONG_START):
            return 1
        return head[1] + 6 if len(head) == 4 else 4

    def _is_sound(self, frame: bytes) -> bool:
        try:
            parse_frame(frame)
        except BadFrame as error:
            if frame[0] == LONG_START and self.damage is None:
                self.damage = error
            return False
        return True


class BusMaster:
    """Exchanges on one link under one deadline."""

    def __init__(self, link: Link, deadline: Deadline, *, adapter_s: float = ADAPTER_S) -> None:
        self.link, self.deadline, self.adapter_s = link, deadline, adapter_s
        self.char_time_s = link.char_time_s or UNSEEN_CHAR_TIME_S

    def acknowledged(self, request: bytes) -> bool:
        """Send a request that is answered by E5; return whether it was. Damage is no acknowledgement."""
        return self.exchange(request, FrameReader(ack=True)) is not None

    def request(self, request: bytes) -> bytes:
        """Send a request that is answered by a long frame and return that frame.

        raises  NoReply when nothing that looks like a frame came, BadFrame or BadChecksum when a damaged one did.
        """
        reader = FrameReader(ack=False)
        frame = self.exchange(request, reader)
        if frame is not None:
            return frame
        if reader.damage is not None:
            raise reader.damage
        seen = bytes(reader.seen)
        noise = f"{len(seen)} bytes seen that are no reply: {seen[:16].hex(' ')}" if seen else "0 bytes seen"
        raise NoReply(f"no reply within {self.answer_time_s(len(request)):.2f} s, {noise}", seen=seen)

    def select(self, identification: bytes) -> bool:
        """Select meters by secondary address (8 bytes, F and FF are wildcards); return whether any acknowledged."""
        return self.acknowledged(long_frame(0x53, 253, 0x52, identification))

    def reset(self, address: int) -> bool:
        """Send SND_NKE: the next REQ_UD2 is a new question, not a repetition. Return whether it was acknowledged."""
        return self.acknowledged(short_frame(0x40, address))

    def answer_time_s(self, request_chars: int) -> float:
        """Return how long after `send` the first byte of a reply may come."""
        return (request_chars + ANSWER_CHARS) * self.char_time_s + ANSWER_S + self.adapter_s

    def exchange(self, request: bytes, reader: FrameReader) -> bytes | None:
        """Send a request and return the reply that `reader` finds, None when the meter's time is over."""
        self.link.discard_input()
        self.link.send(request)
        head_s = self.answer_time_s(len(request)) + 4 * self.char_time_s
        head = self.deadline.within(head_s)
        # However a babbling line goes on, it does not go on longer than the longest reply.
        end = self.deadline.within(head_s + 1.2 * LONGEST_REPLY_CHARS * self.char_time_s + self.adapter_s)
        while True:
            until = head
            if reader.in_frame:
                until = end.within(1.2 * reader.needs * self.char_time_s + self.adapter_s)
                until = until if until.remaining_s() > head.remaining_s() else head
            wanted = reader.needs
            received = self.link.receive(wanted, until)
            reader.feed(received)
            if (frame := reader.take()) is not None:
                return frame
            if len(received) < wanted:
                return reader.finish()
