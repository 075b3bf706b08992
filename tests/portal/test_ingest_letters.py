"""Dead letters: kept within bounds, tried again from the staff page, and never a way to stop the others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
import pytest
from django.db import DataError, IntegrityError, OperationalError
from django.test import Client

from domain.ids import BatchId, CollectorId, Stream
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.fleet import services as fleet
from portal.ingest import consumer as consumer_module
from portal.ingest import letters
from portal.ingest.consumer import Consumer
from portal.ingest.errors import REASONS as PORTAL_REASONS
from portal.ingest.fair_queue import Quota
from portal.ingest.letters import Refusal, RefusalLimit, record_refusal
from portal.metering.models import RecentRead, RefusedBatch, StoredBatch
from portal.staff.letters import REASONS
from sync.errors import REASONS as WIRE_REASONS
from sync.topics import batch_topic
from tests.portal.building import NOON, Box, collector_row, enrolled, person, read, total

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


@pytest.fixture
def box() -> Box:
    return enrolled()


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Consumer]:
    """A consumer whose session is a list: what it published and acknowledged; its turns are taken by hand."""

    class Heard:
        connection = 0
        ready = True

        def __init__(self, *args: object, **kwargs: object) -> None:
            self.acked: list[int] = []
            self.published: list[tuple[str, bytes]] = []

        def pump(self, *args: object, **kwargs: object) -> None: ...

        def ack(self, mid: int, qos: int, *, connection: int) -> None:
            self.acked.append(mid)

        def publish(self, topic: str, payload: bytes) -> bool:
            self.published.append((topic, payload))
            return True

    monkeypatch.setattr(consumer_module, "Session", Heard)
    monkeypatch.setattr("django.db.connection.close", lambda: None)  # the test's transaction lives in it
    return Consumer(quota=Quota(messages=6, total_messages=40))


def arrives(ingest: Consumer, data: bytes, name: str = "hw-test-1", *, mid: int, topic: str | None = None) -> None:
    message = mqtt.MQTTMessage(mid=mid, topic=(topic or batch_topic(CollectorId(name))).encode())
    message.payload, message.qos = data, 1
    ingest._took(message)


def turns(ingest: Consumer, count: int = 1) -> None:
    for _ in range(count):
        ingest._away_until_s = 0.0
        ingest._rest_until_s.clear()
        ingest._turn()


def some(box: Box, first: int = 0) -> bytes:
    return box.sealed(
        [read(total(f"EFE-{box.name}"), first + n, NOON + timedelta(minutes=first + n)) for n in range(3)]
    )


class TestPoison:
    @pytest.mark.parametrize("fault", [KeyError("x"), RecursionError(), MemoryError(), ZeroDivisionError()])
    def test_a_fault_is_laid_aside_and_the_next_one_is_served(
        self, ingest: Consumer, box: Box, monkeypatch: pytest.MonkeyPatch, fault: Exception
    ) -> None:
        poison, good = some(box), some(box, 3)
        usual = consumer_module.apply_batch

        def trips(data: bytes, *args: Any, **kwargs: Any) -> Any:
            if data == poison:
                raise fault
            return usual(data, *args, **kwargs)

        monkeypatch.setattr(consumer_module, "apply_batch", trips)
        arrives(ingest, poison, mid=1)
        arrives(ingest, good, mid=2)
        turns(ingest, 2)
        assert ingest._session.acked == [1, 2]  # type: ignore[attr-defined]
        assert len(ingest._session.published) == 1, "the collector of the poison is not told, and keeps it"  # type: ignore[attr-defined]
        row = RefusedBatch.objects.get()
        assert (row.reason, bytes(row.signed or b"")) == ("fault", poison)
        assert type(fault).__name__ in row.detail
        assert StoredBatch.objects.count() == 1
        # The program is put right, the collector sends it once more: taken, and off the list.
        monkeypatch.setattr(consumer_module, "apply_batch", usual)
        ingest.take_letters()
        arrives(ingest, poison, mid=3)
        turns(ingest)
        assert StoredBatch.objects.count() == 2
        assert not RefusedBatch.objects.exists()

    @pytest.mark.parametrize("fault", [OperationalError("too many columns"), IntegrityError("never fits")])
    def test_what_the_database_never_takes_does_not_hold_the_others_up(
        self, ingest: Consumer, box: Box, monkeypatch: pytest.MonkeyPatch, fault: Exception
    ) -> None:
        usual, poison, other = consumer_module.apply_batch, some(box), enrolled("hw-oak-1")

        def trips(data: bytes, *args: Any, **kwargs: Any) -> Any:
            if data == poison:
                raise fault
            return usual(data, *args, **kwargs)

        monkeypatch.setattr(consumer_module, "apply_batch", trips)
        arrives(ingest, poison, mid=1)
        turns(ingest, 2)
        for n in range(6):
            arrives(ingest, some(other, 3 * n), "hw-oak-1", mid=10 + n)
        turns(ingest, 12)
        assert set(ingest._session.acked) == {1, *range(10, 16)}  # type: ignore[attr-defined]
        assert RefusedBatch.objects.get().reason == "fault"
        assert StoredBatch.objects.count() == 6

    def test_a_database_that_is_away_is_nobody_s_fault(
        self, ingest: Consumer, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual, away = consumer_module.apply_batch, [True]

        def fails(*args: Any, **kwargs: Any) -> Any:
            if away[0]:
                raise OperationalError("server closed the connection")
            return usual(*args, **kwargs)

        monkeypatch.setattr(consumer_module, "apply_batch", fails)
        batches = [some(box, 3 * n) for n in range(20)]
        arrives(ingest, batches[0], mid=0)
        turns(ingest, 30)
        ingest._away_until_s = float("inf")
        for mid, data in enumerate(batches[1:], start=1):
            arrives(ingest, data, mid=mid)
        assert (ingest._session.acked, ingest.counters.over_quota) == ([], 0), "nothing is acknowledged meanwhile"  # type: ignore[attr-defined]
        away[0] = False
        turns(ingest, 20)
        assert sorted(ingest._session.acked) == list(range(20))  # type: ignore[attr-defined]
        assert StoredBatch.objects.count() == 20
        assert not RefusedBatch.objects.exists()


def test_over_quota_is_acknowledged_to_the_broker_alone_and_counted(ingest: Consumer, box: Box) -> None:
    batches = [some(box, 3 * n) for n in range(10)]
    for mid, data in enumerate(batches):
        arrives(ingest, data, mid=mid)
    assert ingest._session.acked == [6, 7, 8, 9]  # type: ignore[attr-defined]
    assert ingest._session.published == []  # type: ignore[attr-defined]
    turns(ingest, 6)
    ingest.write_over_quota()
    assert collector_row(box).over_quota == 4
    assert "4 over quota" in ingest.counters.line(connected=True, waiting=0)
    for mid, data in enumerate(batches[6:], start=20):  # no signed ack: the collector sends them again
        arrives(ingest, data, mid=mid)
    turns(ingest, 4)
    assert StoredBatch.objects.count() == 10


def test_who_sends_too_much_has_a_share_of_the_time_and_no_more(ingest: Consumer, box: Box) -> None:
    other = enrolled("hw-oak-1")
    for mid in range(10):
        arrives(ingest, some(box, 3 * mid), mid=mid)
    for _ in range(3):
        ingest._turn()
    assert ingest._session.acked == [6, 7, 8, 9, 0], "after one it rests"  # type: ignore[attr-defined]
    arrives(ingest, some(other), "hw-oak-1", mid=50)
    ingest._turn()
    assert ingest._session.acked[-1] == 50, "nobody else does"  # type: ignore[attr-defined]
    ingest._greedy_until_s.clear()
    turns(ingest, 5)
    assert ingest._session.acked[-5:] == [1, 2, 3, 4, 5]  # type: ignore[attr-defined]


def test_a_flood_of_garbage_writes_few_rows_and_gets_no_answer(ingest: Consumer, box: Box) -> None:
    for mid in range(60):
        arrives(ingest, b"garbage %d" % mid, mid=mid)
        turns(ingest)
    assert 20 <= RefusedBatch.objects.count() <= 25
    assert ingest.counters.refused == 60
    assert ingest.counters.unrecorded >= 35


def test_what_is_not_written_down_is_not_answered(ingest: Consumer, box: Box) -> None:
    """Else the collector would set a batch aside that nobody finds at the portal."""
    good, other = some(box), enrolled("hw-oak-1")
    other.epoch = box.epoch
    stolen = some(other)
    arrives(ingest, good, mid=1)
    turns(ingest)
    answered = len(ingest._session.published)  # type: ignore[attr-defined]
    usual = ingest._limit
    ingest._limit = RefusalLimit(lambda: 0.0, burst=0.0)
    arrives(ingest, stolen, "hw-oak-1", mid=2)
    turns(ingest)
    assert not RefusedBatch.objects.exists()
    assert len(ingest._session.published) == answered  # type: ignore[attr-defined]
    ingest._limit = usual
    arrives(ingest, stolen, "hw-oak-1", mid=3)
    turns(ingest)
    assert RefusedBatch.objects.get().reason == "epoch"
    assert len(ingest._session.published) == answered + 1  # type: ignore[attr-defined]


def test_many_addresses_of_one_sender_are_one_sender(ingest: Consumer, box: Box) -> None:
    for mid in range(40):
        arrives(ingest, b"x", mid=mid, topic=f"hw1/up/{mid}x/hw-test-1/batch")
    assert ingest.counters.over_quota == 34
    turns(ingest, 6)
    assert set(RefusedBatch.objects.values_list("topic_collector", flat=True)) == {"hw-test-1"}


class TestBounds:
    def refusal(self, number: int, *, collector: str = "hw-a", size: int = 100, signed: bool = False) -> Refusal:
        identity = BatchId(CollectorId(collector), bytes(16), Stream.BULK, number + 1) if signed else None
        return Refusal(
            number.to_bytes(size, "big"), "unknown-key", collector, NOON + timedelta(seconds=number), identity
        )

    def test_one_collector_does_not_push_out_another_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(letters, "ROWS_EACH_MAX", 5)
        record_refusal(self.refusal(0, collector="hw-b"))
        record_refusal(self.refusal(0, signed=True))
        for number in range(1, 30):
            record_refusal(self.refusal(number))
        assert RefusedBatch.objects.filter(topic_collector="hw-a").count() == 5
        assert RefusedBatch.objects.filter(topic_collector="hw-b").count() == 1
        assert RefusedBatch.objects.filter(sequence=1).exists(), "what is signed stays longest"

    def test_bytes_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(letters, "BYTES_EACH_MAX", 1000)
        monkeypatch.setattr(letters, "BYTES_MAX", 1500)
        for number in range(30):
            record_refusal(self.refusal(number))
        kept = RefusedBatch.objects.filter(signed__isnull=False)
        assert sorted(row.last_at for row in kept) == [NOON + timedelta(seconds=n) for n in range(20, 30)]
        for number in range(30):
            record_refusal(self.refusal(number, collector="hw-b"))
        assert kept.filter(topic_collector="hw-b").count() == 5, "the others' bytes are not let go"
        assert kept.filter(topic_collector="hw-a").count() == 10
        record_refusal(self.refusal(40, size=2000))
        assert not kept.filter(size_bytes=2000).exists()

    def test_signed_bytes_are_not_let_go_for_unsigned_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(letters, "BYTES_EACH_MAX", 300)
        for number in range(3):
            record_refusal(self.refusal(number, signed=True))
        record_refusal(self.refusal(10))
        assert RefusedBatch.objects.filter(signed__isnull=False, epoch__isnull=False).count() == 3
        record_refusal(self.refusal(11, signed=True))
        assert sorted(RefusedBatch.objects.filter(signed__isnull=False).values_list("sequence", flat=True)) == [
            2,
            3,
            12,
        ]

    def test_what_will_never_be_better_is_not_kept(self) -> None:
        for reason in sorted(letters.HOPELESS):
            record_refusal(Refusal(b"x", reason, "hw-a", NOON))
        assert not RefusedBatch.objects.filter(signed__isnull=False).exists()

    def test_the_limit_refills(self) -> None:
        clock = [0.0]
        limit = RefusalLimit(lambda: clock[0], burst=3, per_s=1)
        assert [limit.allows("a") for _ in range(5)] == [True, True, True, False, False]
        assert limit.allows("b")
        clock[0] = 2.0
        assert [limit.allows("a") for _ in range(3)] == [True, True, False]
        for n in range(10_000):
            limit.allows(f"c{n}")
        assert len(limit._buckets) <= limit.COLLECTORS_MAX


class TestStaffPage:
    @pytest.fixture
    def staff(self) -> Client:
        client = Client()
        client.force_login(person("sam@example.org", is_staff=True))
        return client

    def test_a_retry_that_is_taken_is_acknowledged_and_leaves_the_list(
        self, staff: Client, ingest: Consumer, box: Box
    ) -> None:
        signed = some(box)
        stranger = CollectorId("hw-new-1")
        arrives(ingest, signed, mid=1)
        row = collector_row(box)
        type(row).objects.filter(pk=row.pk).update(collector_id="hw-other-1")  # nobody of this name is enrolled
        turns(ingest)
        assert RefusedBatch.objects.get().reason == "unknown-collector"
        page = staff.get("/staff/refused/").content.decode()
        for shown in (
            "this collector is not enrolled, or it was revoked",
            "hw-test-1",
            f"{len(signed):,}",
            "Try again",
        ):
            assert shown in page
        letter = RefusedBatch.objects.get().pk
        # Still nobody: tried, and refused again.
        assert staff.post("/staff/refused/", {"action": "retry", "letter": letter}).status_code == 303
        assert "being tried again" in staff.get("/staff/refused/").content.decode()
        ingest.take_letters()
        turns(ingest)
        assert "tried again, refused again" in staff.get("/staff/refused/").content.decode()
        # The office puts it right.
        type(row).objects.filter(pk=row.pk).update(collector_id="hw-test-1")
        staff.post("/staff/refused/", {"action": "retry-all", "reason": "unknown-collector"})
        ingest.take_letters()
        turns(ingest)
        assert [topic for topic, _ in ingest._session.published] == ["hw1/down/hw-test-1/ack"]  # type: ignore[attr-defined]
        assert StoredBatch.objects.count() == 1
        assert RecentRead.objects.count() == 3
        assert "Nothing was refused" in staff.get("/staff/refused/").content.decode()
        entries = AuditEntry.objects.filter(action__startswith="refused.")
        assert sorted(entry.action for entry in entries) == ["refused.retry", "refused.retry-all"]
        assert {entry.actor.email for entry in entries if entry.actor} == {"sam@example.org"}
        assert stranger

    def test_a_retry_under_another_reason_keeps_one_row(self, ingest: Consumer, box: Box) -> None:
        signed = some(box)
        record_refusal(Refusal(signed, "fault", box.name, NOON))
        fleet.revoke_collector(collector_row(box), reason="test")
        letters.ask_retry(RefusedBatch.objects.get().pk, actor=person())
        ingest.take_letters()
        turns(ingest)
        row = RefusedBatch.objects.get()
        assert (row.reason, row.retry_asked_at, row.first_at) == ("unknown-collector", None, NOON)
        assert row.retried_at is not None

    def test_a_worker_leaves_the_letters_of_other_partitions_alone(self, ingest: Consumer, box: Box) -> None:
        record_refusal(Refusal(some(box), "fault", box.name, NOON))
        letters.ask_retry(RefusedBatch.objects.get().pk, actor=person())
        ingest.partitions = frozenset(range(16)) - {box.name.partition}
        ingest.take_letters()
        turns(ingest)
        assert RefusedBatch.objects.exists()
        ingest.partitions = frozenset({box.name.partition})
        ingest.take_letters()
        turns(ingest)
        assert not RefusedBatch.objects.exists()

    def test_dismissed_is_off_the_list_and_stays_so(self, staff: Client) -> None:
        record_refusal(Refusal(b"x", "unknown-key", "hw-a", NOON))
        letter = RefusedBatch.objects.get().pk
        staff.post("/staff/refused/", {"action": "dismiss", "letter": letter})
        record_refusal(Refusal(b"x", "unknown-key", "hw-a", NOON))
        assert "Nothing was refused" in staff.get("/staff/refused/").content.decode()
        row = RefusedBatch.objects.get()
        assert (row.times, row.signed) == (2, None)
        assert AuditEntry.objects.get(action="refused.dismiss").detail["collector"] == "hw-a"
        for action in (letters.ask_retry, letters.dismiss):
            with pytest.raises(Refused):
                action(letter, actor=person(f"{action.__name__}@example.org"))

    def test_only_staff_act_and_nonsense_does_nothing(self, staff: Client) -> None:
        record_refusal(Refusal(b"x", "unknown-key", "hw-a", NOON))
        resident = Client()
        resident.force_login(person())
        assert resident.post("/staff/refused/", {"action": "dismiss", "letter": "1"}).status_code == 403
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(person("kim@example.org", is_staff=True))
        assert strict.post("/staff/refused/", {"action": "dismiss", "letter": "1"}).status_code == 403
        for letter in ("", "0", "9" * 30, "x", "-1"):
            assert staff.post("/staff/refused/", {"action": "retry", "letter": letter}).status_code == 303
        assert staff.post("/staff/refused/", {"action": "eat"}).status_code == 400
        assert "hw-a" in staff.get("/staff/refused/?reason=unknown-key&page=x&q=hw").content.decode()

    def test_pages_follow_each_other(self, staff: Client) -> None:
        for number in range(53):
            record_refusal(Refusal(b"%d" % number, "unknown-key", f"hw-{number}", NOON))
        first, second = (staff.get(f"/staff/refused/?page={n}").content.decode() for n in (1, 2))
        assert (first.count("<tr"), second.count("<tr")) == (51, 4)
        assert "Try all 53 again" in first

    def test_every_reason_has_plain_words_in_both_languages(self, staff: Client) -> None:
        from django.utils import translation

        assert set(REASONS) == (set(PORTAL_REASONS) | set(WIRE_REASONS)) - {"expired"}
        with translation.override("en"):
            english = {code: str(text()) for code, text in REASONS.items()}
        with translation.override("es"):
            spanish = {code: str(text()) for code, text in REASONS.items()}
        assert [code for code in REASONS if english[code] == spanish[code]] == []


def test_a_value_that_no_database_holds_is_answered(
    box: Box, monkeypatch: pytest.MonkeyPatch, ingest: Consumer
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DataError("out of range")

    monkeypatch.setattr("portal.metering.services.apply_contents", fail)
    arrives(ingest, some(box), mid=1)
    turns(ingest)
    row = RefusedBatch.objects.get()
    assert (row.reason, row.stream, row.sequence) == ("not-storable", 0, 1)
    assert (ingest.counters.rejected, ingest._session.acked) == (1, [1])  # type: ignore[attr-defined]
