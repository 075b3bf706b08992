"""The bus owner: what each kind of answer, silence and fault of the line becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from domain.clock import Clock
from domain.errors import ResourceUnavailable
from domain.ids import MeterId
from domain.reading import EventKind, ReadFlag, ReadQuality, Reason
from drivers.base import Link, MeterReply, MeterTarget, ScanResult
from drivers.errors import BadChecksum, BadFrame, LinkDown, NoReply
from gateway.bus_work import wait_for
from gateway.explain import reason_of
from gateway.memory import Memory
from tests.gateway.fakes import Answer, Bench, FakeLink, reply


def failing(error: Exception) -> Answer:
    def answer(target: MeterTarget) -> MeterReply:
        raise error

    return answer


def test_a_round_is_one_transaction_and_every_read_is_stamped() -> None:
    bench = Bench(meters=5)
    bench.run(59)
    assert bench.store.transactions == [5]
    assert [read.register.meter_id for read in bench.store.reads] == [f"M{i}" for i in range(5)]
    assert all(read.clock.synchronised and read.clock.synced_since for read in bench.store.reads)
    assert len(bench.links) == 1
    assert bench.owner.state.last_round_s == 2.5


def test_stamps_are_kept_in_whole_milliseconds() -> None:
    bench = Bench(meters=2)
    bench.hand.advance(0.0123456)
    bench.run(130)
    assert len(bench.store.reads) >= 4
    assert {read.read_at.microsecond % 1000 for read in bench.store.reads} == {0}
    wall_us = [round(read.read_at.timestamp() * 1e6) for read in bench.store.reads]
    apart = {us - read.clock.monotonic_ns // 1000 for us, read in zip(wall_us, bench.store.reads, strict=True)}
    assert len(apart) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadChecksum("sum is 12, expected 13", reply=b"\x68\x03"), "bad-checksum"),
        (BadFrame("cut short", reply=b"\x68\x03"), "bad-frame"),
        (NoReply("noise", seen=b"\xff\x00"), "noise"),
        (ZeroDivisionError("a driver's own fault"), "driver-error"),
    ],
)
def test_a_damaged_reply_is_an_event_with_its_reason_and_never_a_read(error: Exception, reason: str) -> None:
    bench = Bench(meters=2)
    bench.driver.answers["M1"] = failing(error)
    bench.run(30)
    assert {read.register.meter_id for read in bench.store.reads} == {"M0"}
    assert bench.kinds() == ["bad-reply", "bad-reply"]
    event = bench.store.events[0]
    assert event.detail["reason"] == reason
    assert event.meter_id == "M1"
    if reason != "driver-error":
        assert event.detail["reply"] in ("6803", "ff00")


def test_a_second_attempt_that_works_is_flagged() -> None:
    bench = Bench(meters=1)
    errors = [BadChecksum("sum", reply=b"\x68")]

    def answer(target: MeterTarget) -> MeterReply:
        if errors:
            raise errors.pop()
        return reply(target.meter_id, 5, bench.links[0])

    bench.driver.answers["M0"] = answer
    bench.run(30)
    assert [read.flags for read in bench.store.reads] == [ReadFlag.RETRIED]
    assert bench.kinds() == ["bad-reply"]


def test_a_silent_meter_costs_one_short_slot_a_round_and_is_told_once() -> None:
    bench = Bench(meters=5)
    bench.driver.answers["M2"] = failing(NoReply("no reply in 2.0 s"))
    bench.run(3600)
    tried = [at for name, at in bench.driver.asked if name == "M2"]
    by_round = [sum(1 for at in tried if n * 60 <= at < (n + 1) * 60) for n in range(60)]
    assert by_round[0] == 2
    assert max(by_round[1:]) == 1
    assert sum(by_round) < 15
    assert bench.kinds() == ["meter-silent"]
    assert sum(1 for read in bench.store.reads if read.register.meter_id == "M0") == 60


def test_a_meter_that_returns_is_told_once_and_polled_as_before() -> None:
    bench = Bench(meters=1)
    bench.driver.answers["M0"] = failing(NoReply("no reply"))
    bench.run(600)
    del bench.driver.answers["M0"]
    bench.run(1800)
    assert bench.kinds() == ["meter-silent", "meter-returned"]
    first = bench.store.reads[0].read_at
    assert len([read for read in bench.store.reads if (read.read_at - first).total_seconds() < 600]) in (10, 11)


def test_a_restart_neither_repeats_a_silence_nor_forgets_a_return() -> None:
    first = Bench(meters=1)
    first.driver.answers["M0"] = failing(NoReply("no reply"))
    first.run(600)
    first.memory.save(first.store)
    second = Bench(meters=1, memory=Memory.restore(first.store))
    second.driver.answers["M0"] = failing(NoReply("no reply"))
    second.run(600)
    assert second.kinds() == []
    del second.driver.answers["M0"]
    second.run(1800)
    assert second.kinds() == ["meter-returned"]


def test_another_meter_is_kept_under_the_identity_that_answered_and_told_once() -> None:
    bench = Bench(meters=1)

    def answer(target: MeterTarget) -> MeterReply:
        found = reply("EFE-00000099", 7, bench.links[0], unexpected=True, identity="00000099")
        read = found.reads[0].marked(ReadQuality.SUSPECT, Reason.UNEXPECTED_METER)
        bench.hand.advance(0.5)
        return MeterReply(MeterId("EFE-00000099"), True, (read,), (), "00000099", b"")

    bench.driver.answers["M0"] = answer
    bench.run(200)
    assert {(read.register.meter_id, read.quality) for read in bench.store.reads} == {
        ("EFE-00000099", ReadQuality.SUSPECT)
    }
    assert bench.kinds() == ["identity-changed"]
    assert bench.store.events[0].detail["answered_meter"] == "EFE-00000099"


def test_a_meters_complaint_is_an_event_when_it_changes() -> None:
    bench = Bench(meters=1)
    alarms: tuple[str, ...] = ("low-battery",)

    def answer(target: MeterTarget) -> MeterReply:
        bench.hand.advance(0.5)
        return reply(target.meter_id, 7, bench.links[0], alarms=alarms)

    bench.driver.answers["M0"] = answer
    bench.run(200)
    alarms = ()
    bench.run(200)
    assert [event.detail["alarms"] for event in bench.store.events] == [["low-battery"], []]


def test_a_missing_device_is_one_event_and_the_line_is_tried_again() -> None:
    bench = Bench(meters=1)
    bench.line_fault = ResourceUnavailable("/dev/ttyX: no such device")
    bench.run(300)
    assert bench.kinds() == ["line-down"]
    assert bench.owner.state.state == "down"
    bench.line_fault = None
    bench.run(120)
    assert bench.kinds() == ["line-down", "line-returned"]
    assert bench.owner.state.state == "up"
    assert bench.store.reads


def test_a_line_that_hung_up_between_rounds_is_called_again_at_once() -> None:
    bench = Bench(meters=1)
    bench.run(30)
    stale = bench.links[0]

    def answer(target: MeterTarget) -> MeterReply:
        if bench.links[-1] is stale:
            raise LinkDown("closed by the other side")
        bench.hand.advance(0.5)
        return reply(target.meter_id, 9, bench.links[-1])

    bench.driver.answers["M0"] = answer
    bench.run(60)
    assert stale.closed
    assert bench.kinds() == []
    assert [read.raw_count for read in bench.store.reads] == [1, 9]


def test_a_meter_at_which_the_line_hangs_up_costs_the_others_nothing() -> None:
    """A TCP device that closes the connection at one meter's damaged answer: that meter is silent, not the line."""
    bench = Bench(meters=3)
    bench.driver.answers["M1"] = failing(LinkDown("closed by the other side"))
    bench.run(600)
    assert bench.kinds() == ["meter-silent"]
    assert bench.store.events[0].meter_id == "M1"
    counts = Counter(str(read.register.meter_id) for read in bench.store.reads)
    assert counts["M0"] == counts["M2"] >= 3


