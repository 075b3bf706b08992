"""A small file beside the store that remembers how far it had come, so that a restored old image is noticed.

It is written after each seal has been committed and before its batch can be published. A store behind its witness was
put back from a copy: what it seals next must not reuse sequence numbers that are already out, so a new epoch begins.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Witness:
    """The newest epoch, its last sealed sequences (bulk, urgent) and the highest append_seq in a sealed batch."""

    epoch: bytes
    last_sequences: tuple[int, int]
    append_seq: int

    def save(self, path: Path) -> None:
        """Replace the file at once; a power cut leaves the old one or the new one. raises OSError when it cannot.

        On a full disk there is no room for a second file, so the first is written over where it lies: it is shorter
        than a sector, which a disk writes whole or not at all.
        """
        text = json.dumps(
            {"epoch": self.epoch.hex(), "sequences": list(self.last_sequences), "append_seq": self.append_seq}
        )
        half = path.with_name(path.name + ".part")
        try:
            with half.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            half.replace(path)
        except OSError:
            half.unlink(missing_ok=True)
            with path.open("r+", encoding="ascii") as file:
                file.write(text.ljust(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())


def load_witness(path: Path) -> Witness | None:
    """Return what the file says; None when it is absent or cannot be read (then it proves nothing)."""
    try:
        value = json.loads(path.read_text(encoding="ascii"))
        bulk, urgent = (int(sequence) for sequence in value["sequences"])
        epoch, append_seq = bytes.fromhex(value["epoch"]), int(value["append_seq"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Witness(epoch, (bulk, urgent), append_seq) if len(epoch) == 16 else None
