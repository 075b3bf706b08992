"""Bytes of a read on the wire and the time to make and check them, beside plain JSON in the same run."""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from functools import cache
from itertools import chain, pairwise
from math import log2
from typing import TYPE_CHECKING, Any

from sync.signing import SigningKey, open_batch, sign_batch
from tests.bench.batches import SHAPES
from tests.bench.homes import COLLECTOR, Homes, batch_of
from tests.bench.measure import median, say, seconds

if TYPE_CHECKING:
    from pathlib import Path

    from domain.reading import RegisterRead

EVERY_S = {24: 3600, 15: 300, 1: 3600}
"""Seconds between two reads of a meter, by the reads of each in a batch."""


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure every shape with several streets (seeds)."""
    seeds = range(1, 2 if quick else 4)
    return {
        "what": "bytes of one signed batch over its reads, median of the seeds; JSON is one object a read, unsigned, "
        "without append_seq and monotonic clock; peer is the same reads as the ThingsBoard gateway publishes a backlog "
        "(JSON of its gateway API, one meter after the other, unsigned); floor is what a perfect coder of such a "
        "signed batch would need that knew how the street is drawn and not what was drawn; times are medians",
        "seeds": len(seeds),
        "shapes": {
            f"{meters}x{reads}": shape(meters, reads, seeds=seeds)
            for meters, reads in SHAPES
            if not quick or meters * reads < 1000
        },
    }


def shape(meters: int, reads_each: int, *, seeds: range, times: int = 3) -> dict[str, float]:
    """Return the figures of one shape of batch."""
    say(f"wire: {meters} meters x {reads_each}")
    every_s = EVERY_S.get(reads_each, 3600)
    rows = []
    for seed in seeds:
        rounds = Homes(meters, seed=seed).rounds(reads_each, every_s=every_s)
        rows.append(_one([*chain(*rounds)], every_s, times=times))
    return {key: median([row[key] for row in rows]) for key in rows[0]}


def _one(reads: list[RegisterRead], every_s: int, *, times: int) -> dict[str, float]:
    key, count = SigningKey.generate(), len(reads)
    batch = batch_of(reads)
    signed = sign_batch(batch, key)
    assert open_batch(signed, collector=COLLECTOR, keys=lambda _kid: key.verify_key) == batch
    plain = as_json(reads)

    # In turn, so that whatever else the machine does falls on all of them.
    works = (
        lambda: sign_batch(batch, key),
        lambda: open_batch(signed, collector=COLLECTOR, keys=lambda _kid: key.verify_key),
        lambda: as_json(reads),
        lambda: json.loads(plain),
    )
    laps = [[seconds(work) * 1e6 / count for work in works] for _ in range(times)]
    return {
        "bytes_per_read": len(signed) / count,
        "json_bytes_per_read": len(plain) / count,
        "json_zlib9_bytes_per_read": len(zlib.compress(plain, 9)) / count,
        "json_over_ours": len(plain) / len(signed),
        "peer_json_bytes_per_read": len(as_peer_json(reads)) / count,
        "peer_json_over_ours": len(as_peer_json(reads)) / len(signed),
        "floor_bytes_per_read": floor_bytes(reads, every_s) / count,
        "over_floor": len(signed) / floor_bytes(reads, every_s),
        "encode_and_sign_us_per_read": median([lap[0] for lap in laps]),
        "verify_and_decode_us_per_read": median([lap[1] for lap in laps]),
        "encode_and_sign_over_json_dumps": median([lap[0] / lap[2] for lap in laps]),
        "verify_and_decode_over_json_loads": median([lap[1] / lap[3] for lap in laps]),
    }


def as_json(reads: list[RegisterRead]) -> bytes:
    """Return reads as a gateway without a format of its own would send them: a list of objects, no spaces."""
    rows = [
        {
            "meter": read.register.meter_id,
            "register": read.register.register_id,
            "unit": read.register.unit.value,
            "scale": read.register.scale,
            "count": read.raw_count,
            "read_at": read.read_at.isoformat(),
        }
        for read in reads
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def as_peer_json(reads: list[RegisterRead]) -> bytes:
    """Return reads as the nearest peer publishes them: the JSON of ThingsBoard's gateway telemetry API."""
    meters = defaultdict(list)
    for read in reads:
        values = {str(read.register.register_id): read.raw_count}
        meters[str(read.register.meter_id)].append({"ts": int(read.read_at.timestamp() * 1000), "values": values})
    return json.dumps(meters, separators=(",", ":")).encode()


_SIGNATURE, _PREVIOUS_HASH, _EPOCH = 64, 32, 16


def floor_bytes(reads: list[RegisterRead], every_s: int) -> float:
    """Return the fewest bytes, on average, in which a batch of these reads can stand by itself, signature included.

    Shannon's bound for a street as `Homes` draws it: which meters, a first count of each, what was used between two
    reads (by its distribution over a larger street), the milliseconds of each poll. Signature, hash of the batch before
    and epoch are random bytes that nothing can shorten. Sequence, times and the rest of a batch are left out.
    """
    counts = defaultdict(list)
    for read in reads:
        counts[read.register].append(read.raw_count)
    rounds = max(map(len, counts.values()))
    scattered = -(-len(counts) // 4)
    bits = scattered * log2(10**8) + (len(counts) - scattered) * log2(7)
    bits += len(counts) * log2(10**7)
    bits += sum(len(one) - 1 for one in counts.values()) * _use_bits(every_s)
    bits += len(reads) * log2(15) + rounds * log2(20)
    return _SIGNATURE + _PREVIOUS_HASH + _EPOCH + bits / 8


@cache
def _use_bits(every_s: int, *, meters: int = 200, rounds: int = 192) -> float:
    """Return the entropy of what a home uses between two reads, in bits."""
    street = zip(*Homes(meters, seed=99).rounds(rounds, every_s=every_s), strict=True)
    used = Counter(after.raw_count - before.raw_count for home in street for before, after in pairwise(home))
    return -sum(times / used.total() * log2(times / used.total()) for times in used.values())
