"""Events as collectors report them, and the leak cases that follow from them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from domain.reading import EventKind
from portal.core.public_id import ALPHABET, LENGTH
from portal.customers.services import Span
from portal.fleet.commands import finish_command
from portal.metering.heads import note_gone
from portal.metering.models import Installation, LeakCase, MeterEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.ids import CollectorId
    from domain.reading import StoredEvent
    from portal.metering.models import Epoch

_ID_CHARS = 200
_LEAK_KINDS = (EventKind.LEAK_OPENED, EventKind.LEAK_CLEARED)


def store_events(
    events: Sequence[StoredEvent],
    meters: Mapping[str, int],
    *,
    epoch: Epoch,
    sender: CollectorId,
    received_at: datetime,
) -> None:
    """Keep the events of one batch and bring the leak cases up to date.

    meters  the row id of every meter that they name.
    An event id that this collector has used before is the same event again (alarms are named deterministically, so a
    replay after a salvaged store repeats them): the first one stays.
    """
    rows = []
    for stored in events:
        event_id = _short(_clean(stored.event.event_id))
        rows.append(
            MeterEvent(
                public_id=_public_id("event", sender, event_id),
                collector_id=epoch.collector_id,
                event_id=event_id,
                kind=stored.event.kind.value,
                at=stored.event.at,
                meter_id=None if stored.event.meter_id is None else meters[stored.event.meter_id],
                detail=_clean(dict(stored.event.detail)),
                epoch=epoch.pk,
                append_seq=stored.append_seq,
                received_at=received_at,
            )
        )
    MeterEvent.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    for row, stored in zip(rows, events, strict=True):
        if stored.event.kind in _LEAK_KINDS and row.meter_id is not None:
            _leak_case(row, sender, stored.event.kind)
        elif stored.event.kind is EventKind.COMMAND_DONE:
            finish_command(stored.event.detail, collector=epoch.collector_id, at=received_at)
        elif stored.event.kind is EventKind.BATCHES_GONE:
            note_gone(stored.event.detail, collector=epoch.collector_id, at=received_at)


def claim_leak_cases(installation: Installation) -> None:
    """Give the leaks of a meter that had no place yet to the installation that covers them."""
    hung = Span(installation.start, installation.end)
    LeakCase.objects.filter(
        meter=installation.meter, installation__isnull=True, opened_at__gte=hung.start, opened_at__lt=hung.end
    ).update(installation=installation)


def _leak_case(event: MeterEvent, sender: CollectorId, kind: EventKind) -> None:
    """Open or clear the case of an alarm; the two may arrive in either order, and repeatedly."""
    assert event.meter_id is not None
    alarm = _short(f"{sender}/{event.detail.get('alarm') or event.event_id}")
    case = LeakCase.objects.select_for_update().filter(alarm_id=alarm).first()
    if case is None:
        case = LeakCase(
            public_id=_public_id("leak", alarm),
            alarm_id=alarm,
            meter_id=event.meter_id,
            opened_at=event.at,
            evidence={},
        )
    if kind is EventKind.LEAK_OPENED:
        case.opened_at = event.at
        case.rule = str(event.detail.get("rule", ""))[:60]
        case.evidence = {**case.evidence, "opened": event.detail}
    else:
        case.cleared_at = event.at
        case.opened_at = min(case.opened_at, event.at)
        case.evidence = {**case.evidence, "cleared": event.detail}
    if case.installation_id is None:
        case.installation = _installation_at(event.meter_id, case.opened_at)
    case.save()


def _installation_at(meter: int, moment: datetime) -> Installation | None:
    hung = Installation.objects.filter(meter=meter, start__lte=moment).order_by("-start").first()
    return hung if hung is not None and (hung.end is None or moment < hung.end) else None


def _clean(value: Any) -> Any:
    """Return text without the NUL character, which PostgreSQL cannot keep; a signed batch is never stuck over it."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_clean(part) for part in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(part) for key, part in value.items()}
    return value


def _short(text: str) -> str:
    """Return an id as it is, or its digest when it is longer than a column."""
    return text if len(text) <= _ID_CHARS else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _public_id(*parts: str) -> str:
    """Return the public id that follows from what a row is of, so that a rebuild gives the same addresses."""
    number = int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest(), "big")
    characters = []
    for _ in range(LENGTH):
        number, place = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[place])
    return "".join(characters)
