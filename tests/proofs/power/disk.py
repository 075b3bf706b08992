"""A model of a disk without power: what is on it for certain, and what may or may not have reached it.

A file is certain as of its last fsync or fdatasync, a folder's entries as of the folder's own. Everything later is
pending: each pending write may be there whole, not at all, or torn between sectors of 512 bytes; each pending change of
a folder (create, rename, unlink) may be there or not. Later writes may be there without earlier ones.

    worst    (default) nothing orders anything but the sync calls: files and folders in any mixture
    ordered  as ext4 with data=ordered: folders change in the order of the calls, and any sync makes them certain

Assumed of the disk: a sync that returned is true; a sector of 512 bytes is written whole or not at all, bytes of a
sector beside a write are not harmed by it; a rename is one step; bytes at rest do not rot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.proofs.power.calls import Call

SECTOR = 512


@dataclass(eq=False, slots=True)
class File:
    """Bytes of a file that are certain; `size` may lie beyond the bytes (zeros that were allocated)."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    pending: list[Pending] = field(default_factory=list)
    live_size: int = 0


@dataclass(eq=False, slots=True)
class Folder:
    """Entries of a folder that are certain, and as the running system sees them."""

    entries: dict[str, File | Folder] = field(default_factory=dict)
    live: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Pending:
    """A change that no sync has made certain; number = that of its call."""

    number: int
    kind: str
    of: File | Folder
    offset: int = 0
    data: bytes = b""
    name: str = ""
    target: str = ""
    entry: File | Folder | None = None
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a pending change.

    sectors  of a write that was torn: the sectors (of the write, from 0) that reached the disk; None = whole.
    grown    of a write or part of one that is absent: the file grew anyway, over zeros or over what lay there before.
    """

    there: bool
    sectors: frozenset[int] | None = None
    grown: str = ""


ABSENT, WHOLE = Fate(there=False), Fate(there=True)
Tree = dict[str, tuple[bytes, int] | None]
"""A state of the disk: path and (bytes, size) of a file, None for a folder."""


class Disk:
    """Takes calls one after the other, and says what may be on the disk when the power fails now."""

    def __init__(self, initial: Mapping[str, bytes | None], *, ordered: bool = False) -> None:
        self.root = Folder()
        self._ordered = ordered
        for path, data in sorted(initial.items()):
            folder, name = self._parent(path)
            node: File | Folder = Folder() if data is None else File(bytearray(data), len(data), live_size=len(data))
            folder.entries[name] = folder.live[name] = node

    def _parent(self, path: str) -> tuple[Folder, str]:
        *folders, name = path.split("/")
        folder = self.root
        for part in folders:
            found = folder.live[part]
            assert isinstance(found, Folder)
            folder = found
        return folder, name

    def _node(self, path: str) -> File | Folder:
        if not path:
            return self.root
        folder, name = self._parent(path)
        return folder.live[name]

    def take(self, number: int, call: Call) -> None:
        """Let the running system make a call."""
        if call.kind == "mark":
            return
        if call.kind == "sync":
            self._sync(self._node(call.path))
        elif call.kind in ("create", "mkdir", "unlink", "rename"):
            self._change_entry(number, call)
        else:
            file = self._node(call.path)
            assert isinstance(file, File)
            end = call.offset + len(call.data)
            file.pending.append(
                Pending(number, call.kind, file, call.offset, call.data, call.path, grows=end > file.live_size)
            )
            file.live_size = end if call.kind == "truncate" else max(file.live_size, end)

    def _change_entry(self, number: int, call: Call) -> None:
        folder, name = self._parent(call.path)
        if call.kind == "create" and name in folder.live:
            return
        change = Pending(number, call.kind, folder, name=name)
        if call.kind == "create":
            change.entry = folder.live[name] = File()
        elif call.kind == "mkdir":
            change.entry = folder.live[name] = Folder()
        elif call.kind == "unlink":
            change.entry = folder.live.pop(name, None)
            if change.entry is None:
                return  # one that is left out of the recording
        else:
            target, change.target = self._parent(call.target)
            assert target is folder, "a rename from one folder to another is not in the model"
            change.entry = folder.live.pop(name)
            folder.live[change.target] = change.entry
        folder.pending.append(change)

    def _sync(self, node: File | Folder) -> None:
        if isinstance(node, File):
            for change in node.pending:
                node.size = _change_file(node.data, node.size, change, WHOLE)
            node.pending.clear()
        if isinstance(node, Folder) or self._ordered:
            for folder in self._folders() if self._ordered else (node,):
                assert isinstance(folder, Folder)
                folder.entries = dict(folder.live)
                folder.pending.clear()

    def _folders(self) -> list[Folder]:
        found, at = [self.root], 0
        while at < len(found):
            found += [node for node in found[at].live.values() if isinstance(node, Folder)]
            at += 1
        return found

    def pending(self) -> list[Pending]:
        """Return everything that is not certain, in the order of the calls."""
        changes: dict[int, Pending] = {}
        seen: set[int] = set()
        stack: list[File | Folder] = [self.root]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            changes.update({change.number: change for change in node.pending})
            if isinstance(node, Folder):
                stack += [*node.entries.values(), *node.live.values()]
                stack += [change.entry for change in node.pending if change.entry is not None]
        return [changes[number] for number in sorted(changes)]

    def tree(self, fates: Mapping[int, Fate]) -> Tree:
        """Return a state of the disk: for each pending change by its number what became of it (absent if not named)."""
        result: Tree = {}
        self._fill(result, "", self.root, fates)
        return result

    def _fill(self, result: Tree, where: str, folder: Folder, fates: Mapping[int, Fate]) -> None:
        entries = dict(folder.entries)
        for change in folder.pending:
            if fates.get(change.number, ABSENT).there:
                _change_entries(entries, change)
        for name, node in entries.items():
            if isinstance(node, Folder):
                result[where + name] = None
                self._fill(result, f"{where}{name}/", node, fates)
            else:
                data, size = bytearray(node.data), node.size
                for change in node.pending:
                    size = _change_file(data, size, change, fates.get(change.number, ABSENT))
                result[where + name] = bytes(data), size


def _change_entries(entries: dict[str, File | Folder], change: Pending) -> None:
    assert change.entry is not None
    if change.kind == "unlink":
        if entries.get(change.name) is change.entry:
            del entries[change.name]
    elif change.kind == "rename":
        if entries.get(change.name) is change.entry:
            del entries[change.name]
        entries[change.target] = change.entry
    else:
        entries[change.name] = change.entry


def _change_file(data: bytearray, size: int, change: Pending, fate: Fate) -> int:
    """Apply a change to a file's bytes; returns the file's new size."""
    if change.kind == "truncate":
        if fate.there:
            del data[change.offset :]
            return change.offset
        return size
    if change.kind == "allocate":
        return max(size, change.offset) if fate.there else size
    end = change.offset + len(change.data)
    if fate.grown and size < end and (not fate.there or fate.sectors is not None):
        if fate.grown == "stale":
            data.extend(bytes(size - len(data)))
            data.extend(b"\xa5\x5a\x0d\x37" * ((end - size) // 4) + b"\xa5" * ((end - size) % 4))
        size = end
    if not fate.there:
        return size
    for first, last in _pieces(change, fate.sectors):
        if len(data) < first:
            data.extend(bytes(first - len(data)))
        data[first:last] = change.data[first - change.offset : last - change.offset]
        size = max(size, last)
    return size


def sectors_of(change: Pending) -> int:
    """Return over how many sectors a write reaches."""
    return (change.offset + len(change.data) - 1) // SECTOR - change.offset // SECTOR + 1


def _pieces(change: Pending, sectors: frozenset[int] | None) -> list[tuple[int, int]]:
    """Return the ranges of the file that a write reached."""
    end = change.offset + len(change.data)
    if sectors is None:
        return [(change.offset, end)]
    base = change.offset // SECTOR
    return [
        (max(change.offset, (base + number) * SECTOR), min(end, (base + number + 1) * SECTOR))
        for number in sorted(sectors)
    ]
