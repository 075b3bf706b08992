"""What can go wrong with the store on the collector.

StoreError         the store cannot be used just now, or is in use by someone else
  StoreFull        no room for more: drains by itself once the portal acknowledges
  StoreDamaged     the file is not what was written: salvaged at the next start
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from domain.errors import HeadwaterError

if TYPE_CHECKING:
    from pathlib import Path


class StoreError(HeadwaterError):
    """The store on disk cannot be read or written just now; nothing that it holds is touched."""

    exit_code = 6


class StoreFull(StoreError):
    """The disk, or the store's own bound, has no room for more reads."""


class StoreDamaged(StoreError):
    """The file does not hold what was written to it."""


UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: where SQLite's message quotes the damage, Python cannot decode it."""

NONSENSE = (KeyError, ValueError, TypeError, OverflowError, IndexError)
"""What a row raises that SQLite reads without complaint and that nobody can have written."""

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def translated(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """Return what SQLite said as an error of the store, with what to do next."""
    if isinstance(error, UnicodeDecodeError):
        return StoreDamaged(f"the store {path} is damaged: restart the gateway and it salvages what it can")
    if str(error).startswith("Could not decode"):  # Python's, not SQLite's: text that is none, and no error code
        return StoreDamaged(f"the store {path} is damaged ({error}): restart the gateway and it salvages what it can")
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"no room left for the store {path}: it drains once the portal acknowledges what is waiting. "
            "Free disk space, or raise the store's bound"
        )
    if code in _DAMAGED:
        return StoreDamaged(f"the store {path} is damaged ({error}): restart the gateway and it salvages what it can")
    if code in _LOCKED:
        return StoreError(
            f"the store {path} is locked by another process: stop it (fuser {path} names it); nothing is lost meanwhile"
        )
    if code in _FORBIDDEN:
        return StoreError(f"the store {path} cannot be opened for writing ({error}): check its folder's owner and mode")
    return StoreError(f"the store {path} cannot be used ({error}): check the disk (dmesg, smartctl)")
