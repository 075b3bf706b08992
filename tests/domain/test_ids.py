"""Identities are checked when they are made."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import PARTITIONS, BatchId, CollectorId, MeterId, PreviousEpoch, RegisterId, Stream


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (CollectorId, ["hw-1", "abc", "a" * 32], ["ab", "a" * 33, "HW-1", "a b", "hw/1", "hw+1", "hw#", "abc\n", ""]),
        (MeterId, ["EFE-04990254", "1", "a.b_c-d"], ["", "-1", "a" * 41, "a b", "a/b", "mètre", "x\n"]),
        (RegisterId, ["total", "reverse_total", "t1"], ["", "Total", "1t", "a-b", "a" * 33]),
    ],
)
def test_shapes(kind: type[CollectorId | MeterId | RegisterId], good: list[str], bad: list[str]) -> None:
    for text in good:
        assert kind(text) == text
        assert isinstance(pickle.loads(pickle.dumps(kind(text))), kind)
    for text in bad:
        with pytest.raises(ValueError, match="is not"):
            kind(text)


@given(st.from_regex(r"[a-z0-9-]{3,32}", fullmatch=True))
def test_every_collector_has_one_of_the_partitions(text: str) -> None:
    partition = CollectorId(text).partition
    assert 0 <= partition < PARTITIONS
    assert partition == CollectorId(text).partition


def test_partitions_spread() -> None:
    used = [CollectorId(f"hw-{number}").partition for number in range(1600)]
    assert all(50 < used.count(partition) < 150 for partition in range(PARTITIONS))


def test_a_batch_id_has_a_whole_epoch_and_counts_from_one() -> None:
    collector = CollectorId("hw-1")
    assert str(BatchId(collector, bytes(16), Stream.URGENT, 7)) == "hw-1/00000000/urgent/7"
    for epoch, sequence in ((bytes(15), 1), (bytes(16), 0), (bytes(16), 2**63)):
        with pytest.raises(ValueError, match=r"epoch|sequence"):
            BatchId(collector, epoch, Stream.BULK, sequence)


def test_a_previous_epoch_names_both_streams() -> None:
    assert PreviousEpoch(bytes(16), (0, 3)).last_sequences == (0, 3)
    for epoch, last in ((bytes(3), (0, 0)), (bytes(16), (0,)), (bytes(16), (-1, 0))):
        with pytest.raises(ValueError, match="epoch"):
            PreviousEpoch(epoch, last)  # type: ignore[arg-type]
