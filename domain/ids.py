"""Identifiers, checked when they are made: whoever holds one holds a good one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

PARTITIONS = 16


class _CheckedText(str):
    """A string of one allowed shape; anything else is a ValueError that says what was expected."""

    __slots__ = ()
    pattern: re.Pattern[str]
    expected: str

    def __new__(cls, text: str) -> _CheckedText:
        if not cls.pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {cls.expected}")
        return super().__new__(cls, text)


class CollectorId(_CheckedText):
    """A collector's name: also its MQTT client id and its certificate's common name."""

    __slots__ = ()
    pattern = re.compile(r"[a-z0-9-]{3,32}")
    expected = "a collector id (3 to 32 of a-z, 0-9 and -)"

    @property
    def partition(self) -> int:  # type: ignore[override]  # str.partition() is not for ids
        """The ingest partition, 0 to 15, spread evenly over the ids."""
        return hashlib.sha256(self.encode()).digest()[0] % PARTITIONS


class MeterId(_CheckedText):
    """A meter's identity as it states it itself, or as the office wrote it down at commissioning."""

    __slots__ = ()
    pattern = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
    expected = "a meter id (1 to 40 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit)"


class RegisterId(_CheckedText):
    """One counter inside a meter: `total`, `reverse_total`, `total_low`."""

    __slots__ = ()
    pattern = re.compile(r"[a-z][a-z0-9_]{0,31}")
    expected = "a register id (1 to 32 of a-z, 0-9 and '_', starting with a letter)"


class Stream(IntEnum):
    """The two gap-free streams of a collector; alarms overtake a backlog in the urgent one."""

    BULK = 0
    URGENT = 1


@dataclass(frozen=True, slots=True, order=True)
class BatchId:
    """Identity of a batch: it names one batch for ever. `epoch` is 16 random bytes, `sequence` counts from 1."""

    collector: CollectorId
    epoch: bytes
    stream: Stream
    sequence: int

    def __post_init__(self) -> None:
        if len(self.epoch) != 16:
            raise ValueError(f"an epoch has 16 bytes, not {len(self.epoch)}")
        if not 1 <= self.sequence < 2**63:
            raise ValueError(f"a batch sequence counts from 1, not {self.sequence}")

    def __str__(self) -> str:
        return f"{self.collector}/{self.epoch.hex()[:8]}/{self.stream.name.lower()}/{self.sequence}"


@dataclass(frozen=True, slots=True)
class PreviousEpoch:
    """What an epoch's first batch says of the epoch before it, so that the portal knows what may be missing.

    last_sequences  the highest sealed sequence that the collector knows of, for (bulk, urgent); 0 for none.
    """

    epoch: bytes
    last_sequences: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.epoch) != 16:
            raise ValueError(f"an epoch has 16 bytes, not {len(self.epoch)}")
        if len(self.last_sequences) != len(Stream) or not all(0 <= last < 2**63 for last in self.last_sequences):
            raise ValueError("an epoch has one last sequence for each stream")
