"""Opening a store over whatever is found at its path: nothing, a sound file, an old one, a damaged one.

Opening never refuses because of data, and never deletes any: what cannot be used is set aside under a name of its own.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING

from buffer import salvage, streams
from buffer.database import BUSY_S, connect, free_held_room, sidecar
from buffer.errors import NONSENSE, UNREADABLE, StoreDamaged, translated
from buffer.migrate import latest_version, migrate, schema_scripts, version_of
from buffer.rows import EVENT_COLUMNS, READ_COLUMNS, Registry, stored_event, stored_read, to_us
from buffer.witness import Witness, load_witness
from domain.ids import Stream
from domain.reading import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buffer.database import Database
    from buffer.salvage import Salvaged
    from domain.clock import Clock

_log = logging.getLogger(__name__)

CHECKED_BYTES = 256 * 1024 * 1024
"""A store up to this size is checked whole at each start (about a second); a larger one when damage is suspected."""
CLOSELY_CHECKED_BYTES = 16 * 1024 * 1024

_COLUMNS = (
    "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY 1, 2"
)
_MOMENT = "NOT BETWEEN -62135596800000000 AND 253402300799999999"  # microseconds, years 1 to 9999
_KINDS = ", ".join(f"'{kind.value}'" for kind in EventKind)
_NONSENSE = (
    "SELECT EXISTS (SELECT 1 FROM read WHERE register NOT IN (SELECT ref FROM register) "  # noqa: S608 (our own words)
    "OR clock NOT IN (SELECT ref FROM clock) OR boot NOT IN (SELECT ref FROM boot) "
    "OR typeof(raw_count) <> 'integer' OR typeof(monotonic_ns) <> 'integer' "
    f"OR COALESCE(read_at_us, '') {_MOMENT})",
    "SELECT EXISTS (SELECT 1 FROM event WHERE clock NOT IN (SELECT ref FROM clock) "  # noqa: S608 (our own words)
    f"OR COALESCE(at_us, '') {_MOMENT} OR kind NOT IN ({_KINDS}) OR typeof(detail) <> 'text')",
)
_SMALL_NONSENSE = (
    "SELECT EXISTS (SELECT 1 FROM stream WHERE typeof(last_sequence) <> 'integer' "
    "OR typeof(sealed_through) <> 'integer' OR typeof(last_hash) <> 'blob' OR length(last_hash) <> 32)",
    "SELECT EXISTS (SELECT 1 FROM fact WHERE typeof(value) <> 'integer')",
    "SELECT EXISTS (SELECT 1 FROM snapshot WHERE typeof(append_seq) <> 'integer' OR typeof(blob) <> 'blob')",
)
_READS = f"SELECT {READ_COLUMNS} FROM read"  # noqa: S608
_EVENTS = f"SELECT {EVENT_COLUMNS} FROM event"  # noqa: S608
_WAITING = f"""SELECT {salvage.BATCH_COLUMNS}, (SELECT epoch FROM epoch WHERE ref = batch.epoch),
    (SELECT data FROM batch_bytes WHERE ref = batch.ref) FROM batch WHERE state = 0"""  # noqa: S608


def open_sound(
    path: Path, *, clock: Clock, connection: type[sqlite3.Connection] = sqlite3.Connection, busy_s: float = BUSY_S
) -> tuple[sqlite3.Connection, Salvaged | None]:
    """Return a connection to the sound store of the latest version that then stands at the path, and what was salvaged.

    connection  class of every connection that writes. The one that is returned was there all along: were it closed and
                opened anew, somebody might take the room of the log in between.
    raises  StoreError when the file is locked or may not be opened.
    """
    salvage.finish_interrupted(path)
    suspect = sidecar(path, "suspect")
    free_held_room(path)
    try:
        opened = _check_and_migrate(path, whole=suspect.exists(), factory=connection, busy_s=busy_s)
        result = salvage.unreported(path)
    except StoreDamaged as error:
        _log.error("%s: damaged (%s); saving what can be read", path, error)
        result = salvage.salvage(path, clock=clock, why=str(error), connection=connection)
        try:
            opened = _check_and_migrate(path, whole=True, factory=connection, busy_s=busy_s)
        except StoreDamaged as again:  # what was read of it misleads: better to begin with nothing than not to begin
            why = f"{error}; and what was saved of it: {again}"
            result = salvage.salvage(path, clock=clock, why=why, connection=connection, carry=False)
            opened = _check_and_migrate(path, whole=True, factory=connection, busy_s=busy_s)
        _log.error("%s: set aside; what was saved: %s", path.with_name(result.aside), result.as_detail())
    suspect.unlink(missing_ok=True)
    return opened, result


def _check_and_migrate(
    path: Path, *, whole: bool, factory: type[sqlite3.Connection], busy_s: float
) -> sqlite3.Connection:
    """Check the file and bring it to the latest version; raises StoreDamaged when it cannot be used as it is."""
    connection = None
    try:
        connection = connect(path, factory=factory, busy_s=busy_s)
        _check(connection, path, whole=whole)
    except UNREADABLE as error:
        if connection is not None:
            connection.close()
        if getattr(error, "sqlite_errorcode", None) in (None, sqlite3.SQLITE_ERROR):
            # Text that cannot be decoded, a format or columns that nobody wrote: these queries fail on nothing else.
            raise StoreDamaged(str(error)) from error
        raise translated(error, path) from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, *, whole: bool) -> None:
    version = version_of(connection)
    if version > latest_version():
        raise StoreDamaged(f"written by a newer version of Headwater (schema {version})")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if (version == 0) != (not tables):
        raise StoreDamaged("not a store of ours")
    size_bytes = path.stat().st_size
    if whole or size_bytes <= CHECKED_BYTES:
        # A small store, and one found damaged while it ran, is looked at closer: indexes too.
        check = "integrity_check" if whole or size_bytes <= CLOSELY_CHECKED_BYTES else "quick_check"
        found = connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
        if found != "ok":
            raise StoreDamaged(str(found)[:200])
    migrate(connection, path)
    if tables:
        _check_sense(connection, rows=whole or size_bytes <= CHECKED_BYTES, whole=whole)


def _check_sense(connection: sqlite3.Connection, *, rows: bool, whole: bool) -> None:
    """Look for damage that left a well-formed file behind: SQLite keeps no checksums. raises StoreDamaged."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        for script in schema_scripts().values():
            fresh.executescript(script)
        if not set(fresh.execute(_COLUMNS)) <= set(connection.execute(_COLUMNS)):
            raise StoreDamaged("its schema is not ours")
    try:
        registry = Registry(connection)
        if connection.execute("SELECT COUNT(*) FROM epoch").fetchone()[0]:
            streams.newest_epoch(connection)
            for stream in Stream:
                streams.place_of(connection, stream)
        for place in connection.execute(_WAITING):
            # A waiting batch is wanted by the portal as it was sealed; its rows make another one if it is not.
            if not salvage.is_sound(place[:-2], place[-1], {place[1]: place[-2]}):
                raise StoreDamaged("a sealed batch is not what was sealed")
        for query, parse in ((_READS, stored_read), (_EVENTS, stored_event)):
            for row in connection.execute(query) if whole else ():
                parse(row, registry)
    except NONSENSE as error:
        raise StoreDamaged(f"a register, clock, epoch, stream or row makes no sense ({error!r})") from error
    for query in (*_SMALL_NONSENSE, *(_NONSENSE if rows else ())):
        if connection.execute(query).fetchone()[0]:
            raise StoreDamaged(f"it holds what nobody wrote: {query.split('FROM')[1].split()[0]}")


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
    drawn = entropy(16)

    def begin(db: sqlite3.Connection) -> None:
        streams.begin_epoch(db, drawn, why, to_us(clock.now()), witness if behind else None)
        if witness is not None:
            streams.raise_append_floor(db, witness.append_seq)

    database.change(begin)
    with database.read() as db, contextlib.suppress(OSError):
        Witness(streams.newest_epoch(db).epoch, (0, 0), streams.last_append_seq(db)).save(path)


def _is_behind(db: sqlite3.Connection, witness: Witness, known: set[bytes]) -> bool:
    """Return whether the witness has seen more than this store knows of."""
    if witness.epoch not in known:
        return True
    if witness.epoch != streams.newest_epoch(db).epoch:
        return False  # power failed between a new epoch's commit and its witness
    lasts = (streams.place_of(db, stream).last_sequence for stream in Stream)
    return any(seen > last for seen, last in zip(witness.last_sequences, lasts, strict=True))
