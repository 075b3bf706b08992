"""What really happened, kept apart from the code under test: what was appended, published, committed and destroyed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buffer.rows import to_us
from domain.ids import BatchId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.reading import RegisterRead
    from headwater.simulate.world import World

ReadKey = tuple[str, str, int, int]
"""(meter, register, read_at in microseconds since 1970, raw count): no two reads of a simulation share it."""
ItemKey = ReadKey | str
"""A read, or an event by its id."""


def key_of(read: RegisterRead) -> ReadKey:
    """Return what names a read, whatever epoch and place it travels under."""
    register = read.register
    return register.meter_id, register.register_id, to_us(read.read_at), read.raw_count


@dataclass(slots=True)
class Ledger:
    """The model of one seed.

    appended   items whose append returned, by the collector that has them.
    perhaps    items in an append that a crash cut short: stored or not.
    contents   of every batch that was made, by its hash.
    identities of every batch that was published, by its hash.
    published  the bytes of an identity, by (incarnation of the disk, identity).
    committed  hashes that the portal has ever committed.
    at_portal  hash by identity, as the portal has it now.
    places     the item of each append_seq that a disk gave out; published_places: of each that left the machine.
    truth      what the dial of a read would have shown if it had digits enough.
    thinned    how many reads a full store gave up and reported.
    destroyed  items that a disaster of this seed took before the portal had them: they may be there, and need not.
    """

    world: World
    appended: dict[ItemKey, str] = field(default_factory=dict)
    perhaps: dict[ItemKey, str] = field(default_factory=dict)
    contents: dict[bytes, tuple[ItemKey, ...]] = field(default_factory=dict)
    published: dict[tuple[int, BatchId], bytes] = field(default_factory=dict)
    identities: dict[bytes, BatchId] = field(default_factory=dict)
    committed: set[bytes] = field(default_factory=set)
    at_portal: dict[tuple[bytes, int, int], bytes] = field(default_factory=dict)
    thinned: int = 0
    destroyed: set[ItemKey] = field(default_factory=set)
    truth: dict[ItemKey, int] = field(default_factory=dict)
    places: dict[tuple[str, int, bytes, int], ItemKey] = field(default_factory=dict)
    published_places: dict[tuple[int, str, bytes, int], ItemKey] = field(default_factory=dict)
    seqs: dict[bytes, tuple[tuple[int, ItemKey], ...]] = field(default_factory=dict)

    # The collector

    def note_append(
        self, collector: str, images: int, epoch: bytes, items: Iterable[tuple[ItemKey, int | None]]
    ) -> None:
        """Take note of an append that returned."""
        for item, append_seq in items:
            if append_seq is None:
                if item in self.appended or item in self.perhaps or isinstance(item, str):
                    continue
                raise self.world.fail(f"{collector}: append refused a new read as a duplicate: {item}")
            place = (collector, images, epoch, append_seq)
            if self.places.setdefault(place, item) != item:
                raise self.world.fail(f"{collector}: append_seq {append_seq} was given out twice in one epoch")
            self.appended[item] = collector

    def note_sealed(self, data: bytes, request: Any) -> None:
        """Take note of a batch that was made, published or not."""
        reads = tuple(key_of(stored.read) for stored in request.reads)
        events = tuple(stored.event.event_id for stored in request.events)
        digest = hashlib.sha256(data).digest()
        self.contents[digest] = reads + events
        seqs = [stored.append_seq for stored in (*request.reads, *request.events)]
        self.seqs[digest] = tuple(zip(seqs, reads + events, strict=True))

    def note_published(self, incarnation: int, batch_id: BatchId, data: bytes) -> None:
        """Compare what is published with what was published under this identity before."""
        digest = hashlib.sha256(data).digest()
        if digest in self.identities:
            return
        self.identities[digest] = batch_id
        if self.published.setdefault((incarnation, batch_id), data) != data:
            raise self.world.fail(f"batch {batch_id} was published with other bytes than before")
        for append_seq, item in self.seqs.get(digest, ()):
            place = (incarnation, str(batch_id.collector), batch_id.epoch, append_seq)
            if self.published_places.setdefault(place, item) != item:
                raise self.world.fail(f"{batch_id}: append_seq {append_seq} was published for two items")

    def check_settled(self, collector: str, digest: bytes) -> None:
        """Compare what a store settled with what the portal committed."""
        if digest not in self.committed:
            raise self.world.fail(
                f"{collector}: a batch was settled that the portal never committed: {digest.hex()[:16]}"
            )

    # The portal

    def note_committed(self, identity: tuple[bytes, int, int], digest: bytes) -> None:
        """Take note of a batch that the portal's database holds."""
        before = self.at_portal.setdefault(identity, digest)
        if before != digest:
            raise self.world.fail(f"two different batches were accepted as {identity[0].hex()[:8]}/{identity[1:]}")
        self.committed.add(digest)

    def items_at_portal(self) -> set[ItemKey]:
        """Return what the batches hold that the portal has now."""
        return {item for digest in self.at_portal.values() for item in self.contents.get(digest, ())}

    # Disasters

    def note_destroyed(self, items: set[ItemKey]) -> int:
        """Take note of items that a collector lost; those that the portal has are not lost."""
        gone = items - self.items_at_portal()
        self.destroyed |= gone
        return len(gone)

    def note_portal_restored(self, held: dict[tuple[bytes, int, int], bytes], at_collectors: set[ItemKey]) -> int:
        """Take note of a portal that went back; what no collector has any more is gone for good."""
        before = self.items_at_portal()
        self.at_portal = dict(held)
        gone = before - self.items_at_portal() - at_collectors
        self.destroyed |= gone
        return len(gone)

    def note_given_up(self, collector: str, held: set[ItemKey]) -> None:
        """Take note of what a full disk dropped because it was acknowledged, and a restored portal no longer has.

        Called when that disk is replaced by an old copy: from then on nobody can report those batches gone.
        """
        committed = {item for digest in self.committed for item in self.contents.get(digest, ())}
        mine = {item for item in committed if self.appended.get(item) == collector}
        self.destroyed |= mine - held - self.items_at_portal()

    def note_reported_gone(self, spans: Iterable[tuple[bytes, int, int, int]], at_collectors: set[ItemKey]) -> None:
        """Take note of batches that collectors no longer have and say so, (epoch, stream, first, last).

        A full disk drops what was acknowledged, and after that a portal was put back from a backup.
        """
        told = {(epoch, stream, sequence) for epoch, stream, *span in spans for sequence in range(span[0], span[1] + 1)}
        for digest, batch_id in self.identities.items():
            if (batch_id.epoch, int(batch_id.stream), batch_id.sequence) in told and digest in self.committed:
                self.destroyed |= set(self.contents[digest]) - at_collectors - self.items_at_portal()

    def note_thinned(self, spans: list[tuple[str, int, int, int]], missing: list[ItemKey]) -> None:
        """Take note of reads that a full store gave up, (collector, first, last append_seq, how many): exactly so many.

        Nothing else may be missing where this is called; a disaster beside it leaves no exact number.
        """
        place_of = {item: (place[0], place[3]) for place, item in self.places.items()}
        thinned = {
            item
            for item in missing
            if not isinstance(item, str)
            and any(name == place_of[item][0] and first <= place_of[item][1] <= last for name, first, last, _ in spans)
        }
        told = sum(reads for *_, reads in spans)
        if len(thinned) > told or (len(thinned) < told and not self.destroyed):
            raise self.world.fail(f"{told} reads were reported as thinned, and {len(thinned)} are not at the portal")
        self.destroyed |= thinned
        self.thinned += len(thinned)

    # The end

    def missing(self, at_portal: Counter[ItemKey]) -> list[ItemKey]:
        """Return what must be at the portal and is not."""
        return [item for item in self.appended if item not in at_portal and item not in self.destroyed]

    def check_reads(self, at_portal: Counter[ItemKey]) -> None:
        """Compare the portal's reads with what was appended: none twice, none that nobody read, none altered."""
        for item, times in at_portal.items():
            if times > 1:
                raise self.world.fail(f"{item} is at the portal {times} times")
            if item not in self.appended and item not in self.perhaps:
                raise self.world.fail(f"{item} is at the portal and was never appended")
