"""How figures are taken: medians of several runs, and what machine they were taken on."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def say(text: str) -> None:
    """Tell the person who waits; stdout belongs to the JSON."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(values: Sequence[float], digits: int = 3) -> float:
    """Return the median, rounded to so many significant digits."""
    return rounded(statistics.median(values), digits)


def rounded(value: float, digits: int = 3) -> float:
    """Return a value rounded to so many significant digits; a whole number above them keeps all of its digits."""
    if value == 0 or abs(value) >= 10**digits:
        return round(value)
    return float(f"{value:.{digits}g}")


def machine(folder: Path) -> dict[str, Any]:
    """Return what the figures depend on: processor, kernel, Python, SQLite, and the disk under `folder`."""
    return {
        "cores": os.cpu_count(),
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "memory_mib": memory_bytes() // 2**20,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "filesystem": _filesystem(folder),
        "sync_ms": median([_sync_s(folder) * 1000 for _ in range(50)]),
        "load_average_1_min": os.getloadavg()[0],
    }


def memory_bytes() -> int:
    """Return how much memory the machine has."""
    return int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) * 1024


def _first(file: str, key: str) -> str | None:
    try:
        lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), None)


def _filesystem(folder: Path) -> str:
    """Return the kind of file system that the longest matching mount point has."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return max((point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point))[1]


def _sync_s(folder: Path) -> float:
    """Return how long 4 KiB take to reach the disk."""
    file = folder / "sync-probe"
    with file.open("wb", buffering=0) as probe:
        probe.write(bytes(4096))
        return seconds(lambda: os.fdatasync(probe.fileno()))


def proc_bytes(pid: int | str, key: str) -> int:
    """Return a memory figure of /proc/PID/status (VmRSS, VmHWM) in bytes."""
    return int((_first(f"/proc/{pid}/status", key) or "0 kB").split()[0]) * 1024


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_bytes_written() -> int:
    """Return the bytes that this process has caused to be written to a disk, page by page (/proc/self/io)."""
    return int(_first("/proc/self/io", "write_bytes") or 0)
