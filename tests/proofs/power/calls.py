"""Records what a process asks of the disk, with strace, and reads it back as a list of calls.

Only calls on files below one folder count. SQLite's `-shm` file (an index in shared memory, rebuilt at every first
opening, never synced) and the store's `-lock` file (a process number behind a kernel lock) hold nothing that has to
survive: they are left out. Any other data file mapped for writing would escape the recording, so it is an error.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRACED = (
    "pwrite64,write,pwritev,pwritev2,writev,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,sync,syncfs,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,open,openat,openat2,creat,mkdir,"
    "mkdirat,close,dup,dup2,dup3,lseek,mmap,sendfile,copy_file_range"
)
_LONGEST_WRITE = 64 * 1024 * 1024
_HEX = r"(?:\\x[0-9a-f]{2})*"
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(.*)", re.DOTALL)
_TEXT = re.compile(rf'"({_HEX})"(\.\.\.)?')
_DESCRIPTOR = re.compile(rf"(-?\w+)<({_HEX})>(\(deleted\))?")
_FORGOTTEN = ("-shm", "-lock")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changes the disk, or a mark of the recorded process.

    kind    write, truncate, allocate, sync, create, rename, unlink, mkdir, mark
    path    below the recorded folder; "" is the folder itself.
    offset  of a write; the new size of a truncate or allocate.
    """

    kind: str
    path: str
    offset: int = 0
    data: bytes = b""
    target: str = ""
    mark: dict[str, Any] = field(default_factory=dict, compare=False)


class RecordingFailed(Exception):
    """The run could not be recorded faithfully."""


def strace_works() -> str:
    """Return "" when calls can be recorded here, else in one line why not."""
    if shutil.which("strace") is None:
        return "required-strace: strace is not installed (apt-get install strace)"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"required-strace: ptrace is not allowed here ({probe.stderr.strip()[:80]})"


