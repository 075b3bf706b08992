"""Errors of meters and of the lines they hang on.

MeterError(meter_id)   theirs or the line: retried at the next poll           exit 4
  LinkDown             the line itself is gone: re-open it, then go on
  NoReply              nothing, or nothing that could be a reply, in time
  BadReply             something came, and it cannot be used                  exit 5
    BadFrame           fixed bytes, lengths or records disagree
      BadChecksum      the check over the bytes disagrees
    ApplicationError   the meter answered that it cannot or will not
"""

from __future__ import annotations

from domain.errors import HeadwaterError

MOST_EVIDENCE_BYTES = 1024
"""Of what came, this much is shown: the longest frame of any protocol fits twice."""


class MeterError(HeadwaterError):
    """A meter could not be read. `meter_id` is the meter that was asked, None where that is not known."""

    exit_code = 4

    def __init__(self, message: str, *, meter_id: str | None = None) -> None:
        self.meter_id = meter_id
        super().__init__(message)

    def as_json(self) -> dict[str, object]:
        """Return the error with the meter that was asked."""
        return {**super().as_json(), "meter_id": self.meter_id}


class LinkDown(MeterError):
    """The serial port or the TCP connection is gone; no meter on it can be read until it is re-opened."""


class NoReply(MeterError):
    """No reply in time. `seen` holds the bytes that came and were no reply: silence and noise need different cures."""

    def __init__(self, message: str, *, meter_id: str | None = None, seen: bytes = b"") -> None:
        self.seen = seen
        super().__init__(message, meter_id=meter_id)

    def as_json(self) -> dict[str, object]:
        """Return the error with the bytes that were seen."""
        return {**super().as_json(), "seen": self.seen[:MOST_EVIDENCE_BYTES].hex()}


class BadReply(MeterError):
    """A reply that cannot be used; no value of it is. `reply` is the evidence."""

    exit_code = 5

    def __init__(self, message: str, *, meter_id: str | None = None, reply: bytes = b"") -> None:
        self.reply = reply
        super().__init__(message, meter_id=meter_id)

    def as_json(self) -> dict[str, object]:
        """Return the error with the reply's bytes."""
        return {**super().as_json(), "reply": self.reply[:MOST_EVIDENCE_BYTES].hex()}


class BadFrame(BadReply):
    """Fixed bytes, lengths or records of a frame disagree: it was cut short, damaged, or is something else."""


class BadChecksum(BadFrame):
    """The check over a frame's bytes disagrees with the one that came with it."""


class ApplicationError(BadReply):
    """The meter answered in good form that it cannot or will not. `code` is its own number, `name` what it means."""

    def __init__(
        self, message: str, *, code: int | None, name: str, meter_id: str | None = None, reply: bytes = b""
    ) -> None:
        self.code, self.name = code, name
        super().__init__(message, meter_id=meter_id, reply=reply)

    def as_json(self) -> dict[str, object]:
        """Return the error with the meter's code and its meaning."""
        return {**super().as_json(), "code": self.code, "name": self.name}
