"""Random damage of every file of a store: it opens, takes reads, seals them, and opens again."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from buffer.errors import StoreDamaged
from buffer.store import Store
from domain.ids import Stream
from tests.buffer.conftest import COLLECTOR, encode, reads
from tests.buffer.test_salvage import SMALL_BYTES, filled

if TYPE_CHECKING:
    from pathlib import Path

    from domain.clock import ManualClock

ROUNDS = 10
PAGE = 4096
WORDS = (
    b"elm-street",
    b"total",
    b"m3",
    b"EFE-",
    b"tamper",
    b"kept",
    b"created",
    b"CREATE",
    b'{"',
    b"100000000",
    b"chain",
)


def damage(data: bytearray, rng: random.Random) -> None:
    """Damage bytes in one of the ways that disks, cables and programs do."""
    at = rng.randrange(len(data))
    page = at // PAGE * PAGE
    match rng.randrange(8):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            some = rng.randrange(1, 64)
            data[at : at + some] = rng.randbytes(some)
        case 2:
            some = rng.randrange(1, 9)
            data[at : at + some] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * some
        case 3:
            word = rng.choice(WORDS)
            found = max(data.find(word, at), data.find(word))
            if found >= 0:
                data[found + rng.randrange(len(word))] = rng.randrange(256)
        case 4:
            data[page : page + PAGE] = rng.choice((bytes(PAGE), rng.randbytes(PAGE)))
        case 5:
            del data[at:]
        case 6:
            other = rng.randrange(len(data)) // PAGE * PAGE
            data[page : page + PAGE], data[other : other + PAGE] = (
                data[other : other + PAGE],
                data[page : page + PAGE],
            )
        case _:
            data[rng.randrange(min(100, len(data)))] = rng.randrange(256)


def test_a_store_opens_over_anything(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    filled(path, clock)
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(reads(5000, 300))
        killed = tmp_path / "killed"  # with a log, as a kill leaves it
        shutil.copytree(path.parent, killed, ignore=shutil.ignore_patterns("*-lock", "*-shm", "*-reserve"))
    seed = random.randrange(2**32)
    for number in range(ROUNDS):
        print(f"seed {seed + number}")
        rng = random.Random(seed + number)
        folder = tmp_path / f"damaged-{number}"
        shutil.copytree(rng.choice((path.parent, killed)), folder, ignore=shutil.ignore_patterns("*-lock", "*-reserve"))
        for _ in range(rng.choice((1, 1, 2, 4))):
            files = [
                f for f in sorted(folder.iterdir()) if f.stat().st_size and (f.suffix == ".db" or rng.random() < 0.3)
            ]
            if files:
                file = rng.choice(files)
                data = bytearray(file.read_bytes())
                damage(data, rng)
                file.write_bytes(data)
        for turn in (1, 2):
            with Store.open(folder / "store.db", clock=clock, max_bytes=SMALL_BYTES) as store:
                try:
                    use(store, 20_000 + 100 * turn)
                except StoreDamaged:
                    continue  # found only now: the next start looks at every row
        shutil.rmtree(folder)


def use(store: Store, first: int) -> None:
    """Do with a store what a collector does."""
    store.status()
    store.last_reads()
    store.time_floor()
    store.items_since(0, limit=10**6)
    assert store.append(reads(first, 3)) != [None] * 3
    store.sealed_ahead = 10**6
    for stream in Stream:
        for _ in range(4):
            store.seal(stream, COLLECTOR, encode, max_items=1000)
        store.unacked(stream, limit=100)
    store.rejected_batches()
    store.sweep()
