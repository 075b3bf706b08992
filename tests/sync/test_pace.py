"""The bound of a metered link, and what is known of how fast the link is, by a hand-turned clock."""

from __future__ import annotations

from domain.ids import Stream
from sync.pace import wire_bytes
from tests.sync.sending import Desk


def test_bulk_keeps_under_the_bound_over_any_time() -> None:
    desk = Desk(upload_bytes_per_s_max=500, window=1_000, ack_timeout_s=1e9, probe_max_s=1e9)
    desk.store.batch_bytes, desk.store.unsealed[Stream.BULK] = 1_000, 10_000
    desk.clock.advance(5_000.0)  # what was not used is not saved up
    sent = []
    for tick in range(6_000):
        sent += [(tick / 10, wire_bytes(desk.store.batch_bytes)) for _ in desk.all_due()]
        desk.clock.advance(0.1)
    for begin in range(0, 600, 7):
        for end in range(begin + 60, 600, 97):
            used = sum(size for second, size in sent if begin <= second < end)
            assert used <= 500 * (end - begin) + wire_bytes(desk.store.batch_bytes)
    assert sum(size for _, size in sent) > 0.95 * 500 * 600  # and uses it


def test_alarms_go_at_once_and_the_reads_pay_for_them() -> None:
    desk = Desk(upload_bytes_per_s_max=500, window=100, ack_timeout_s=1e9, probe_max_s=1e9)
    desk.store.batch_bytes, desk.store.unsealed[Stream.BULK] = 1_000, 1_000
    assert desk.all_due() == ["b1"]
    alarms = []
    for _ in range(5):
        desk.store.unsealed[Stream.URGENT] = 1
        desk.sender.wake(Stream.URGENT)
        alarms += desk.all_due()
    assert alarms == ["u1", "u2", "u3", "u4", "u5"]
    owed_s = 6 * wire_bytes(1_000) / 500
    desk.clock.advance(owed_s - 0.5)
    assert desk.all_due() == []
    desk.clock.advance(0.5)
    assert desk.all_due() == ["b2"]


def test_resends_are_paced_too_in_whatever_session() -> None:
    desk = Desk(upload_bytes_per_s_max=500)
    for sequence in range(1, 9):
        desk.store.keep(Stream.BULK, sequence, state="acked")
    desk.ask(1, 8)
    assert desk.all_due() == ["b1"]
    desk.sender.disconnected()
    desk.sender.connected(desk.now_s)
    assert desk.all_due() == []
    desk.clock.advance(1.0)
    assert len(desk.all_due()) == 1


def test_batches_are_small_on_a_narrow_link_so_that_an_alarm_need_not_wait_long() -> None:
    desk = Desk(upload_bytes_per_s_max=500, max_items=5_000, window=100)
    desk.store.batch_bytes, desk.store.unsealed[Stream.BULK] = 3_000, 50_000
    sizes = []
    for _ in range(60):
        sizes += [desk.batch(name).items for name in desk.all_due() if name[0] == "b"]
        desk.clock.advance(1.0)
    cost = wire_bytes(3_000) / sizes[0]
    assert sizes[0] == 625  # 8 bytes a read, until a batch has shown what it costs
    assert 500 * 9 <= sizes[1] * cost <= 500 * 10
    assert Desk(max_items=5_000).sender.status().upload_bytes_per_s_max == 0


def test_the_minutes_of_link_follow_from_what_was_acknowledged() -> None:
    desk = Desk(window=2, max_items=100)
    assert desk.sender.status().link_minutes(5) is None
    assert desk.sender.status().link_minutes(0) == 0.0
    desk.store.batch_bytes, desk.store.unsealed[Stream.BULK] = 1_000, 100_000
    flying = desk.all_due()
    for _ in range(300):
        desk.clock.advance(2.0)
        desk.ack(flying.pop(0))
        flying += desk.all_due()
    status = desk.sender.status()
    assert abs(status.bytes_per_s - wire_bytes(1_000) / 2) < 20
    minutes = status.link_minutes(6_000)
    assert minutes is not None
    assert abs(minutes - 2.0) < 0.1  # 60 batches of 2 s
    capped = Desk(window=2, max_items=100, upload_bytes_per_s_max=100)
    capped.store.batch_bytes, capped.store.unsealed[Stream.BULK] = 1_000, 100
    capped.all_due()
    minutes = capped.sender.status().link_minutes(100)
    assert minutes is not None
    assert abs(minutes * 60 - wire_bytes(1_000) / 100) < 0.1
