"""Power cuts: a sample of states is sound, planted faults are found. The long run is `-m tests.proofs.power`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proofs.power.__main__ import replay, run
from tests.proofs.power.calls import Call, read_log, strace_works
from tests.proofs.power.disk import WHOLE, Disk, Fate
from tests.proofs.power.workload import PLANTS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def strace() -> None:
    if why := strace_works():
        pytest.skip(why)


@pytest.mark.usefixtures("strace")
def test_a_sample_of_states_keeps_every_promise() -> None:
    result = run(60, seed=3, names=("restored",))
    assert result.violations == []
    assert result.states >= 60
    assert result.found.salvaged_without_damage == 0


@pytest.mark.usefixtures("strace")
def test_a_commit_without_a_sync_is_found_and_replayed() -> None:
    ((state, what),) = run(400, plant="normal", names=(PLANTS["normal"],), violations_max=1).violations
    assert [what for _, what in replay(str(state), plant="normal").violations] == [what]


def test_a_sync_makes_certain_and_everything_later_may_or_may_not_be_there() -> None:
    disk = Disk({"store": b"a" * 1024})
    for number, call in enumerate([Call("write", "store", 0, b"b" * 1024), Call("sync", "store")]):
        disk.take(number, call)
    assert disk.tree({}) == {"store": (b"b" * 1024, 1024)}
    disk.take(2, Call("write", "store", 512, b"c" * 1024))
    disk.take(3, Call("truncate", "store", 100))
    assert disk.tree({}) == {"store": (b"b" * 1024, 1024)}
    assert disk.tree({2: WHOLE}) == {"store": (b"b" * 512 + b"c" * 1024, 1536)}
    assert disk.tree({2: Fate(there=True, sectors=frozenset({1}))}) == {"store": (b"b" * 1024 + b"c" * 512, 1536)}
    assert disk.tree({2: Fate(there=False, grown="zeros")}) == {"store": (b"b" * 1024, 1536)}
    assert disk.tree({2: WHOLE, 3: WHOLE}) == {"store": (b"b" * 100, 100)}


@pytest.mark.parametrize("ordered", [False, True])
def test_a_name_is_certain_with_its_folder_and_not_with_its_file(ordered: bool) -> None:
    disk = Disk({"old": b"old"}, ordered=ordered)
    calls = [Call("create", "new.part"), Call("write", "new.part", 0, b"new"), Call("sync", "new.part")]
    for number, call in enumerate([*calls, Call("rename", "new.part", target="old")]):
        disk.take(number, call)
    assert disk.tree({}) == ({"old": (b"old", 3)} | ({"new.part": (b"new", 3)} if ordered else {}))
    assert disk.tree({0: WHOLE, 3: WHOLE}) == {"old": (b"new", 3)}
    disk.take(4, Call("sync", ""))
    assert disk.tree({}) == {"old": (b"new", 3)}
    assert disk.pending() == []


def test_lines_of_strace_are_read_as_calls(tmp_path: Path) -> None:
    def quoted(text: str) -> str:
        return "".join(f"\\x{byte:02x}" for byte in text.encode())

    root, marks, log = tmp_path / "disk", tmp_path / "marks", tmp_path / "log"
    mark = '{"say":1}\n'
    store, name = f"5<{quoted(f'{root}/store')}>", f'"{quoted(f"{root}/store")}"'
    lines = [
        f"7 openat(AT_FDCWD<{quoted('/')}>, {name}, O_RDWR|O_CREAT|O_CLOEXEC, 0644) = {store}",
        f'7 pwrite64({store}, "{quoted("abc")}", 3, 4096 <unfinished ...>',
        f'8 write(1<{quoted("/dev/null")}>, "x", 1) = 1',
        "7 <... pwrite64 resumed>) = 3",
        f'7 write(6<{quoted(str(marks))}>, "{quoted(mark)}", 10) = 10',
        f"7 fdatasync({store}) = 0",
        f"7 unlink({name}) = -1 ENOENT (No such file or directory)",
        f'7 pwrite64(9<{quoted(f"{root}/store-shm")}>, "{quoted("x")}", 1, 0) = 1',
    ]
    log.write_text("\n".join(lines) + "\n")
    assert read_log(log, root, marks) == [
        Call("create", "store"),
        Call("write", "store", 4096, b"abc"),
        Call("mark", ""),
        Call("sync", "store"),
    ]