def record(arguments: list[str], root: Path, marks: Path, log: Path, *, timeout_s: float = 120.0) -> list[Call]:
    """Run `python ARGUMENTS` under strace and return its calls on files below root, with the marks in their places.

    raises  RecordingFailed when the process failed, or did something that the model of the disk does not know.
    """
    command = ["strace", "-f", "-y", "-xx", "-s", str(_LONGEST_WRITE), "--seccomp-bpf", "-e", f"trace={TRACED}"]
    command += ["-e", "signal=none", "-o", str(log), sys.executable, "-B", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if ended.returncode:
        raise RecordingFailed(f"the recorded process ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return read_log(log, root, marks)


def read_log(log: Path, root: Path, marks: Path) -> list[Call]:
    """Return the calls of a log of strace."""
    reader = _Reader(str(root.resolve()), str(marks.resolve()))
    halves: dict[str, str] = {}
    with log.open(encoding="ascii", errors="strict") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            process = line.split(" ", 1)[0]
            if line.endswith("<unfinished ...>"):
                halves[process] = line.removesuffix("<unfinished ...>").rstrip()
                continue
            if resumed := re.match(r"\d+ +<\.\.\. \w+ resumed>(.*)", line, re.DOTALL):
                line = halves.pop(process) + resumed[1]
            if matched := _LINE.match(line):
                reader.take(*matched.groups()[:4])
    return reader.calls


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


class _Reader:
    """Turns lines into calls; knows where each descriptor's next write goes."""

    def __init__(self, root: str, marks: str) -> None:
        self.root, self.marks = root, marks
        self.calls: list[Call] = []
        self._at: dict[tuple[str, str], int] = {}
        self._sizes: dict[str, int] = {}

    def take(self, process: str, name: str, arguments: str, result: str) -> None:
        if result.startswith("-"):
            return  # a call that failed changed nothing
        if name in ("open", "openat", "openat2", "creat"):
            self._open(process, arguments, result)
        elif name in ("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"):
            self._entry(name, arguments)
        elif name in ("link", "linkat", "symlink", "symlinkat", "truncate"):
            if any(self._inside(_text(text).decode()) is not None for text, _ in _TEXT.findall(arguments)):
                raise RecordingFailed(f"{name} is not in the model of the disk")
        elif matched := _DESCRIPTOR.match(arguments):
            path, rest = _text(matched[2]).decode(), arguments[matched.end() :]
            if path == self.marks and name == "write":
                text, _ = _TEXT.findall(rest)[0]
                self.calls.extend(Call("mark", "", mark=json.loads(line)) for line in _text(text).splitlines())
            elif (inside := self._inside(path)) is not None:
                if matched[3] and name != "close":
                    raise RecordingFailed(f"{name} on a deleted file {inside}")
                self._on_descriptor(name, (process, matched[1]), inside, rest, result)
        elif name == "mmap":
            self._mapped(arguments)

    def _inside(self, path: str) -> str | None:
        """Return the path below the recorded folder, None for one elsewhere or one that is left out."""
        if path != self.root and not path.startswith(self.root + "/"):
            return None
        return None if path.endswith(_FORGOTTEN) else path[len(self.root) + 1 :]

    def _open(self, process: str, arguments: str, result: str) -> None:
        path = _text(_TEXT.findall(arguments)[0][0]).decode()
        inside = self._inside(path)
        if inside is None:
            return
        if "O_CREAT" in arguments:
            self.calls.append(Call("create", inside))
        if "O_TRUNC" in arguments:
            self.calls.append(Call("truncate", inside, 0))
            self._sizes[inside] = 0
        if "O_APPEND" in arguments or "O_SYNC" in arguments or "O_DSYNC" in arguments:
            raise RecordingFailed(f"{inside} opened in a way that is not in the model of the disk: {arguments[-60:]}")
        self._at[process, result] = 0

    def _entry(self, name: str, arguments: str) -> None:
        paths = [self._inside(_text(text).decode()) for text, _ in _TEXT.findall(arguments)]
        if name.startswith("rename"):
            if (paths[0] is None) != (paths[1] is None):
                raise RecordingFailed(f"a file was renamed across the recorded folder's edge: {arguments[-80:]}")
            if paths[0] is not None and paths[1] is not None:
                self.calls.append(Call("rename", paths[0], target=paths[1]))
        elif paths[0] is not None:
            kind = {"mkdir": "mkdir", "mkdirat": "mkdir"}.get(name, "unlink")
            self.calls.append(Call(kind, paths[0]))

    def _on_descriptor(self, name: str, descriptor: tuple[str, str], path: str, rest: str, result: str) -> None:
        if name == "pwrite64":
            offset = int(rest.rsplit(",", 1)[1])
            self._write(path, offset, rest, int(result))
        elif name == "write":
            offset = self._at[descriptor]
            self._write(path, offset, rest, int(result))
            self._at[descriptor] = offset + int(result)
        elif name == "lseek":
            self._at[descriptor] = int(result)
        elif name == "ftruncate":
            self.calls.append(Call("truncate", path, int(rest.rsplit(",", 1)[1])))
        elif name == "fallocate":
            mode, offset, length = (part.strip() for part in rest.lstrip(", ").split(","))
            if mode != "0":
                raise RecordingFailed(f"fallocate with mode {mode} is not in the model of the disk")
            self.calls.append(Call("allocate", path, int(offset) + int(length)))
        elif name in ("fsync", "fdatasync"):
            self.calls.append(Call("sync", path))
        elif name not in ("close", "sync_file_range"):  # the latter promises nothing
            raise RecordingFailed(f"{name} on {path} is not in the model of the disk")

    def _write(self, path: str, offset: int, rest: str, written: int) -> None:
        text, cut = _TEXT.findall(rest)[0]
        if cut:
            raise RecordingFailed(f"strace cut a write to {path} short")
        self.calls.append(Call("write", path, offset, _text(text)[:written]))

    def _mapped(self, arguments: str) -> None:
        found = _DESCRIPTOR.search(arguments)
        if found and "MAP_SHARED" in arguments and "PROT_WRITE" in arguments:
            inside = self._inside(_text(found[2]).decode())
            if inside is not None:
                raise RecordingFailed(f"{inside} is mapped for writing: its writes cannot be recorded")
