"""The street's own record of every reply: what was sent, when its last byte left, and whether it was damaged."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from firmware_sim.wire import Answer


class Journal:
    """Appends one JSON line per register that a reply carried to replies.jsonl, flushed line by line.

    The replies of one meter are numbered from 1; two registers of one reply share its number. Replies that carry no
    register (acknowledgements, identification) are not written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}

    def sent(self, answers: Iterable[Answer], at: datetime) -> None:
        """Record answers whose last byte has been written at a moment."""
        with self._lock:
            if self._file.closed:
                return
            for answer in answers:
                if not answer.counts:
                    continue
                number = self._numbers[answer.meter_id] = self._numbers.get(answer.meter_id, 0) + 1
                for register, count in answer.counts:
                    row = {
                        "meter": answer.meter_id,
                        "reply": number,
                        "register": register,
                        "count": count,
                        "at": at.isoformat(),
                        "damaged": answer.damaged,
                    }
                    if answer.fault:
                        row["fault"] = answer.fault
                    self._file.write(json.dumps(row) + "\n")

    @property
    def replies(self) -> int:
        """How many replies were written so far."""
        with self._lock:
            return sum(self._numbers.values())

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file.close()
