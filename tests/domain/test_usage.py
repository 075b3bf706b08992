"""Usage between reads: whatever the partition, the parts sum to the difference of the registers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from domain.reading import ReadQuality
from domain.usage import CountPoint, count_at, split, storage_day, unrolled, worse

START = datetime(2026, 3, 1, tzinfo=UTC)


@st.composite
def _points(draw: st.DrawFn, *, least: int = 1) -> list[CountPoint]:
    """Unrolled points at rising, irregular moments; counts mostly rise and sometimes step back."""
    gaps_us = draw(st.lists(st.integers(1, 3 * 86_400 * 10**6), min_size=least - 1, max_size=12))
    steps = draw(st.lists(st.integers(-50, 100_000), min_size=len(gaps_us), max_size=len(gaps_us)))
    points = [CountPoint(START, draw(st.integers(0, 10**8)))]
    for gap_us, step in zip(gaps_us, steps, strict=True):
        quality = draw(st.sampled_from(list(ReadQuality)))
        points.append(CountPoint(points[-1].at + timedelta(microseconds=gap_us), points[-1].count + step, quality))
    return points


def _moments(points: list[CountPoint], *, beyond_s: int) -> st.SearchStrategy[datetime]:
    low, high = points[0].at - timedelta(seconds=beyond_s), points[-1].at + timedelta(seconds=beyond_s)
    whole_us = (high - low) // timedelta(microseconds=1)
    return st.integers(0, whole_us).map(lambda us: low + timedelta(microseconds=us))


@given(_points(least=2), st.data())
def test_any_partition_of_a_span_sums_to_the_register_difference(points: list[CountPoint], data: st.DataObject) -> None:
    inner = data.draw(st.lists(_moments(points, beyond_s=0), max_size=30))
    boundaries = sorted([points[0].at, *inner, points[-1].at])
    parts = split(points, boundaries)
    assert sum(part.counts or 0 for part in parts) == points[-1].count - points[0].count


@given(_points(least=2), st.data())
def test_two_partitions_agree_wherever_they_share_boundaries(points: list[CountPoint], data: st.DataObject) -> None:
    coarse = sorted(set(data.draw(st.lists(_moments(points, beyond_s=90_000), min_size=2, max_size=5))))
    extra = data.draw(st.lists(_moments(points, beyond_s=90_000), max_size=20))
    fine = sorted({*coarse, *(m for m in extra if coarse[0] <= m <= coarse[-1])})
    for whole in split(points, coarse):
        inside = [part for part in split(points, fine) if whole.start <= part.start and part.end <= whole.end]
        known = [part.counts for part in inside if part.counts is not None]
        assert (sum(known) if known else None) == whole.counts


@given(_points(least=2), st.data())
def test_a_split_count_is_within_one_of_its_exact_share(points: list[CountPoint], data: st.DataObject) -> None:
    moment = data.draw(_moments(points, beyond_s=0))
    known = count_at(points, moment)
    assert known is not None
    after = next(i for i, point in enumerate(points) if point.at >= moment)
    if points[after].at == moment:
        assert known == (points[after].count, points[after].quality, False)
        return
    left, right = points[after - 1], points[after]
    share = (right.count - left.count) * ((moment - left.at) / (right.at - left.at))
    assert abs(known[0] - left.count - share) <= 1.001
    assert known[2]
    assert known[1] == worse(left.quality, right.quality)


@given(_points())
def test_nothing_is_known_outside_the_reads(points: list[CountPoint]) -> None:
    second = timedelta(seconds=1)
    assert count_at(points, points[0].at - second) is None
    assert count_at(points, points[-1].at + second) is None
    before, after = (
        split(points, [points[0].at - 2 * second, points[0].at]),
        split(points, [points[-1].at, points[-1].at + second]),
    )
    assert [part.counts for part in (*before, *after)] == [None, None]
    assert {part.quality for part in (*before, *after)} == {ReadQuality.MISSING}


def test_a_lone_read_proves_no_usage_not_even_none() -> None:
    lone = [CountPoint(START + timedelta(minutes=30), 5)]
    (hour,) = split(lone, [START, START + timedelta(hours=1)])
    assert hour.counts is None
    assert hour.quality is ReadQuality.MISSING
    (nothing,) = split([], [START, START + timedelta(hours=1)])
    assert nothing.counts is None


@given(st.lists(st.integers(0, 499), min_size=1, max_size=30), st.randoms())
def test_reads_in_any_order_unroll_alike(steps: list[int], random: object) -> None:
    true, points = 990, [CountPoint(START, 990)]
    for hour, step in enumerate(steps, start=1):
        true += step
        points.append(CountPoint(START + timedelta(hours=hour), true % 1000))
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    result = unrolled(shuffled, 1000)
    assert result[-1].count == true
    assert result == unrolled(points, 1000)


def test_the_worked_table_of_the_usage_page() -> None:
    """docs/algorithms/usage.md, "A worked day"."""
    at = {"06:52": 99_999_990, "07:07": 2, "07:52": 50, "09:22": 53}
    reads = [CountPoint(START + _clock(text), raw) for text, raw in at.items()]
    points = unrolled(reads, 10**8)
    assert [point.count for point in points] == [99_999_990, 100_000_002, 100_000_050, 100_000_053]
    hours = [START + timedelta(hours=hour) for hour in (6, 7, 8, 9, 10)]
    parts = split(points, hours)
    boundary_counts = [count_at(points, hour) for hour in hours]
    assert [known and known[0] for known in boundary_counts] == [None, 99_999_996, 100_000_050, 100_000_052, None]
    assert [(part.counts, part.interpolated) for part in parts] == [(6, True), (54, True), (2, True), (1, True)]
    assert sum(part.counts or 0 for part in parts) == 63


def _clock(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


@given(st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001
def test_a_storage_day_is_the_utc_day_wherever_the_moment_was_written(naive: datetime, hours: int) -> None:
    moment = naive.replace(tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert storage_day(elsewhere) == (moment.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
