"""Topics are spelt in one place and read back in the same."""

from __future__ import annotations

import pytest

from domain.ids import CollectorId
from sync.topics import (
    ack_topic,
    batch_filter,
    batch_topic,
    command_topic,
    parse_batch_topic,
    parse_state_topic,
    state_filter,
    state_topic,
)

COLLECTOR = CollectorId("elm-street-3")
PARTITION = f"{COLLECTOR.partition:02d}"


def test_spelling() -> None:
    assert batch_topic(COLLECTOR) == f"hw1/up/{PARTITION}/elm-street-3/batch"
    assert state_topic(COLLECTOR) == f"hw1/up/{PARTITION}/elm-street-3/state"
    assert ack_topic(COLLECTOR) == "hw1/down/elm-street-3/ack"
    assert command_topic(COLLECTOR) == "hw1/down/elm-street-3/command"
    assert (batch_filter(), batch_filter(3), state_filter()) == (
        "hw1/up/+/+/batch",
        "hw1/up/03/+/batch",
        "hw1/up/+/+/state",
    )
    with pytest.raises(ValueError, match="partition"):
        batch_filter(16)


def test_reading_back() -> None:
    assert parse_batch_topic(batch_topic(COLLECTOR)) == COLLECTOR
    assert parse_state_topic(state_topic(COLLECTOR)) == COLLECTOR
    wrong_partition = f"hw1/up/{(COLLECTOR.partition + 1) % 16:02d}/elm-street-3/batch"
    for topic in (wrong_partition, state_topic(COLLECTOR), "hw1/up/00/ELM/batch", "hw2/up/00/elm/batch", "", "a/b"):
        with pytest.raises(ValueError, match=r"topic|collector id"):
            parse_batch_topic(topic)
