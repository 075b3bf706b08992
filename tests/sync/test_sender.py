"""What is published when, and what an answer means, by a hand-turned clock."""

from __future__ import annotations

import random

import pytest

from domain.errors import HeadwaterError
from domain.ids import Stream
from sync.signing import SigningKey
from sync.topics import ack_topic, command_topic
from tests.sync.sending import COLLECTOR, Desk


def test_alarms_go_first_and_the_window_bounds_what_is_on_its_way() -> None:
    desk = Desk()
    desk.store.unsealed = {Stream.BULK: 100, Stream.URGENT: 3}
    assert desk.all_due() == ["u1", "b1", "b2", "b3", "b4"]
    desk.ack("b2")
    assert desk.all_due() == ["b1", "b5", "b6"]  # b1 was overtaken: again, and it holds no place of the window
    assert desk.sender.status().committed == 1


def test_a_batch_is_sealed_at_its_interval_when_woken_and_at_once_behind_a_full_one() -> None:
    desk = Desk(seal_every_s=60.0, window=100)
    desk.store.unsealed[Stream.BULK] = 25
    assert desk.all_due() == ["b1", "b2", "b3"]
    desk.store.unsealed[Stream.BULK] = 5
    assert desk.all_due() == []
    desk.clock.advance(59.0)
    assert [name for name in desk.all_due() if name == "b4"] == []
    desk.sender.wake(Stream.BULK)
    assert "b4" in desk.all_due()
    desk.store.unsealed[Stream.BULK] = 5
    desk.clock.advance(60.5)
    assert "b5" in desk.all_due()


def test_the_same_bytes_come_again_after_the_time_out_and_ever_less_often() -> None:
    desk = Desk(ack_timeout_s=30.0, ack_timeout_max_s=200.0, probe_max_s=1e9)
    desk.store.unsealed[Stream.BULK] = 1
    times = []
    for _ in range(1_000):
        times += [desk.now_s for _ in desk.all_due()]
        desk.clock.advance(1.0)
    assert times == [0, 30, 90, 210, 410, 610, 810]
    assert desk.sender.status().resent == 6


def test_the_newest_batch_asks_for_the_others_when_nobody_answers() -> None:
    desk = Desk(ack_timeout_s=30.0, ack_timeout_max_s=10_000.0, probe_max_s=60.0)
    desk.store.unsealed[Stream.BULK] = 30
    assert desk.all_due() == ["b1", "b2", "b3"]
    sent: list[str] = []
    for _ in range(3_600):
        desk.clock.advance(1.0)
        sent += desk.all_due()
    assert sent.count("b3") > 50
    assert sent.count("b1") < 8
    desk.ack("b3")
    assert desk.all_due() == ["b1", "b2"]


def test_a_full_window_without_an_answer_asks_with_one_batch_soon_and_ever_less_often() -> None:
    """A broker that forgot everything took the whole window and kept it for nobody."""
    desk = Desk(ack_timeout_s=1e9, ack_timeout_max_s=1e9, probe_first_s=5.0, probe_max_s=60.0)
    desk.store.unsealed[Stream.BULK] = 100
    assert desk.all_due() == ["b1", "b2", "b3", "b4"]
    sent: list[tuple[float, str]] = []
    for _ in range(200):
        desk.clock.advance(1.0)
        sent += [(desk.now_s, name) for name in desk.all_due()]
    assert sent == [(5, "b4"), (15, "b4"), (35, "b4"), (75, "b4"), (135, "b4"), (195, "b4")]
    desk.sender.hurry()  # the collector stops: no time to lose
    assert desk.all_due() == ["b4"]
    desk.ack("b4")
    assert desk.all_due() == ["b1", "b2", "b3", "b5", "b6", "b7", "b8"]


def test_a_portal_that_answers_slowly_but_answers_is_not_asked_twice() -> None:
    desk = Desk(probe_first_s=5.0)
    desk.store.unsealed[Stream.BULK] = 1_000
    flying = desk.all_due()
    for _ in range(50):
        desk.clock.advance(4.0)  # 16 s from a publication to its ack
        desk.ack(flying.pop(0))
        flying += desk.all_due()
    assert desk.sender.status().resent == 0


def test_the_wait_for_an_ack_begins_when_the_bytes_have_left() -> None:
    desk = Desk(ack_timeout_s=30.0)
    desk.store.unsealed[Stream.BULK] = 1
    outgoing = desk.sender.due(desk.now_s)
    assert outgoing is not None
    desk.clock.advance(500.0)  # a slow link
    assert desk.sender.due(desk.now_s) is None
    desk.sender.sent(outgoing, desk.now_s)
    desk.clock.advance(29.0)
    assert desk.all_due() == []
    desk.clock.advance(1.0)
    assert desk.all_due() == ["b1"]


