"""A configuration that the portal sends: tried, kept once the portal was reached with it, else put back.

Each step is on disk before the next, so that a kill between any two leaves one whole configuration in force:
  begun     the file as it was stands beside it as `<name>.before-trial`, `<name>.trial` says what is tried
  swapped   the new file takes the place of the old at once; the collector begins anew with it
  kept      the portal acknowledged a batch in the new run: the trial is over
  put back  no ack in its time, or it does not start: the old file is there again, the collector begins anew
The backlog is never touched: a trial cannot change the collector's id, its data directory or its keys.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tomllib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError
from gateway import config
from gateway.config_parse import parse
from gateway.config_text import to_toml
from gateway.plans import bus_plans

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import GatewayConfig

TRY_S_MIN, TRY_S_MAX, TRY_S_DEFAULT = 5, 86_400, 600
STARTS_MAX = 3
"""Starts of a configuration that was never seen to reach the portal; a fourth puts it back."""
PORTAL_KEYS = frozenset({"broker", "batch_max_reads", "seal_every_s", "upload_bytes_per_s_max"})
"""What may be changed in [portal]; key files belong to the machine."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration on trial.

    nonce     of the command that brought it, in hex.
    digest    sha256 of the file's text, in hex.
    try_s     how long, in real seconds, the portal may stay out of reach.
    put_back  why it is over, "" while it goes on.
    """

    nonce: str
    digest: str
    try_s: int
    starts: int = 0
    put_back: str = ""


class Trials:
    """The trial of one configuration file, as it stands on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before, self._note = (path.with_name(path.name + end) for end in (".before-trial", ".trial"))

    def current(self) -> Trial | None:
        """Return the trial that goes on, or was put back and not yet reported; None when there is none."""
        try:
            return Trial(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, text: str, *, nonce: str, try_s: int = TRY_S_DEFAULT) -> bool:
        """Put a new configuration in the place of the old; returns False when it says the same.

        raises  ConfigError with every fault; ResourceUnavailable when the file cannot be written. Nothing changed then.
        """
        if self.current() is not None:
            raise ConfigError("another configuration is being tried: send this one when that is over")
        made = merged(text, self.path)
        bus_plans(made)
        new_text = to_toml(made)
        if new_text == to_toml(config.load(self.path)):
            return False
        try:
            _write(self._before, self.path.read_bytes())
            self._save(Trial(nonce, _digest(new_text.encode()), try_s))
            _write(self.path, new_text.encode())
        except OSError as error:
            self._note.unlink(missing_ok=True)
            raise ConfigError(
                f"{self.path}: {error.strerror}; make its folder writable for the service, or change it by hand"
            ) from error
        return True

    def at_start(self) -> None:
        """Take up what a kill interrupted, and count the starts. raises OSError when the folder cannot be written."""
        trial = self.current()
        if trial is None:
            return
        in_place = self._in_place(trial)
        if trial.put_back:
            self._restore(trial)
        elif not in_place:
            self._save(replace(trial, put_back="it was not applied, or the file was changed by hand since"))
        elif trial.starts >= STARTS_MAX:
            self.put_back(f"{trial.starts} starts and the portal was never reached")
        else:
            self._save(replace(trial, starts=trial.starts + 1))

    def put_back(self, reason: str) -> None:
        """End the trial: the old file takes its place again, and the next start reports why."""
        trial = self.current()
        assert trial is not None, "no configuration is being tried"
        log.error("the new configuration is put back: %s", reason)
        trial = replace(trial, put_back=reason)
        self._save(trial)
        self._restore(trial)

    def done(self) -> None:
        """Forget the trial: what became of it is in the store."""
        self._note.unlink(missing_ok=True)

    def _in_place(self, trial: Trial) -> bool:
        return self.path.is_file() and _digest(self.path.read_bytes()) == trial.digest

    def _restore(self, trial: Trial) -> None:
        # A file that somebody changed by hand meanwhile is left alone.
        if self._in_place(trial):
            _write(self.path, self._before.read_bytes())

    def _save(self, trial: Trial) -> None:
        _write(self._note, json.dumps(asdict(trial)).encode())


def merged(text: str, path: Path) -> GatewayConfig:
    """Return the configuration that a text from the portal asks for at this collector.

    text    collector.toml with [poll], [[bus]], [[meter]] and what may be changed of [portal]; the rest stays.
    raises  ConfigError with every fault.
    """
    try:
        new = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"it is not TOML: {error}") from error
    portal = new.get("portal", {})
    faults = [f"[{name}]   belongs to the machine; leave it out" for name in new if name == "collector"]
    if not isinstance(portal, dict):
        faults.append("portal   expected a table")
    else:
        faults += [
            f"portal.{key}   belongs to the machine; leave it out" for key in sorted(portal.keys() - PORTAL_KEYS)
        ]
    if faults:
        raise ConfigError(faults)
    old: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    content = {**new, "collector": old["collector"]}
    if portal or "portal" in old:
        content["portal"] = {**old.get("portal", {}), **portal}
    return parse(content, folder=path.absolute().parent)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Replace a file at once and for good; a power cut leaves the old one or the new one."""
    half = path.with_name(f".{path.name}.part")
    with half.open("wb") as file:
        os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o640)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