def test_a_line_that_hangs_up_at_every_meter_is_down() -> None:
    bench = Bench(meters=3)
    for name in ("M0", "M1", "M2"):
        bench.driver.answers[name] = failing(LinkDown("closed by the other side"))
    bench.run(60)
    assert bench.kinds()[0] == "line-down"


def test_an_on_demand_read_goes_before_the_polls_that_are_due() -> None:
    bench = Bench(meters=3)
    target = bench.owner.plan.targets["M2"]
    future = bench.owner.read_now(target, bench.driver)
    bench.run(10)
    assert bench.driver.asked[0][0] == "M2"
    assert wait_for(future, 0).reads[0].raw_count == 1
    assert bench.store.reads[0].flags == ReadFlag.ON_DEMAND
    assert [read.register.meter_id for read in bench.store.reads] == ["M2", "M0", "M1", "M2"]


def test_an_on_demand_read_of_a_stranger_is_answered_and_not_stored() -> None:
    bench = Bench(meters=1)
    bench.driver.answers["X"] = failing(BadFrame("cut short"))
    good = bench.owner.read_now(MeterTarget(MeterId("Y"), "9"), bench.driver)
    bad = bench.owner.read_now(MeterTarget(MeterId("X"), "8"), bench.driver)
    bench.run(10)
    assert wait_for(good, 0).meter_id == "Y"
    with pytest.raises(BadFrame):
        wait_for(bad, 0)
    assert {read.register.meter_id for read in bench.store.reads} == {"M0"}
    assert bench.kinds() == ["technician-action"]