def test_a_new_session_begins_with_all_that_is_unacknowledged() -> None:
    desk = Desk()
    desk.store.unsealed = {Stream.BULK: 60, Stream.URGENT: 1}
    assert desk.all_due() == ["u1", "b1", "b2", "b3", "b4"]
    desk.ack("b1")
    desk.sender.disconnected()
    assert desk.all_due() == []
    desk.sender.connected(desk.now_s)
    assert desk.all_due() == ["u1", "b2", "b3", "b4", "b5"]
    desk.ack("u1")  # of the session before, for all we know
    desk.ack("u1")
    assert desk.sender.status().committed == 2


def test_only_a_valid_ack_for_identity_and_hash_settles() -> None:
    desk = Desk()
    desk.store.unsealed[Stream.BULK] = 1
    assert desk.all_due() == ["b1"]
    desk.ack("b1", digest=bytes(32))
    desk.ack("b1", key=SigningKey.generate())
    desk.sender.take(ack_topic(COLLECTOR), b"\xd2\x84 no", desk.now_s)
    assert desk.sender.in_flight == 1
    assert desk.store.state[desk.batch("b1").id] == "waiting"
    status = desk.sender.status()
    assert (status.unknown_acks, status.bad_messages, status.committed) == (1, 2, 0)


def test_noise_never_raises() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng, desk = random.Random(seed), Desk()
    desk.store.unsealed[Stream.BULK] = 1
    assert desk.all_due() == ["b1"]
    for _ in range(300):
        topic = rng.choice((ack_topic(COLLECTOR), command_topic(COLLECTOR), "nowhere"))
        desk.sender.take(topic, b"\xd2\x84" + rng.randbytes(rng.randrange(200)), desk.now_s)
    assert desk.sender.status().bad_messages == 300
    assert desk.commands == []


def test_an_ack_that_the_store_cannot_keep_settles_nothing() -> None:
    desk = Desk()
    desk.store.unsealed[Stream.BULK] = 1
    assert desk.all_due() == ["b1"]
    desk.store.faults["acked"] = HeadwaterError("full")
    desk.ack("b1")
    assert desk.sender.in_flight == 1
    desk.ack("b1")
    assert desk.sender.in_flight == 0


def test_a_store_that_cannot_seal_keeps_the_session_and_is_asked_again() -> None:
    desk = Desk()
    desk.store.unsealed = {Stream.BULK: 1, Stream.URGENT: 1}
    desk.store.faults["seal"] = HeadwaterError("full")
    assert desk.all_due() == ["b1"]
    assert desk.sender.status().connected
    desk.clock.advance(1.0)
    assert desk.all_due() == ["u1"]


def test_a_rejected_batch_is_set_aside_and_the_next_goes_on() -> None:
    desk = Desk(window=1)
    desk.store.unsealed[Stream.BULK] = 20
    assert desk.all_due() == ["b1"]
    desk.ack("b1", reason="refused-here")
    assert desk.all_due() == ["b2"]
    assert desk.store.state[desk.batch("b1").id] == "refused-here"


def test_batches_that_the_portal_cannot_answer_do_not_close_the_window() -> None:
    desk = Desk(window=2)
    desk.store.unsealed[Stream.BULK] = 200
    settled: set[str] = set()
    for _ in range(40):
        for name in desk.all_due():
            if name not in ("b1", "b3") and name not in settled:
                settled.add(name)
                desk.ack(name)
    assert len(settled) == 18  # all of the 20 but those two


def test_an_ack_hurries_only_what_was_published_before_it_and_only_once() -> None:
    desk = Desk()
    desk.store.unsealed[Stream.BULK] = 40
    assert desk.all_due() == ["b1", "b2", "b3", "b4"]
    desk.ack("b2")
    assert desk.all_due() == ["b1"]
    desk.ack("b3")
    desk.ack("b4")
    assert desk.all_due() == []


def test_a_command_is_carried_out_once() -> None:
    desk = Desk()
    desk.command(1)
    desk.command(1)
    desk.command(2)
    assert [command.nonce[0] for command in desk.commands] == [1, 2]


# What the portal asks for again


@pytest.fixture
def settled() -> Desk:
    """Twenty bulk batches, all acknowledged."""
    desk = Desk()
    for sequence in range(1, 21):
        desk.store.keep(Stream.BULK, sequence, state="acked")
    return desk


