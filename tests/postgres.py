"""A throwaway PostgreSQL for tests: made in a temporary folder, on a free loopback port, gone afterwards.

As a program (`scripts/with-postgres`) it runs a command with DATABASE_URL set to such a server. Durable settings are
left as they are, because the portal refuses a server that has them off. With HEADWATER_POSTGRES_IN its folder is made
there: in a file system in memory, where one has the room, a commit costs no wait.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.demo.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

USER = "headwater"
START_S = 60.0
ROOM_BYTES = 4 << 30  # databases of every worker, and a write-ahead log of up to a gigabyte


class PostgresMissing(Exception):
    """This machine has no PostgreSQL that could be started; the text says what was looked for."""


def postgres_binaries() -> Path:
    """Return the folder with `postgres` and `initdb`: $PG_BIN, beside the one on PATH, or Debian's newest."""
    candidates = [Path(os.environ["PG_BIN"])] if os.environ.get("PG_BIN") else []
    if found := shutil.which("postgres"):
        candidates.append(Path(found).resolve().parent)
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise PostgresMissing("required-postgres: no postgres and initdb found; install postgresql or set PG_BIN")


def _unprivileged() -> list[str]:
    """Return what to put before a command so that it does not run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if setpriv := shutil.which("setpriv"):
                return [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            if runuser := shutil.which("runuser"):
                return [runuser, "-u", name, "--"]
    raise PostgresMissing("required-postgres: started by root, and there is no setpriv or runuser to step down with")


def _place() -> str | None:
    """Return where the server's folder is made: HEADWATER_POSTGRES_IN if it is there with room enough, or None."""
    asked = os.environ.get("HEADWATER_POSTGRES_IN", "")
    if asked and os.access(asked, os.W_OK) and shutil.disk_usage(asked).free >= ROOM_BYTES:
        return asked
    return None


@contextlib.contextmanager
def throwaway_postgres() -> Iterator[str]:
    """Run a server for as long as the block; yields the URL of an empty database on it. raises PostgresMissing."""
    with throwaway_server() as server:
        yield server.url


@contextlib.contextmanager
def throwaway_server(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a server with these settings for as long as the block. raises PostgresMissing."""
    binaries, step_down = postgres_binaries(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="headwater-postgres-", dir=_place()))
    server = Server(folder, binaries, step_down)
    try:
        if step_down:
            owner = pwd.getpwnam("postgres" if "postgres" in {p.pw_name for p in pwd.getpwall()} else "nobody")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        make = [*step_down, str(binaries / "initdb"), "-D", str(server.data), "-U", USER, "-A", "trust", "-E", "UTF8"]
        subprocess.run([*make, "--no-sync", "--locale=C"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        server.start(settings or {})
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """One PostgreSQL server in a folder of its own; it may be stopped and started again with other settings."""

    def __init__(self, folder: Path, binaries: Path, step_down: Sequence[str]) -> None:
        self.data = folder / "data"
        self._log, self._binaries, self._step_down = folder / "log", binaries, step_down
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its empty database."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    def start(self, settings: Mapping[str, str]) -> None:
        """Start it and wait until it answers."""
        place = ["-D", str(self.data), "-h", "127.0.0.1", "-p", str(self._port), "-k", str(self.data.parent)]
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        serve = [*self._step_down, str(self._binaries / "postgres"), *place, *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(serve, stdout=log, stderr=log, cwd="/")
        try:
            _wait(self._binaries, self._port, self._process, self._log)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, within_s: float = START_S) -> None:
        """Stop it: clients are disconnected, all is written; what has not ended in time is ended at once."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=within_s)
                return


def _wait(binaries: Path, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-d", "postgres", "-U", USER]
    while subprocess.run(ready, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def main(command: list[str]) -> int:
    """Run a command with a throwaway server; where there is none, say so in one line and skip."""
    if not command:
        sys.stderr.write("usage: scripts/with-postgres COMMAND [ARGUMENT...]\n")
        return 2
    try:
        with throwaway_postgres() as url:
            return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode
    except PostgresMissing as missing:
        sys.stderr.write(f"skipped 1: {missing}\n")
        return 1 if "postgres" in os.environ.get("HEADWATER_REQUIRE", "").split(",") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
