"""The fair queue: least service time first, bounded for each collector and in all."""

from __future__ import annotations

import random

import pytest

from portal.ingest.fair_queue import FairQueue, Quota


def served(queue: FairQueue[str], turns: int, cost_s: dict[str, float]) -> list[str]:
    """Who is served in so many turns when a message of each costs so long."""
    names = []
    for _ in range(turns):
        taken = queue.take()
        if taken is None:
            break
        names.append(taken[0])
        queue.charge(taken[0], cost_s[taken[0]])
    return names


def test_one_that_floods_waits_behind_everybody_else() -> None:
    queue: FairQueue[str] = FairQueue()
    for n in range(20):
        queue.put("flood", f"f{n}", 100)
    assert served(queue, 5, {"flood": 0.01}) == ["flood"] * 5
    for name in ("elm", "oak", "ash"):
        queue.put(name, name, 100)
    assert queue.urgent()
    turns = served(queue, 4, {"flood": 0.01, "elm": 0.01, "oak": 0.01, "ash": 0.01})
    assert sorted(turns[:3]) == ["ash", "elm", "oak"]
    assert turns[3] == "flood"
    assert not queue.urgent()


def test_time_is_shared_not_turns() -> None:
    queue: FairQueue[str] = FairQueue(Quota(messages=1000, total_messages=3000))
    for n in range(500):
        queue.put("heavy", f"h{n}", 1)
        queue.put("light", f"l{n}", 1)
    turns = served(queue, 110, {"heavy": 1.0, "light": 0.1})
    assert turns.count("heavy") == 10
    assert turns.count("light") == 100


def test_nobody_saves_up_turns_while_idle() -> None:
    queue: FairQueue[str] = FairQueue(Quota(messages=100))
    queue.put("late", "0", 1)
    served(queue, 1, {"late": 0.001})
    for n in range(60):
        queue.put("busy", str(n), 1)
    served(queue, 50, {"busy": 1.0})
    for n in range(20):
        queue.put("late", str(n), 1)
    assert served(queue, 20, {"busy": 1.0, "late": 1.0}).count("busy") >= 9


def test_the_order_of_one_collector_is_kept() -> None:
    queue: FairQueue[str] = FairQueue()
    for n in range(10):
        queue.put("elm", str(n), 1)
    assert [queue.take() for _ in range(11)] == [*(("elm", str(n)) for n in range(10)), None]


@pytest.mark.parametrize(("messages", "size"), [(3, 1), (100, 400)])
def test_a_collector_has_its_quota_in_messages_and_bytes(messages: int, size: int) -> None:
    queue: FairQueue[str] = FairQueue(Quota(messages=messages, size_bytes=1200))
    spared = [item for n in range(6) for _, item in queue.put("elm", str(n), size)]
    assert spared == ["3", "4", "5"]
    assert queue.put("oak", "0", 1) == []


def test_when_all_is_full_the_greediest_gives_way() -> None:
    queue: FairQueue[str] = FairQueue(Quota(messages=8, total_messages=10))
    for n in range(8):
        queue.put("greedy", str(n), 1)
    for name in ("elm", "oak"):
        assert queue.put(name, name, 1) == []
    assert queue.is_full
    assert queue.put("ash", "ash", 1) == [("greedy", "7")]
    assert queue.put("greedy", "new", 1) == [("greedy", "new")]
    assert len(queue) == 10


def test_while_nothing_may_be_spared_everything_is_kept() -> None:
    queue: FairQueue[str] = FairQueue(Quota(messages=2, total_messages=4))
    assert [spared for n in range(6) for spared in queue.put("elm", str(n), 1, spare=False)] == []
    assert (len(queue), queue.is_full) == (6, True)


@pytest.mark.parametrize("seed", range(20))
def test_bounds_hold_and_nothing_vanishes(seed: int) -> None:
    print(f"seed {seed}")
    rng, quota = random.Random(seed), Quota(messages=5, size_bytes=500, total_messages=20, total_bytes=1500)
    queue: FairQueue[int] = FairQueue(quota)
    came, gone = 0, 0
    for number in range(3000):
        if rng.random() < 0.6:
            came += 1
            gone += len(queue.put(f"c{rng.randrange(12)}", number, rng.randrange(300)))
        elif (taken := queue.take()) is not None:
            queue.charge(taken[0], rng.random())
            if rng.random() < 0.1:
                queue.put_back(taken[0], taken[1], 0)
            else:
                gone += 1
        assert len(queue) == came - gone
        assert len(queue) <= quota.total_messages + 1
        assert queue.size_bytes <= quota.total_bytes
        assert len(queue._used_s) <= 12
    queue.clear()
    assert (len(queue), queue.size_bytes, queue.take()) == (0, 0, None)


def test_who_rests_is_passed_over() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("flood", "f", 1)
    assert queue.take(lambda key: key == "flood") is None
    queue.put("elm", "e", 1)
    assert queue.take(lambda key: key == "flood") == ("elm", "e")
    assert queue.take() == ("flood", "f")


def test_collectors_that_came_once_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put("steady", 0, 1)
    for number in range(5000):
        queue.put(f"hw-{number}", number, 1)
        queue.put("steady", number, 1)
        for _ in range(2):
            taken = queue.take()
            assert taken is not None
            queue.charge(taken[0], 0.01)
    assert len(queue._used_s) < 200
