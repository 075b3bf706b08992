"""Hypothesis strategies for batches as strange as the types allow."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType

from hypothesis import strategies as st

from domain.clock import ClockState
from domain.ids import BatchId, CollectorId, MeterId, PreviousEpoch, RegisterId, Stream
from domain.reading import (
    Event,
    EventKind,
    ReadFlag,
    ReadQuality,
    Reason,
    Register,
    RegisterRead,
    StoredEvent,
    StoredRead,
)
from domain.units import Unit
from sync.batch import Batch

_I63 = 2**63 - 1
moments = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
meter_ids = st.one_of(
    st.integers(0, 10**8 - 1).map(lambda n: f"EFE-{n:08d}"),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", fullmatch=True),
).map(MeterId)
clocks = st.builds(
    ClockState,
    st.sampled_from([bytes(16), bytes(range(16)), b"\xff" * 16]),
    st.one_of(st.integers(0, _I63), st.integers(10**15, 10**15 + 10**10)),
    st.booleans(),
    st.one_of(st.none(), st.sampled_from([datetime(2026, 11, 2, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])),
)
registers = st.builds(
    Register,
    meter_ids,
    st.sampled_from([RegisterId("total"), RegisterId("reverse_total")]),
    st.sampled_from(Unit),
    st.integers(-9, 9),
    st.one_of(st.none(), st.sampled_from([10**8, 2**32, 2**64 - 1])),
)


@st.composite
def register_reads(draw: st.DrawFn, register: Register) -> RegisterRead:
    modulus = register.modulus
    counts = st.integers(-_I63 - 1, _I63) if modulus is None else st.integers(0, min(modulus - 1, _I63))
    return RegisterRead(
        register,
        draw(counts),
        draw(moments),
        draw(clocks),
        draw(st.sampled_from(ReadQuality)),
        draw(st.sampled_from(Reason)),
        ReadFlag(draw(st.integers(0, 31))),
    )


details = st.dictionaries(
    st.text(max_size=20),
    st.one_of(
        st.text(max_size=50),
        st.integers(-(2**63), 2**63 - 1),
        st.lists(st.integers(-(2**40), 2**40), max_size=5),
        st.lists(st.text(max_size=10), max_size=5),
    ),
    max_size=4,
).map(MappingProxyType)
events = st.builds(
    Event,
    st.text(min_size=1, max_size=60),
    st.sampled_from(EventKind),
    moments,
    clocks,
    st.one_of(st.none(), meter_ids),
    details,
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Reads of a few registers in any order, with events among them, clocks and counts as they fall."""
    some = draw(st.lists(registers, min_size=1, max_size=4, unique=True))
    reads = draw(st.lists(st.sampled_from(some).flatmap(register_reads), max_size=12))
    happened = draw(st.lists(events, max_size=3))
    gaps = draw(
        st.lists(st.integers(1, 2**40), min_size=len(reads) + len(happened), max_size=len(reads) + len(happened))
    )
    seqs = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    event_seqs = set(draw(st.permutations(seqs))[: len(happened)])
    read_seqs = [seq for seq in seqs if seq not in event_seqs]
    return Batch(
        BatchId(
            CollectorId("elm-street-3"),
            draw(st.binary(min_size=16, max_size=16)),
            draw(st.sampled_from(Stream)),
            draw(st.integers(1, _I63)),
        ),
        draw(st.binary(min_size=32, max_size=32)),
        draw(moments),
        tuple(StoredRead(*pair) for pair in zip(read_seqs, reads, strict=True)),
        tuple(StoredEvent(*pair) for pair in zip(sorted(event_seqs), happened, strict=True)),
        draw(
            st.one_of(
                st.none(),
                st.builds(
                    PreviousEpoch,
                    st.binary(min_size=16, max_size=16),
                    st.tuples(st.integers(0, _I63), st.integers(0, _I63)),
                ),
            )
        ),
        draw(st.one_of(st.just(0), st.integers(1, _I63))),
    )
