"""The cells of the table: which meters, which outage, which kill, how long; the same for both sides.

The times are those of the published measurement of the peer (20 s warm, 60 s outage, a kill 30 s into it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

COMMIT_WINDOW_S = 1.0
"""What design and documents promise: a read waits at most this long for its commit."""

COMMIT_SLACK_S = 0.5
"""For the commit itself and for two processes' clock reads on a busy machine."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table.

    meters, every_s   a counting meter bank of so many meters, each read once in so many seconds.
    mode     stop: the broker ends, its connections close. freeze: it says nothing more and goes on later (a dead link).
             cut: the same, but afterwards a fresh broker is there in its place. None: a link that never fails.
    kill_at_s         seconds into the outage at which the gateway gets SIGKILL and starts again; None for no kill.
    kill_ingest       the portal's ingest gets SIGKILL twice while the backlog arrives (ours alone).
    disk_mb           the gateway's data directory is a disk of so many MiB of its own.
    fill_at_s         seconds into the outage at which a file of somebody else's takes what is left of that disk, and
                      whatever is freed; it goes 10 s after the link is back.
    alone             nothing else may run at the time: its processor time is a figure.
    peer              whether the peer runs it too.
    """

    name: str
    what: str
    meters: int = 10
    every_s: float = 1.0
    mode: str | None = None
    warm_s: float = 20.0
    outage_s: float = 60.0
    after_s: float = 10.0
    kill_at_s: float | None = None
    kill_ingest: bool = False
    disk_mb: int | None = None
    fill_at_s: float | None = None
    drain_s: float = 150.0
    alone: bool = False
    peer: bool = True
    ours: bool = True

    @property
    def reads_per_s(self) -> float:
        """What the meters are asked for."""
        return self.meters / self.every_s

    def scaled(self, factor: float) -> Cell:
        """Return the cell with its waits made shorter; a drain ends by itself when it is done."""
        return replace(
            self,
            warm_s=max(3.0, self.warm_s * factor),
            outage_s=max(4.0, self.outage_s * factor),
            after_s=max(2.0, self.after_s * factor),
            kill_at_s=None if self.kill_at_s is None else max(2.0, self.kill_at_s * factor),
            fill_at_s=None if self.fill_at_s is None else max(1.0, self.fill_at_s * factor),
        )


CELLS = (
    Cell("stop", "broker stopped for 60 s", mode="stop"),
    Cell("stop-kill", "broker stopped for 60 s, gateway killed at 30 s", mode="stop", kill_at_s=30),
    Cell("freeze", "dead link for 60 s", mode="freeze"),
    Cell("freeze-kill", "dead link for 60 s, gateway killed at 30 s", mode="freeze", kill_at_s=30),
    Cell("cut", "dead link for 60 s, then a fresh broker", mode="cut"),
    Cell("cut-kill", "dead link for 60 s, then a fresh broker, gateway killed at 30 s", mode="cut", kill_at_s=30),
    Cell("disk-1mb", "disk of 1 MB, broker stopped for 60 s", mode="stop", disk_mb=1),
    Cell(
        "disk-full",
        "disk of 1 MB, broker stopped for 60 s, another file takes its last byte at 15 s",
        mode="stop",
        disk_mb=1,
        fill_at_s=15,
    ),
    Cell(
        "ingest-kill",
        "broker stopped for 60 s, ingest killed twice while the backlog comes in",
        meters=50,
        mode="stop",
        kill_ingest=True,
        peer=False,
    ),
    Cell("rate-100", "100 reads/s, a link that holds", meters=100, outage_s=60, alone=True),
    Cell(
        "rate-250-kill",
        "250 reads/s, broker stopped for 60 s, gateway killed at 30 s",
        meters=250,
        mode="stop",
        kill_at_s=30,
    ),
    Cell("rate-1000", "1,000 reads/s, a link that holds", meters=1000, outage_s=60, alone=True),
    Cell(
        "rate-1000-10hz",
        "1,000 reads/s, as 100 meters ten times a second",
        meters=100,
        every_s=0.1,
        outage_s=60,
        alone=True,
    ),
)
BY_NAME = {cell.name: cell for cell in CELLS}
QUICK = ("stop-kill", "cut-kill", "disk-1mb", "rate-100")
STORAGES = ("sqlite", "memory", "file")
"""The peer's three ways to keep what it cannot send; `memory` is its default."""

WITH_STORAGES = ("stop", "stop-kill", "freeze", "freeze-kill", "cut", "cut-kill")
