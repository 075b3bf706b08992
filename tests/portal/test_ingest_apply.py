"""Ingest: exactly once whatever is repeated, reordered or forged, and nothing enters without a good signature."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING

import cbor2
import pytest
from django.db import DataError

from domain.ids import BatchId, CollectorId, Stream
from domain.reading import EventKind, StoredRead
from portal.core.services import current_change
from portal.fleet import services as fleet
from portal.ingest import letters
from portal.ingest.apply import Answer, apply_batch
from portal.ingest.holes import MAX_AHEAD
from portal.ingest.rebuild import rebuild
from portal.metering import services
from portal.metering.folding import fold_closed_days
from portal.metering.models import (
    Epoch,
    LeakCase,
    MeterEvent,
    MeterRegister,
    RecentRead,
    RefusedBatch,
    RegisterState,
    StoredBatch,
)
from portal.metering.reconcile import batches_that_brought, held_reads, holes
from portal.metering.repeats import held_before
from sync import signing
from sync.batch import encode_payload
from sync.read_columns import columns_of
from tests.portal.building import NOON, Box, collector_row, enrolled, event, home, read, total

if TYPE_CHECKING:
    from pytest_django.fixtures import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db


@pytest.fixture
def box() -> Box:
    return enrolled()


def reads_of_one_hour(meter: str = "EFE-00000001", start_count: int = 1000):
    return [read(total(meter), start_count + n, NOON + timedelta(minutes=5 * n)) for n in range(12)]


def opened(box: Box, answer: Answer | None) -> signing.Ack:
    assert answer is not None
    key = fleet.portal_signing_key(str(fleet.settings.PORTAL_DIR)).verify_key
    return signing.open_ack(answer.signed, collector=box.name, keys=lambda kid: key if kid == key.key_id else None)


def refusals() -> list[str]:
    return list(RefusedBatch.objects.values_list("reason", flat=True))


def nothing_stored() -> bool:
    return not StoredBatch.objects.exists() and not RecentRead.objects.exists() and not Epoch.objects.exists()


def test_a_batch_is_stored_whole_and_acknowledged(box: Box) -> None:
    signed = box.sealed(reads_of_one_hour())
    before = current_change()
    ack = opened(box, apply_batch(signed, box.name, NOON))
    assert ack.committed
    assert ack.batch_hash == signing.batch_hash(signed)
    stored = StoredBatch.objects.get()
    assert bytes(stored.signed) == signed
    assert (stored.first_append_seq, stored.last_append_seq, stored.reads) == (1, 12, 12)
    assert [row["count"] for row in held_reads()] == list(range(1000, 1012))
    assert current_change() == before + 1
    state = RegisterState.objects.get()
    assert (state.last_count, state.last_read_at) == (1011, NOON + timedelta(minutes=55))
    assert state.change_number == before + 1


def test_a_redelivered_batch_is_acknowledged_again_and_counts_once(box: Box) -> None:
    signed = box.sealed(reads_of_one_hour())
    first = opened(box, apply_batch(signed, box.name, NOON))
    again = opened(box, apply_batch(signed, box.name, NOON + timedelta(hours=1)))
    assert first.committed
    assert again.committed
    assert first.batch_id == again.batch_id
    assert RecentRead.objects.count() == 12


def test_order_of_arrival_does_not_matter(box: Box) -> None:
    batches = [box.sealed([read(total(), 1000 + n, NOON + timedelta(minutes=n))]) for n in range(6)]
    for signed in (batches[3], batches[0], batches[5], batches[1], batches[1], batches[4], batches[2]):
        assert opened(box, apply_batch(signed, box.name, NOON)).committed
    assert sorted(row["count"] for row in held_reads()) == [1000, 1001, 1002, 1003, 1004, 1005]
    assert RegisterState.objects.get().last_count == 1005


def test_holes_are_known_and_a_read_leads_to_its_batch(box: Box) -> None:
    batches = [box.sealed([read(total(), 1000 + n, NOON + timedelta(minutes=n))]) for n in range(7)]
    for number in (1, 4, 5):
        apply_batch(batches[number], box.name, NOON)
    epoch = Epoch.objects.get()
    assert holes(epoch, Stream.BULK) == [(1, 1), (3, 4)]
    assert holes(epoch, Stream.URGENT) == []
    (brought,) = batches_that_brought(epoch, append_seq=5)
    assert bytes(brought.signed) == batches[4]
    assert batches_that_brought(epoch, append_seq=3) == []


def test_both_streams_share_the_numbering_of_appends(box: Box) -> None:
    bulk = box.sealed(reads_of_one_hour())
    leak = event(EventKind.LEAK_OPENED, NOON, event_id="e1", meter="EFE-00000001", alarm="a1", rule="minimum")
    urgent = box.sealed(events=[leak], stream=Stream.URGENT)
    assert opened(box, apply_batch(urgent, box.name, NOON)).committed
    assert opened(box, apply_batch(bulk, box.name, NOON)).committed


class TestAttacks:
    """Each is refused, recorded, never acknowledged as committed, and leaves nothing behind."""

    @pytest.mark.parametrize("data", [b"", b"\x00" * 40, b"\xd2\x84", b"not a batch at all"])
    def test_garbage(self, box: Box, data: bytes) -> None:
        assert apply_batch(data, box.name, NOON) is None
        assert refusals() == ["envelope"]
        assert nothing_stored()

    def test_unsigned_payload(self, box: Box) -> None:
        assert apply_batch(encode_payload(box.batch(reads_of_one_hour())), box.name, NOON) is None
        assert refusals() == ["envelope"]
        assert nothing_stored()

    def test_every_altered_byte(self, box: Box) -> None:
        signed = box.sealed(reads_of_one_hour())
        for place in range(0, len(signed), 7):
            altered = signed[:place] + bytes((signed[place] ^ 1 << place % 8,)) + signed[place + 1 :]
            assert apply_batch(altered, box.name, NOON) is None, place
        assert set(refusals()) <= {"envelope", "signature", "unknown-key", "algorithm"}
        assert nothing_stored()

    def test_key_that_nobody_enrolled(self, box: Box) -> None:
        signed = box.sign(box.batch(reads_of_one_hour()), signing.SigningKey.generate())
        assert apply_batch(signed, box.name, NOON) is None
        assert refusals() == ["unknown-key"]
        assert nothing_stored()

    def test_topic_of_another_collector(self, box: Box) -> None:
        other = enrolled("hw-test-2")
        assert apply_batch(box.sealed(reads_of_one_hour()), other.name, NOON) is None
        assert refusals() == ["unknown-key"]
        assert nothing_stored()

    def test_batch_that_names_another_collector(self, box: Box) -> None:
        """A collector signs, on its own topic, a batch under another one's name."""
        other = enrolled("hw-test-2")
        batch = dataclasses.replace(box.batch(reads_of_one_hour()), id=BatchId(other.name, box.epoch, Stream.BULK, 1))
        signed = signing.sign(encode_payload(batch), label=signing.BATCH, collector=box.name, key=box.key)
        assert apply_batch(signed, box.name, NOON) is None
        assert refusals() == ["collector"]
        assert nothing_stored()

    def test_unknown_collector(self, box: Box) -> None:
        stranger = CollectorId("hw-stranger")
        assert apply_batch(box.sealed(reads_of_one_hour()), stranger, NOON) is None
        assert refusals() == ["unknown-collector"]

    def test_revoked_key(self, box: Box) -> None:
        signed = box.sealed(reads_of_one_hour())
        fleet.revoke_key(collector_row(box).keys.get(), reason="stolen")
        assert apply_batch(signed, box.name, NOON) is None
        assert refusals() == ["revoked-key"]
        assert nothing_stored()

    def test_revoked_collector(self, box: Box) -> None:
        signed = box.sealed(reads_of_one_hour())
        fleet.revoke_collector(collector_row(box), reason="stolen")
        assert apply_batch(signed, box.name, NOON) is None
        assert refusals() == ["unknown-collector"]
        assert nothing_stored()

    @pytest.mark.parametrize("how", ["key", "collector"])
    def test_a_key_that_is_remembered_is_revoked_all_the_same(self, box: Box, how: str) -> None:
        assert opened(box, apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON)).committed
        if how == "key":
            fleet.revoke_key(collector_row(box).keys.get(), reason="stolen")
        else:
            fleet.revoke_collector(collector_row(box), reason="stolen")
        later = [read(total(), 2000, NOON + timedelta(hours=2))]
        assert apply_batch(box.sealed(later), box.name, NOON) is None
        assert refusals() == ["revoked-key" if how == "key" else "unknown-collector"]
        assert StoredBatch.objects.count() == 1

    def test_a_batch_that_is_stored_already_writes_nothing(self, box: Box) -> None:
        signed = box.sealed(reads_of_one_hour())
        apply_batch(signed, box.name, NOON)
        before = current_change(), collector_row(box).last_batch_at
        assert opened(box, apply_batch(signed, box.name, NOON + timedelta(hours=1))).committed
        assert (current_change(), collector_row(box).last_batch_at) == before

    def test_retired_key_signs_nothing_sealed_later(self, box: Box) -> None:
        collector_row(box).keys.update(valid_from=NOON, valid_to=NOON + timedelta(minutes=1))
        sealed_before = box.sign(box.batch(reads_of_one_hour(), sealed_at=NOON))
        sealed_after = box.sign(box.batch([], sealed_at=NOON + timedelta(minutes=2)))
        assert opened(box, apply_batch(sealed_before, box.name, NOON)).committed
        assert apply_batch(sealed_after, box.name, NOON) is None
        assert refusals() == ["expired-key"]

    def test_ack_replayed_as_a_batch(self, box: Box) -> None:
        answer = apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON)
        assert answer is not None
        assert apply_batch(answer.signed, box.name, NOON) is None
        assert refusals() == ["unknown-key"]

    def test_oversized(self, box: Box) -> None:
        assert apply_batch(bytes(signing.MAX_SIGNED_BYTES + 1), box.name, NOON) is None
        assert refusals() == ["oversized"]
        row = RefusedBatch.objects.get()
        assert row.size_bytes == signing.MAX_SIGNED_BYTES + 1

    def test_decompression_bomb(self, box: Box) -> None:
        """A signed payload that unpacks to 200 MB is refused long before it is unpacked."""
        import zlib

        squeezed = zlib.compress(bytes(200_000_000), 9)
        payload = cbor2.dumps([1, 1, squeezed], canonical=True)
        signed = signing.sign(payload, label=signing.BATCH, collector=box.name, key=box.key)
        assert apply_batch(signed, box.name, NOON) is None
        assert len(refusals()) == 1
        assert nothing_stored()

    def test_sequence_used_again_with_other_content(self, box: Box) -> None:
        first = box.sealed(reads_of_one_hour())
        twin = Box(box.name, box.key, box.epoch)
        second = twin.sealed(reads_of_one_hour(start_count=5000))
        assert opened(box, apply_batch(first, box.name, NOON)).committed
        ack = opened(box, apply_batch(second, box.name, NOON))
        assert not ack.committed
        assert ack.reason_code == "conflict"
        assert ack.batch_hash == signing.batch_hash(second)
        assert refusals() == ["conflict"]
        assert RecentRead.objects.count() == 12
        assert opened(box, apply_batch(first, box.name, NOON)).committed

    def test_same_reads_in_a_second_batch(self, box: Box) -> None:
        box_again = Box(box.name, box.key, box.epoch)
        first = box.sealed(reads_of_one_hour())
        box_again.sequences[Stream.BULK], box_again.hashes[Stream.BULK] = 1, box.hashes[Stream.BULK]
        second = box_again.sealed(reads_of_one_hour())
        assert opened(box, apply_batch(first, box.name, NOON)).committed
        ack = opened(box, apply_batch(second, box.name, NOON))
        assert (ack.committed, ack.reason_code) == (False, "append-overlap")
        assert RecentRead.objects.count() == 12

    @pytest.mark.parametrize("later_first", [False, True])
    def test_broken_chain(self, box: Box, later_first: bool) -> None:
        first = box.sealed(reads_of_one_hour())
        box.hashes[Stream.BULK] = bytes(32 * [7])
        second = box.sealed([read(total(), 2000, NOON + timedelta(hours=2))])
        order = [second, first] if later_first else [first, second]
        assert opened(box, apply_batch(order[0], box.name, NOON)).committed
        ack = opened(box, apply_batch(order[1], box.name, NOON))
        assert (ack.committed, ack.reason_code) == (False, "chain")

    def test_first_batch_with_a_past_and_second_without(self, box: Box) -> None:
        box.hashes[Stream.BULK] = bytes(32 * [7])
        assert opened(box, apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON)).reason_code == "chain"

    def test_far_ahead_is_not_answered_so_that_the_collector_keeps_it(self, box: Box) -> None:
        box.sequences[Stream.BULK], box.hashes[Stream.BULK] = MAX_AHEAD, bytes(32 * [7])
        assert apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON) is None
        assert refusals() == ["too-far-ahead"]
        assert nothing_stored()
        box.sequences[Stream.BULK] = MAX_AHEAD - 1
        assert opened(box, apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON)).committed

    def test_epoch_of_another_collector(self, box: Box) -> None:
        other = enrolled("hw-test-2")
        assert opened(box, apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON)).committed
        ack = opened(other, apply_batch(other.sealed(reads_of_one_hour()), other.name, NOON))
        assert (ack.committed, ack.reason_code) == (False, "epoch")

    def test_signed_but_malformed_batch_is_answered_with_its_reason(self, box: Box) -> None:
        from sync.compression import compress

        plain = {0: str(box.name), 1: box.epoch, 2: 0, 3: 1, 4: bytes(32), 5: "yesterday"}
        tag, data = compress(cbor2.dumps(plain, canonical=True))
        payload = cbor2.dumps([1, tag, data], canonical=True)
        signed = signing.sign(payload, label=signing.BATCH, collector=box.name, key=box.key)
        ack = opened(box, apply_batch(signed, box.name, NOON))
        assert not ack.committed
        assert ack.batch_id == BatchId(box.name, box.epoch, Stream.BULK, 1)
        assert nothing_stored()

    def test_a_value_that_the_database_cannot_hold(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise DataError("out of range")

        monkeypatch.setattr(services, "apply_contents", fail)
        ack = opened(box, apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON))
        assert (ack.committed, ack.reason_code) == (False, "not-storable")
        assert nothing_stored()

    def test_text_that_postgresql_refuses_does_not_block_a_batch(self, box: Box) -> None:
        odd = event(EventKind.BAD_REPLY, NOON, event_id="a\0b" + "x" * 190, meter="EFE-00000001", note="nul \0 here")
        assert opened(box, apply_batch(box.sealed(events=[odd]), box.name, NOON)).committed
        assert MeterEvent.objects.get().detail == {"note": "nul \N{REPLACEMENT CHARACTER} here"}

    def test_counts_and_times_at_their_limits(self, box: Box) -> None:
        register = dataclasses.replace(total("EFE-00000009"), modulus=None)
        extremes = [read(register, count, NOON) for count in (-(2**63) + 1, 2**63 - 1)]
        assert opened(box, apply_batch(box.sealed(extremes), box.name, NOON)).committed
        assert sorted(row["count"] for row in held_reads()) == [-(2**63) + 1, 2**63 - 1]

    def test_the_record_of_refusals_is_bounded(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(letters, "ROWS_MAX", 5)
        for number in range(12):
            apply_batch(b"garbage %d" % number, box.name, NOON)
        for _ in range(3):
            apply_batch(b"garbage 11", box.name, NOON)
        assert RefusedBatch.objects.count() == 5
        assert RefusedBatch.objects.order_by("-pk")[0].times == 4


def test_a_meter_that_nobody_knows_is_kept_unclaimed(box: Box) -> None:
    assert opened(box, apply_batch(box.sealed(reads_of_one_hour("XYZ-77")), box.name, NOON)).committed
    register = MeterRegister.objects.get()
    assert register.meter.meter_id == "XYZ-77"
    assert not register.claimed
    assert RecentRead.objects.count() == 12


def test_another_scale_of_a_claimed_register_waits_for_the_office(box: Box) -> None:
    home(total(), NOON - timedelta(days=1))
    tenfold = dataclasses.replace(total(), scale=-2)
    wider = dataclasses.replace(total(), modulus=10**9)
    signed = box.sealed([read(total(), 1, NOON), read(tenfold, 1, NOON), read(wider, 1, NOON)])
    assert opened(box, apply_batch(signed, box.name, NOON)).committed
    claimed = {(row.scale, row.modulus): row.claimed for row in MeterRegister.objects.all()}
    assert claimed == {(-3, 10**8): True, (-2, 10**8): False, (-3, 10**9): True}


def test_leak_cases_follow_the_events_in_either_order(box: Box) -> None:
    _, installation = home(total(), NOON - timedelta(days=1))
    meter = "EFE-00000001"
    opening = event(EventKind.LEAK_OPENED, NOON, event_id="e1", meter=meter, alarm="a1", rule="minimum", litres=120)
    later = NOON + timedelta(hours=3)
    clearing = event(EventKind.LEAK_CLEARED, later, event_id="e2", meter=meter, alarm="a1", litres=480)
    first, second = (box.sealed(events=[item], stream=Stream.URGENT) for item in (opening, clearing))
    for signed in (second, first, first):
        assert opened(box, apply_batch(signed, box.name, NOON)).committed
    case = LeakCase.objects.get()
    assert (case.opened_at, case.cleared_at, case.installation) == (NOON, later, installation)
    assert case.evidence["opened"]["litres"] == 120
    assert case.evidence["cleared"]["litres"] == 480


def test_an_alarm_repeated_by_a_salvaged_store_is_the_same_leak(box: Box) -> None:
    opening = event(EventKind.LEAK_OPENED, NOON, event_id="e1", meter="EFE-00000001", alarm="a1", rule="minimum")
    apply_batch(box.sealed(events=[opening], stream=Stream.URGENT), box.name, NOON)
    salvaged = Box(box.name, box.key, bytes(16))
    assert opened(box, apply_batch(salvaged.sealed(events=[opening], stream=Stream.URGENT), box.name, NOON)).committed
    assert MeterEvent.objects.count() == LeakCase.objects.count() == 1


def test_a_late_read_touches_the_change_number_but_not_the_newest_count(box: Box) -> None:
    apply_batch(box.sealed([read(total(), 2000, NOON)]), box.name, NOON)
    apply_batch(box.sealed([read(total(), 1900, NOON - timedelta(hours=2))]), box.name, NOON)
    state = RegisterState.objects.get()
    assert (state.last_count, state.change_number) == (2000, current_change())


def salvaged(box: Box, *, last_append: int = 0) -> Box:
    """The same collector after its store was restored or salvaged: a new epoch, sequences and chains from the start."""
    return Box(box.name, box.key, epoch=bytes(range(50, 66)), last_append=last_append)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("new_epoch_first", [False, True])
def test_reads_sent_again_under_a_new_epoch_are_kept_once(box: Box, folded: bool, new_epoch_first: bool) -> None:
    reads = [*reads_of_one_hour(), *reads_of_one_hour("EFE-00000002")]
    again = salvaged(box)
    # The new store lost the first four reads, and knows three that the old one never sent.
    newer = [read(total(), 2000 + n, NOON + timedelta(hours=2, minutes=n)) for n in range(3)]
    parts = [(box, reads), (again, [*reads[4:], *newer])]
    for sender, part in reversed(parts) if new_epoch_first else parts:
        assert opened(box, apply_batch(sender.sealed(part), box.name, NOON)).committed
        if folded:
            fold_closed_days(NOON + timedelta(days=3))
    held = sorted((row["meter"], row["read_at"], row["count"]) for row in held_reads())
    expected = sorted((r.register.meter_id, r.read_at.isoformat(), r.raw_count) for r in [*reads, *newer])
    assert held == expected
    assert sorted(StoredBatch.objects.values_list("reads", "repeated")) == sorted(
        [(24, 20), (23, 0)] if new_epoch_first else [(24, 0), (23, 20)]
    )
    rebuild()
    assert sorted((row["meter"], row["read_at"], row["count"]) for row in held_reads()) == expected
    assert sum(StoredBatch.objects.values_list("repeated", flat=True)) == 20


def test_looking_for_repeated_reads_costs_one_query_while_there_is_one_epoch(
    box: Box, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    reads = columns_of([StoredRead(n, item) for n, item in enumerate(reads_of_one_hour())])
    apply_batch(box.sealed(reads_of_one_hour()), box.name, NOON)
    row = Epoch.objects.get()
    with django_assert_num_queries(1):
        assert held_before(reads, [1], epoch=row) == set()


def test_a_batch_that_follows_costs_few_statements(box: Box, django_assert_max_num_queries: object) -> None:
    """However many meters are in it: what is known of them is remembered."""
    reads = [read(total(f"EFE-{n:08}"), 5, NOON) for n in range(200)]
    apply_batch(box.sealed(reads), box.name, NOON)
    later = [dataclasses.replace(item, read_at=NOON + timedelta(hours=1)) for item in reads]
    with django_assert_max_num_queries(9):  # type: ignore[operator]
        assert opened(box, apply_batch(box.sealed(later), box.name, NOON)).committed
    assert RecentRead.objects.count() == 400


def test_another_count_or_moment_under_a_new_epoch_is_another_read(box: Box) -> None:
    moment = NOON + timedelta(microseconds=1)
    apply_batch(box.sealed([read(total(), 5, NOON)]), box.name, NOON)
    other = [read(total(), 6, NOON), read(total(), 5, moment), read(total("EFE-00000002"), 5, NOON)]
    assert opened(box, apply_batch(salvaged(box).sealed(other), box.name, NOON)).committed
    assert len(list(held_reads())) == 4