def test_batches_are_sent_again_as_they_were_within_a_window_and_page_by_page(settled: Desk) -> None:
    assert settled.ask(3, 9) == ""
    sent = settled.all_due()
    assert sent == ["b3", "b4"]
    while sent[-1] != "b9":
        settled.ack(sent[-1])
        settled.ack(sent[-1])  # repeats are harmless
        sent += settled.all_due()
    assert sent == [f"b{n}" for n in range(3, 10)]
    assert settled.done == []
    for text in sent:
        settled.ack(text)
    assert settled.done == [(7, 0)]
    assert settled.gone == []
    assert max(settled.store.pages) <= 4
    assert set(settled.store.state.values()) == {"acked"}
    status = settled.sender.status()
    assert (status.requested, status.resent, status.committed, status.unknown_acks) == (7, 0, 0, 0)


def test_alarms_and_new_batches_are_not_kept_waiting_by_a_resend(settled: Desk) -> None:
    settled.ask(1, 20)
    settled.store.unsealed = {Stream.BULK: 20, Stream.URGENT: 1}
    assert settled.all_due() == ["u1", "b21", "b1", "b22", "b2"]
    assert settled.all_due(room=False) == []
    settled.ack("b1")
    settled.store.unsealed[Stream.URGENT] = 1
    settled.sender.wake(Stream.URGENT)
    assert settled.all_due(room=False) == ["u2"]
    assert settled.all_due() == ["b3"]


def test_what_is_gone_is_told_and_what_was_never_sealed_is_not(settled: Desk) -> None:
    for sequence in (1, 2, 3, 7, 20):
        del settled.store.kept[settled.batch(f"b{sequence}").id]
    assert settled.ask(1, 2**62) == ""
    sent: list[str] = []
    while names := settled.all_due():
        sent += names
        for text in names:
            settled.ack(text)
    assert sent == [f"b{n}" for n in range(1, 20) if n not in (1, 2, 3, 7)]
    assert settled.gone == [(1, 3), (7, 7), (20, 20)]
    assert settled.done == [(15, 0)]
    assert len(settled.store.pages) < 10
    assert "beyond 20" in settled.ask(21, 21)
    assert settled.gone == [(1, 3), (7, 7), (20, 20)]


def test_all_of_an_epoch_that_nobody_here_knows_is_gone(settled: Desk) -> None:
    assert settled.ask(1, 2**63 - 1, epoch=bytes(16)) == ""
    assert settled.all_due() == []
    assert settled.gone == [(1, 2**63 - 1)]
    assert settled.done == [(0, 0)]


def test_what_travels_anyway_is_not_sent_twice(settled: Desk) -> None:
    settled.store.unsealed[Stream.BULK] = 20
    assert settled.all_due() == ["b21", "b22"]
    settled.ask(19, 22)
    settled.ask(18, 21)  # 19 to 21 are asked for already
    sent = settled.all_due()
    for text in ("b19", "b20"):
        settled.ack(text)
    assert sent + settled.all_due() == ["b19", "b20", "b18"]
    settled.ack("b18")
    assert settled.done == [(2, 0), (1, 0)]


def test_a_resend_without_an_answer_is_given_up_and_told(settled: Desk) -> None:
    settled.ask(5, 5)
    sent: list[str] = []
    for _ in range(1_000):
        sent += settled.all_due()
        settled.clock.advance(1.0)
    assert sent == ["b5"] * 3
    assert settled.done == [(0, 1)]
    assert settled.sender.in_flight == 0


def test_a_resend_goes_on_in_the_next_session(settled: Desk) -> None:
    settled.ask(5, 7)
    assert settled.all_due() == ["b5", "b6"]
    settled.sender.disconnected()
    settled.sender.connected(settled.now_s)
    assert settled.all_due() == ["b5", "b6"]
    settled.ack("b5")
    settled.ack("b6")
    assert settled.all_due() == ["b7"]
    settled.ack("b7")
    assert settled.done == [(3, 0)]


def test_a_store_that_cannot_be_read_is_asked_again(settled: Desk) -> None:
    settled.store.faults["batches"] = HeadwaterError("locked")
    settled.ask(5, 5)
    assert settled.all_due() == []
    settled.clock.advance(1.0)
    assert settled.all_due() == ["b5"]


def test_too_many_resends_are_refused(settled: Desk) -> None:
    answers = [settled.ask(1, 1, epoch=bytes([n]) * 16) for n in range(100)]
    assert answers[:64] == [""] * 64
    assert set(answers[64:]) == {"too many resends wait already"}
