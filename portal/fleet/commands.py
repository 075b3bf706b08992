"""The outbox of commands: an order waits here and is published until the collector reports it done, or it expires.

A command is signed with the same number each time, so a collector carries it out once however often it comes. Nothing
here writes to a meter: there is no such command.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction

from domain.ids import CollectorId
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.fleet.models import Collector, CollectorCommand
from portal.fleet.services import portal_signing_key
from sync.signing import Command, sign_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from portal.core.models import User

EXPIRES_LONGEST = timedelta(days=7)
"""A collector refuses a command that is valid for longer: so long it remembers numbers (sync.uplink)."""

AGAIN_FIRST, AGAIN_LONGEST = timedelta(seconds=30), timedelta(hours=1)
BODY_BYTES_MAX = 320 * 1024
"""A configuration of a thousand meters has about 150 KiB."""
_KIND_CHARS, _RESULT_CHARS = 40, 200


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed command and whom it is for."""

    collector: CollectorId
    signed: bytes


@transaction.atomic
def queue_command(
    collector: Collector,
    kind: str,
    body: Mapping[str, Any],
    *,
    expires_in: timedelta,
    actor: User | None = None,
    label: str = "",
) -> CollectorCommand:
    """Put a command into the outbox; ingest publishes it within seconds.

    raises  Refused for a collector that is not enrolled or was revoked, and for what no collector would take.
    """
    if collector.enrolled_at is None or collector.revoked_at is not None:
        raise Refused("collector", f"{collector.collector_id} is not enrolled, or was revoked")
    if not timedelta(0) < expires_in <= EXPIRES_LONGEST:
        raise Refused("expires-in", f"a command is valid for more than nothing and at most {EXPIRES_LONGEST.days} days")
    if not 0 < len(kind) <= _KIND_CHARS or len(json.dumps(dict(body)).encode()) > BODY_BYTES_MAX:
        raise Refused("command", "the kind of a command has 1 to 40 characters, its body at most 320 KiB")
    moment = now()
    row = CollectorCommand.objects.create(
        collector=collector,
        nonce=secrets.token_bytes(16),
        kind=kind,
        body=dict(body),
        actor=actor,
        label=label,
        created_at=moment,
        expires_at=moment + expires_in,
        publish_at=moment,
    )
    audit("command.queue", actor=actor, label=label, target=collector, detail={"kind": kind, "command": row.public_id})
    return row


@transaction.atomic
def due_commands(moment: datetime, *, limit: int = 64) -> list[Outgoing]:
    """Return what is to be published now, and set when it is published next. Several processes may call it."""
    rows = CollectorCommand.objects.select_for_update(
        of=("self",) if connection.features.has_select_for_update_of else (),
        skip_locked=connection.features.has_select_for_update_skip_locked,
    )
    due = rows.filter(
        done_at__isnull=True, publish_at__lte=moment, expires_at__gt=moment, collector__revoked_at__isnull=True
    )
    outgoing = []
    for row in due.select_related("collector").order_by("publish_at")[:limit]:
        outgoing.append(_outgoing(row))
        row.publish_at = moment + min(AGAIN_FIRST * 2 ** min(row.times, 20), AGAIN_LONGEST)
        row.times += 1
        row.save(update_fields=["publish_at", "times"])
    return outgoing


def waits() -> bool:
    """Whether anything is in the outbox: nearly always nothing is, and then no lock is taken."""
    moment = now()
    return CollectorCommand.objects.filter(done_at__isnull=True, publish_at__lte=moment, expires_at__gt=moment).exists()


def _outgoing(row: CollectorCommand) -> Outgoing:
    command = Command(bytes(row.nonce), row.kind, row.created_at, row.expires_at, row.body)
    collector = CollectorId(row.collector.collector_id)
    return Outgoing(collector, signed(command, collector))


def signed(command: Command, collector: CollectorId) -> bytes:
    """Return a command signed with the portal's key."""
    return sign_command(command, collector=collector, key=portal_signing_key(str(settings.PORTAL_DIR)))


def fresh(kind: str, body: Mapping[str, Any], *, at: datetime, expires_in: timedelta) -> Command:
    """Return a command that is published once and not kept: whoever asks asks again."""
    return Command(secrets.token_bytes(16), kind, at, at + expires_in, dict(body))


def finish_command(detail: Mapping[str, Any], *, collector: int, at: datetime) -> bool:
    """Close the command that a collector (its row's number) reports done; returns whether it was open.

    detail  of the event COMMAND_DONE: {"nonce": hexadecimal, "kind": ..., "result": "ok" or what went wrong}. What
            names no command of this collector closes nothing: `resend` is asked for without an outbox.
    """
    try:
        number = bytes.fromhex(str(detail.get("nonce", "")))
    except ValueError:
        return False
    result = str(detail.get("result", "")).replace("\0", "")[:_RESULT_CHARS]
    rows = CollectorCommand.objects.filter(collector=collector, nonce=number, done_at__isnull=True)
    return bool(rows.update(done_at=at, result=result or "no result given"))
