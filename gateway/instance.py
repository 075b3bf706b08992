"""One service for each data directory: a lock that the kernel gives back however its holder dies."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from domain.errors import ResourceUnavailable
from gateway.errors import AlreadyRunning

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = "gateway.lock"


class InstanceLock:
    """The lock on a data directory, which is made when it is not there."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o640)
        except OSError as error:
            raise ResourceUnavailable(
                f"{folder}: {error.strerror}. The gateway must be able to write there; correct data_dir or its owner."
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunning(
                f"{folder}: a gateway runs here already, as process {holder}. "
                "Stop it first, or ask it: headwater gateway status"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the directory back."""
        os.close(self._fd)