def test_a_job_on_a_missing_line_is_told_why() -> None:
    bench = Bench(meters=1)
    bench.line_fault = ResourceUnavailable("/dev/ttyX: no such device")
    future = bench.owner.read_now(bench.owner.plan.targets["M0"], bench.driver)
    bench.run(10)
    with pytest.raises(ResourceUnavailable, match="no such device"):
        wait_for(future, 0)


def test_a_scan_goes_on_between_polls_and_delays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(meters=2, every_s=10)

    def steps(link: Link, *, clock: Clock, first: int = 1, last: int | None = None) -> Iterator[ScanResult]:
        for step in range(1, 21):
            clock.sleep(1.0)
            yield ScanResult(str(step), step == 7, step, 20)

    monkeypatch.setattr(bench.driver, "scan", steps)
    search = bench.owner.scan(bench.driver)
    bench.run(60)
    assert [result.address for result in search.results() if result.found] == ["7"]
    rounds = [at for name, at in bench.driver.asked if name == "M0"]
    assert all(at % 10 <= 1.5 for at in rounds)
    assert len(rounds) == 6


def test_a_scan_that_nobody_waits_for_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(meters=1)
    stepped: list[int] = []

    def steps(link: Link, *, clock: Clock, first: int = 1, last: int | None = None) -> Iterator[ScanResult]:
        for step in range(1, 101):
            stepped.append(step)
            clock.sleep(1.0)
            yield ScanResult(str(step), False, step, 100)

    monkeypatch.setattr(bench.driver, "scan", steps)
    results = bench.owner.scan(bench.driver).results()
    bench.run(5)
    assert next(results).address == "1"
    results.close()
    bench.run(300)
    assert len(stepped) < 10
    assert bench.owner.state.busy_with == ""


def test_a_scan_on_a_missing_line_is_told_why() -> None:
    bench = Bench(meters=1)
    bench.line_fault = ResourceUnavailable("/dev/ttyX: no such device")
    search = bench.owner.scan(bench.driver)
    bench.run(5)
    with pytest.raises(ResourceUnavailable, match="no such device"):
        next(search.results())


def test_a_job_that_nobody_waits_for_any_more_is_not_done() -> None:
    bench = Bench(meters=1)
    future = bench.owner.submit("scan", lambda link: pytest.fail("done all the same"))
    with pytest.raises(ResourceUnavailable, match="busy"):
        wait_for(future, 0)
    bench.run(10)
    assert bench.store.reads


def test_an_event_belongs_to_its_bus_and_reasons_read_like_codes() -> None:
    bench = Bench(meters=1)
    bench.driver.answers["M0"] = failing(BadChecksum("sum"))
    bench.run(10)
    assert bench.store.events[0].detail["bus"] == "riser"
    assert bench.store.events[0].kind is EventKind.BAD_REPLY
    assert reason_of(BadChecksum("x")) == "bad-checksum"
    assert isinstance(bench.links[0], FakeLink)
