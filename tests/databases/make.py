"""Make a store of the schema that is newest now, to be kept here for ever: run once for each schema version.

    python -m tests.databases.make        writes v<version>.db and v<version>.json beside this file

The next version's migration is tested against what this version really wrote; never make an old one anew.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buffer.migrate import latest_version
from buffer.store import Store
from domain.clock import ManualClock
from domain.ids import Stream
from domain.reading import EventKind, ReadFlag, StoredRead
from sync.signing import SigningKey, batch_encoder
from tests.buffer.conftest import COLLECTOR, event, read, reads

if TYPE_CHECKING:
    from domain.reading import StoredEvent

FOLDER = Path(__file__).parent


def fill(store: Store) -> None:
    """Put one of everything into a store."""
    encode = batch_encoder(SigningKey.generate())
    store.append(reads(0, 20), [event("returned"), event("leak", EventKind.LEAK_OPENED)])
    store.append([read(100, meter=3, flags=ReadFlag.FROM_HISTORY | ReadFlag.LOW_BATTERY), read(101, meter=4)])
    acked = store.seal(Stream.BULK, COLLECTOR, encode, max_items=6)
    rejected = store.seal(Stream.BULK, COLLECTOR, encode, max_items=6)
    store.seal(Stream.BULK, COLLECTOR, encode, max_items=6)
    store.seal(Stream.URGENT, COLLECTOR, encode, max_items=6)
    assert acked is not None
    assert rejected is not None
    store.acked(acked.id, acked.hash)
    store.rejected(rejected.id, rejected.hash, "chain")
    store.save_snapshot("leak", 12, b"a state")


def contents(store: Store) -> dict[str, Any]:
    """Return everything a store holds as JSON values, apart from what a migration may add."""
    return {
        "epoch": store.epoch.hex(),
        "items": [_item(item) for item in store.items_since(0, limit=1000)],
        "unacked": [[str(b.id), b.hash.hex(), b.data.hex()] for stream in Stream for b in store.unacked(stream)],
        "rejected": [[str(batch.id), batch.reason, batch.items] for batch in store.rejected_batches()],
        "snapshot": [value.hex() if isinstance(value, bytes) else value for value in store.load_snapshot("leak") or ()],
        "last_append_seq": store.status().last_append_seq,
    }


def _item(item: StoredRead | StoredEvent) -> list[Any]:
    if isinstance(item, StoredRead):
        one = item.read
        key = one.register
        clock = [one.clock.boot_id.hex(), one.clock.monotonic_ns, one.clock.synchronised, str(one.clock.synced_since)]
        register = [key.meter_id, key.register_id, key.unit.value, key.scale, key.modulus]
        marks = [int(one.quality), int(one.reason), int(one.flags)]
        return [item.append_seq, register, one.raw_count, one.read_at.isoformat(), clock, marks]
    happened = item.event
    return [item.append_seq, happened.event_id, happened.kind.value, happened.at.isoformat(), dict(happened.detail)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store.db"
        with Store.open(path, clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC) + timedelta(days=1))) as made:
            fill(made)
            described = contents(made)
        target = FOLDER / f"v{latest_version()}.db"
        shutil.copy(path, target)
        target.with_suffix(".json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
