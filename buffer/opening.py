"""Opening a store over whatever is found at its path: nothing, a sound file, an old one, a damaged one.

Opening never refuses because of data, and never deletes any: what cannot be used is set aside under a name of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from buffer import salvage, streams
from buffer.database import connect, sidecar
from buffer.errors import StoreDamaged, translated
from buffer.migrate import latest_version, migrate, version_of
from buffer.rows import to_us
from buffer.witness import Witness, load_witness
from domain.ids import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buffer.database import Database
    from buffer.salvage import Salvaged
    from domain.clock import Clock

CHECKED_BYTES = 256 * 1024 * 1024
"""A store up to this size is checked whole at each start (about a second); a larger one when damage is suspected."""


def open_sound(path: Path, *, clock: Clock) -> Salvaged | None:
    """Make sure that a sound store of the latest version stands at the path; returns what was salvaged.

    raises  StoreError when the file is locked or may not be opened.
    """
    salvage.finish_interrupted(path)
    suspect = sidecar(path, "suspect")
    try:
        _check_and_migrate(path, whole=suspect.exists())
        result = None
    except StoreDamaged as error:
        result = salvage.salvage(path, clock=clock, why=str(error))
        _check_and_migrate(path, whole=True)
    suspect.unlink(missing_ok=True)
    return result


def _check_and_migrate(path: Path, *, whole: bool) -> None:
    """Check the file and bring it to the latest version; raises StoreDamaged when it cannot be used as it is."""
    try:
        with contextlib.closing(connect(path)) as connection:
            version = version_of(connection)
            if version > latest_version():
                raise StoreDamaged(f"written by a newer version of Headwater (schema {version})")
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if (version == 0) != (not tables):
                raise StoreDamaged("not a store of ours")
            if whole or path.stat().st_size <= CHECKED_BYTES:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise StoreDamaged(str(found)[:200])
            migrate(connection, path)
    except sqlite3.Error as error:
        raise translated(error, path) from error


def start_epoch(
    database: Database, *, clock: Clock, entropy: Callable[[int], bytes], salvaged: Salvaged | None
) -> None:
    """Begin a new epoch where one is due: a new store, a salvaged one, or one that is behind its witness."""
    path = sidecar(database.path, "witness")
    witness = load_witness(path)
    with database.read() as db:
        known = {row[0] for row in db.execute("SELECT epoch FROM epoch")}
        behind = witness is not None and _is_behind(db, witness, known)
        fresh = not known
    if salvaged is not None:
        why = "salvaged"
    elif behind:
        why = "restored"
    elif fresh:
        why = "created"
    else:
        return
    with database.write(from_reserve=True) as db:
        streams.begin_epoch(db, entropy(16), why, to_us(clock.now()), witness if behind else None)
        if witness is not None:
            streams.raise_append_floor(db, witness.append_seq)
    with database.read() as db:
        Witness(streams.newest_epoch(db).epoch, (0, 0), streams.last_append_seq(db)).save(path)


def _is_behind(db: sqlite3.Connection, witness: Witness, known: set[bytes]) -> bool:
    """Return whether the witness has seen more than this store knows of."""
    if witness.epoch not in known:
        return True
    if witness.epoch != streams.newest_epoch(db).epoch:
        return False  # power failed between a new epoch's commit and its witness
    lasts = (streams.place_of(db, stream).last_sequence for stream in Stream)
    return any(seen > last for seen, last in zip(witness.last_sequences, lasts, strict=True))
