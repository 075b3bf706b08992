"""The append log: cut lines are cut off, missing ones follow, a new log begins with what comes next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domain.clock import ManualClock
from domain.errors import ResourceUnavailable
from domain.reading import StoredEvent, StoredRead
from gateway.append_log import AppendLog
from tests.gateway.fakes import START, FakeLink, FakeStore, reply


class Store(FakeStore):
    epoch = bytes(range(16))

    def fill(self, count: int) -> list[StoredRead]:
        link = FakeLink(ManualClock(START))
        self.append([reply("M1", n, link).reads[0] for n in range(count)])
        return [item for item in self.items if isinstance(item, StoredRead)]

    def items_since(self, append_seq: int, *, limit: int) -> list[StoredRead | StoredEvent]:
        return [item for item in self.items if item.append_seq > append_seq][:limit]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_which_read_it_was(tmp_path: Path) -> None:
    store, log = Store(), AppendLog(tmp_path / "a" / "log.jsonl")
    log.write(store.epoch, store.fill(1))
    log.close()
    assert lines(tmp_path / "a" / "log.jsonl") == [
        {"meter": "M1", "epoch": store.epoch.hex(), "append_seq": 1, "register": "total", "count": 0,
         "read_at": START.isoformat()}
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_what_a_kill_cut_off_follows_at_the_next_start(tmp_path: Path, cut: int) -> None:
    path, store = tmp_path / "log.jsonl", Store()
    log = AppendLog(path)
    log.write(store.epoch, store.fill(2500)[:2])
    log.close()
    text = path.read_text()
    path.write_text(text + text[:cut])
    log = AppendLog(path)
    assert log.catch_up(store) == 2498
    log.close()
    assert [line["append_seq"] for line in lines(path)] == list(range(1, 2501))
    assert [line.get("late", False) for line in lines(path)][:3] == [False, False, True]


def test_a_log_that_was_made_and_never_written_catches_up_too(tmp_path: Path) -> None:
    store = Store()
    store.fill(3)
    fresh = AppendLog(tmp_path / "log.jsonl")
    assert fresh.catch_up(store) == 0
    fresh.close()
    later = AppendLog(tmp_path / "log.jsonl")
    assert later.catch_up(store) == 3
    later.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceUnavailable, match="append_log"):
        AppendLog(tmp_path / "file" / "log.jsonl")
