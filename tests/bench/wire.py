"""Bytes of a read on the wire and the time to make and check them, beside plain JSON in the same run."""

from __future__ import annotations

import json
import zlib
from itertools import chain
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
        "without append_seq and monotonic clock; times are medians over all runs",
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
        rows.append(_one([*chain(*rounds)], times=times))
    return {key: median([row[key] for row in rows]) for key in rows[0]}


def _one(reads: list[RegisterRead], *, times: int) -> dict[str, float]:
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
