"""Boundary counts in bulk: the same numbers as the chart's, with a number of queries that does not grow."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from domain.reading import ReadQuality, RegisterRead
from portal.ingest.apply import apply_batch
from portal.metering import services as metering
from portal.metering.folding import fold_closed_days
from portal.metering.models import Installation
from portal.metering.reads import to_us
from portal.metering.spans import MeteredPart, metered
from portal.metering.usage import usage
from tests.portal.building import NOON, Box, enrolled, home, read, total

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, 5, tzinfo=UTC)


def arrive(box: Box, reads: list[RegisterRead]) -> None:
    answer = apply_batch(box.sealed(reads), box.name, reads[-1].read_at)
    assert answer is not None
    assert answer.committed


def random_reads(rng: random.Random, meter: str, start: datetime, days: int, modulus: int) -> list[RegisterRead]:
    """Reads every few hours with holes of up to six days; some say of themselves that they are missing."""
    register = total(meter, modulus=modulus)
    at, count, reads = start + timedelta(seconds=rng.randrange(9000)), rng.randrange(modulus), []
    while at < start + timedelta(days=days):
        missing = rng.random() < 0.02
        reads.append(read(register, count % modulus, at, ReadQuality.MISSING if missing else ReadQuality.MEASURED))
        at += timedelta(hours=rng.choice((1, 3, 6)), microseconds=rng.randrange(10**9))
        if rng.random() < 0.03:
            at += timedelta(hours=rng.randrange(1, 150))
        count += rng.choice((0, 1, 7, 40, modulus // 15))
    return reads


def used(parts: list[MeteredPart], start: datetime, end: datetime) -> int | None:
    """What all parts counted in [start, end], each as far as it is known there."""
    total_counts, known = 0, False
    for part in parts:
        inside = [count for count in part.counts if start <= count.at <= end]
        if len(inside) > 1:
            total_counts, known = total_counts + inside[-1].count - inside[0].count, True
    return total_counts if known else None


@pytest.mark.parametrize("seed", range(12))
def test_boundaries_are_those_of_the_chart(seed: int) -> None:
    rng = random.Random(seed)
    box = enrolled("hw-spans-1")
    points = []
    for number in range(3):
        reads = random_reads(rng, f"EFE-0000000{number}", START, 40, modulus=10 ** rng.choice((4, 5, 8)))
        service_point, installation = home(reads[0].register, START, address=f"{number} Elm Street")
        arrive(box, reads)
        if rng.random() < 0.5:
            swap = START + timedelta(hours=rng.randrange(24 * 40))
            Installation.objects.filter(pk=installation.pk).update(end=swap)
            later = random_reads(rng, f"EFE-0000001{number}", swap, 20, modulus=10**5)
            row = metering.claim_register(later[0].register, at=swap)
            metering.install_meter(row.meter, service_point, swap, register=row, first_count=later[0].raw_count)
            arrive(box, later)
        points.append(service_point)
    if seed % 2:
        fold_closed_days(START + timedelta(days=rng.randrange(20, 90)))
    edges = sorted(START + timedelta(hours=rng.randrange(24 * 45)) for _ in range(rng.choice((2, 3, 4))))
    found = metered([point.pk for point in points], edges)
    for point in points:
        for start, end in [*zip(edges, edges[1:], strict=False), (edges[0], edges[-1])]:
            if start == end:
                continue
            chart = usage(point, start=edges[0], end=edges[-1], resolution="month")
            assert used(found[point.pk], edges[0], edges[-1]) == chart.total_counts
            inside = usage(point, start=start, end=end, resolution="month")
            for part in found[point.pk]:
                low, high = part.at(start), part.at(end)
                if low and high and inside.first and inside.last:
                    assert (low.shown, high.shown) == (inside.first.raw_count, inside.last.raw_count)
                    assert (low.quality, low.interpolated) == (inside.first.quality, inside.first.interpolated)
                    assert high.count - low.count == inside.total_counts


def test_a_dial_that_turns_more_than_half_round_between_two_bills_is_followed() -> None:
    register = total(modulus=10**4)
    service_point, _ = home(register, START)
    reads = [read(register, 700 * n % 10**4, START + timedelta(hours=12 * n)) for n in range(80)]
    arrive(enrolled("hw-spans-1"), reads)
    fold_closed_days(START + timedelta(days=60))
    edges = [START + timedelta(hours=12), START + timedelta(days=30)]
    (part,) = metered([service_point.pk], edges)[service_point.pk]
    assert part.counts[-1].count - part.counts[0].count == 700 * 59
    chart = usage(service_point, start=edges[0], end=edges[1], resolution="month")
    assert chart.total_counts == 700 * 59


def test_a_count_names_the_reads_that_it_rests_on() -> None:
    register = total()
    service_point, _ = home(register, NOON)
    arrive(enrolled("hw-spans-1"), [read(register, n, NOON + timedelta(hours=n)) for n in range(6)])
    hour = timedelta(hours=1)
    (part,) = metered([service_point.pk], [NOON + hour, NOON + 2.5 * hour])[service_point.pk]
    first, last = part.counts
    assert first.read_us == (to_us(NOON + hour),)
    assert not first.interpolated
    assert last.read_us == (to_us(NOON + 2 * hour), to_us(NOON + 3 * hour))
    assert last.interpolated


def test_a_little_beyond_the_last_read_the_dial_is_taken_to_have_stood_still_when_asked() -> None:
    register = total()
    service_point, _ = home(register, NOON)
    arrive(enrolled("hw-spans-1"), [read(register, 10 + n, NOON + timedelta(hours=n)) for n in range(3)])
    edges = [NOON, NOON + timedelta(hours=5)]
    (strict,) = metered([service_point.pk], edges)[service_point.pk]
    assert strict.at(edges[1]) is None
    (loose,) = metered([service_point.pk], edges, slack=timedelta(hours=4))[service_point.pk]
    assert loose.at(edges[1]).count == 12  # type: ignore[union-attr]


def test_queries_do_not_grow_with_the_service_points() -> None:
    box, points = enrolled("hw-spans-1"), []
    for number in range(12):
        register = total(f"EFE-000000{number:02}")
        points.append(home(register, START, address=f"{number} Elm Street")[0].pk)
        arrive(box, [read(register, n, START + timedelta(hours=n)) for n in range(60)])
    fold_closed_days(START + timedelta(days=30))
    edges = [START + timedelta(hours=1), START + timedelta(hours=50)]
    counts = []
    for few in (points[:2], points):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            metered(few, edges)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 10
