"""A throwaway PostgreSQL for tests: made in a temporary folder, on a free loopback port, gone afterwards.

As a program (`scripts/with-postgres`) it runs a command with DATABASE_URL set to such a server. Durable settings are
left as they are, because the portal refuses a server that has them off.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "headwater"
START_S = 60.0


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


@contextlib.contextmanager
def throwaway_postgres() -> Iterator[str]:
    """Run a server for as long as the block; yields the URL of an empty database on it. raises PostgresMissing."""
    binaries, step_down = postgres_binaries(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="headwater-postgres-"))
    try:
        if step_down:
            owner = pwd.getpwnam("postgres" if "postgres" in {p.pw_name for p in pwd.getpwall()} else "nobody")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        make = [*step_down, str(binaries / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8"]
        subprocess.run([*make, "--no-sync", "--locale=C"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        port = _free_port()
        log = (folder / "log").open("wb")
        serve = [str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        with log, subprocess.Popen([*step_down, *serve], stdout=log, stderr=log, cwd="/") as server:
            try:
                _wait(binaries, port, server, folder / "log")
                yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)  # fast shutdown: clients are disconnected
                server.wait(timeout=START_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
