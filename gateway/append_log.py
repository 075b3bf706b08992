"""The append log: a JSON line for every read, written after the store said that it is durable.

It is a record of its own for reconciliation, beside what the meters answered and what the portal holds. A kill between
the commit and the line is made good at the next start: the missing lines follow, marked `"late": true`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Protocol

from domain.errors import ResourceUnavailable
from domain.reading import StoredRead

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from domain.reading import StoredEvent

_TAIL_BYTES = 65_536
_CATCH_UP = 1000


class Items(Protocol):
    """The part of the store that the log looks back into (buffer.store.Store)."""

    @property
    def epoch(self) -> bytes:
        """The store's epoch."""
        ...

    def items_since(self, append_seq: int, *, limit: int) -> list[StoredRead | StoredEvent]:
        """Return stored items after a place."""
        ...


class AppendLog:
    """Lines appended to one file, each transaction's in one write.

    last    (epoch, append_seq) of the last whole line that was found, None for a new file.
    raises  ResourceUnavailable when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        existed = path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        except OSError as error:
            raise ResourceUnavailable(
                f"{path}: {error.strerror}. The gateway must be able to write its append log; correct append_log."
            ) from error
        self.last = self._repair_tail() if existed else None

    def _repair_tail(self) -> tuple[str, int]:
        """Cut off a line that was written in part; return (epoch, append_seq) of the last whole one."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            os.ftruncate(self._fd, size - len(tail) + whole)
        lines = tail[:whole].splitlines()
        if not lines:
            return "", 0
        last = json.loads(lines[-1])
        return str(last["epoch"]), int(last["append_seq"])

    def catch_up(self, store: Items) -> int:
        """Write the lines that a kill cut off; return how many. A new log starts with what comes next."""
        if self.last is None:
            return 0
        epoch, after = self.last
        if epoch not in ("", store.epoch.hex()):
            after = 0
        written = 0
        while items := store.items_since(after, limit=_CATCH_UP):
            reads = [item for item in items if isinstance(item, StoredRead)]
            self.write(store.epoch, reads, late=True)
            written += len(reads)
            after = items[-1].append_seq
        return written

    def write(self, epoch: bytes, reads: Sequence[StoredRead], *, late: bool = False) -> None:
        """Append a line for each read."""
        if not reads:
            return
        lines = []
        for stored in reads:
            read = stored.read
            line: dict[str, object] = {
                "meter": str(read.register.meter_id),
                "epoch": epoch.hex(),
                "append_seq": stored.append_seq,
                "register": str(read.register.register_id),
                "count": read.raw_count,
                "read_at": read.read_at.isoformat(),
            }
            lines.append(json.dumps({**line, "late": True} if late else line, separators=(",", ":")))
        os.write(self._fd, ("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
