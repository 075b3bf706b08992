"""The lists of the staff pages, each a function from a search text and a page number to a Listing."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Prefetch, Q
from django.urls import reverse
from django.utils.translation import gettext as _

from domain.ids import Stream
from domain.reading import ReadQuality
from portal.core.clock import now
from portal.core.models import AuditEntry
from portal.customers.models import Occupancy, ServicePoint
from portal.fleet.models import Collector, CollectorCommand
from portal.metering.models import (
    GoneBatches,
    Installation,
    MeterEvent,
    MeterRegister,
    RegisterState,
    StoredBatch,
    StreamHead,
)
from portal.staff.event_words import event_words
from portal.staff.listing import Cell, Listing, count, dial_text, page_of, when
from portal.staff.people_list import people

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


QUIET_AFTER = timedelta(hours=1)
"""A collector that sent nothing for so long is shown as quiet."""


def collectors(search: str, page: int) -> Listing:
    """List collectors: when they were last heard, what they delivered, what is missing."""
    found = Collector.objects.order_by("collector_id")
    if search:
        found = found.filter(Q(collector_id__icontains=search) | Q(name__icontains=search))
    rows, more = page_of(found, page)
    arrived = StoredBatch.objects.filter(epoch__collector__in=rows).values_list("epoch__collector_id")
    batches = Counter(dict(arrived.annotate(number=Count("pk")).order_by()))
    # Sequences count from 1 without a gap; what was sealed is known from what came and from what the collector said.
    heads = StreamHead.objects.filter(epoch__collector__in=rows)
    sealed: Counter[int] = Counter()
    for collector, newest, declared in heads.values_list("epoch__collector_id", "newest", "declared"):
        sealed[collector] += max(newest, declared)
    gone: Counter[int] = Counter()
    spans = GoneBatches.objects.filter(epoch__collector__in=rows).values_list("epoch__collector_id", "first", "last")
    for collector, first, last in spans:
        gone[collector] += last - first + 1
    moment = now()
    return Listing(
        _("Collectors"),
        (_("Collector"), _("Name"), _("State"), _("Last batch"), _("Batches"), _("Backlog")),
        tuple(
            (
                Cell(row.collector_id, "code"),
                Cell(row.name),
                _collector_state(row, quiet=row.last_batch_at is None or moment - row.last_batch_at > QUIET_AFTER),
                when(row.last_batch_at),
                count(batches[row.pk]),
                _backlog(sealed[row.pk] - batches[row.pk], gone[row.pk]),
            )
            for row in rows
        ),
        _("No collector has been enrolled yet."),
        page,
        more,
    )


def _collector_state(row: Collector, *, quiet: bool) -> Cell:
    if row.revoked_at is not None:
        return Cell(_("revoked"), "bad")
    if row.enrolled_at is None:
        return Cell(_("not enrolled yet"), "warn")
    if row.over_quota_at is not None and now() - row.over_quota_at < QUIET_AFTER:
        return Cell(_("sends more than can be taken in"), "bad")
    return Cell(_("quiet"), "warn") if quiet else Cell(_("sending"), "good")


def _backlog(missing: int, gone: int) -> Cell:
    if missing <= 0:
        return Cell(_("nothing missing"), "good")
    if gone:
        shown = {"n": f"{missing:,}", "gone": f"{min(gone, missing):,}"}
        return Cell(_("missing batches: %(n)s; the collector no longer has %(gone)s of them") % shown, "bad")
    return Cell(_("missing batches: %(n)s, asked for") % {"n": f"{missing:,}"}, "warn")


def meters(search: str, page: int) -> Listing:
    """List registers: where the meter hangs, its last read; those that nobody has claimed come first."""
    found = (
        MeterRegister.objects.select_related("meter", "state")
        .prefetch_related(
            Prefetch(
                "meter__installations",
                Installation.objects.filter(end__isnull=True).select_related("service_point__premise"),
                to_attr="open_installations",
            )
        )
        .order_by("claimed", "meter__meter_id", "register_id", "pk")
    )
    if search:
        found = found.filter(
            Q(meter__meter_id__icontains=search)
            | Q(meter__installations__service_point__premise__address__icontains=search)
        ).distinct()
    rows, more = page_of(found, page)
    return Listing(
        _("Meters"),
        (_("Meter"), _("Register"), _("Place"), _("Last read"), _("Dial"), _("Quality"), _("State")),
        tuple(_meter_row(row) for row in rows),
        _("No meter is known yet."),
        page,
        more,
    )


def _meter_row(row: MeterRegister) -> tuple[Cell, ...]:
    state: RegisterState | None = getattr(row, "state", None)
    place = next(iter(row.meter.open_installations), None)  # type: ignore[attr-defined]
    quality = ReadQuality(state.last_quality) if state else None
    return (
        Cell(row.meter.meter_id, "code"),
        Cell(row.register_id, "code"),
        Cell(place.service_point.premise.address) if place else Cell(_("not installed"), "warn"),
        when(state.last_read_at if state else None),
        Cell(dial_text(state.last_count, row) if state else "\N{EN DASH}", "number"),
        Cell(QUALITY[quality]() if quality is not None else "\N{EN DASH}"),
        Cell(_("claimed"), "good") if row.claimed else Cell(_("unclaimed"), "bad"),
    )


QUALITY: dict[ReadQuality, Callable[[], str]] = {
    ReadQuality.MEASURED: lambda: _("measured"),
    ReadQuality.ESTIMATED: lambda: _("estimated"),
    ReadQuality.EDITED: lambda: _("edited"),
    ReadQuality.SUSPECT: lambda: _("suspect"),
    ReadQuality.MISSING: lambda: _("missing"),
}


def places(search: str, page: int) -> Listing:
    """List service points with who lives there now."""
    moment = now()
    living = Occupancy.objects.filter(Q(end__isnull=True) | Q(end__gt=moment), start__lte=moment)
    found = (
        ServicePoint.objects.select_related("premise")
        .prefetch_related(
            Prefetch("occupancies", living.select_related("account"), to_attr="living"),
            Prefetch(
                "installations",
                Installation.objects.filter(end__isnull=True).select_related("meter"),
                to_attr="open_installations",
            ),
        )
        .order_by("premise__address", "label")
    )
    if search:
        found = found.filter(
            Q(premise__address__icontains=search)
            | Q(occupancies__account__number__icontains=search)
            | Q(occupancies__account__name__icontains=search)
            | Q(installations__meter__meter_id__icontains=search)
        ).distinct()
    rows, more = page_of(found, page)
    return Listing(
        _("Places"),
        (_("Address"), _("Service point"), _("Account"), _("Name"), _("Meter"), _("Usage")),
        tuple(_place_row(row) for row in rows),
        _("No place matches."),
        page,
        more,
    )


def _place_row(row: ServicePoint) -> tuple[Cell, ...]:
    occupancy = next(iter(row.living), None)  # type: ignore[attr-defined]
    installation = next(iter(row.open_installations), None)  # type: ignore[attr-defined]
    return (
        Cell(row.premise.address),
        Cell(row.label),
        Cell(occupancy.account.number, "code") if occupancy else Cell(_("vacant"), "warn"),
        Cell(occupancy.account.name if occupancy else ""),
        Cell(installation.meter.meter_id, "code") if installation else Cell(_("no meter"), "warn"),
        Cell(_("Look, with a reason"), href=reverse("staff:look", args=[row.public_id])),
    )


def batches(search: str, page: int) -> Listing:
    """List stored batches, newest first."""
    found = StoredBatch.objects.select_related("epoch__collector").defer("signed").order_by("-pk")
    if search:
        found = found.filter(epoch__collector__collector_id__icontains=search)
    rows, more = page_of(found, page)
    return Listing(
        _("Stored batches"),
        (_("Collector"), _("Epoch"), _("Stream"), _("Sequence"), _("Received"), _("Reads"), _("Events"), _("SHA-256")),
        tuple(
            (
                Cell(row.epoch.collector.collector_id, "code"),
                Cell(bytes(row.epoch.epoch).hex()[:8], "code"),
                Cell(_("urgent") if row.stream == Stream.URGENT else _("bulk")),
                count(row.sequence),
                when(row.received_at),
                count(row.reads),
                count(row.events),
                Cell(bytes(row.batch_hash).hex()[:16], "code"),
            )
            for row in rows
        ),
        _("No batch has arrived yet."),
        page,
        more,
    )


def commands(search: str, page: int) -> Listing:
    """List commands to collectors, newest first: what waits, what was done, what expired."""
    found = CollectorCommand.objects.select_related("collector", "actor").order_by("-pk")
    if search:
        found = found.filter(Q(collector__collector_id__icontains=search) | Q(kind__icontains=search))
    rows, more = page_of(found, page)
    moment = now()
    return Listing(
        _("Commands"),
        (_("Collector"), _("Command"), _("Given by"), _("Given"), _("Expires"), _("Sent"), _("State"), _("Result")),
        tuple(
            (
                Cell(row.collector.collector_id, "code"),
                Cell(row.kind, "code"),
                Cell(row.actor.email if row.actor else row.label),
                when(row.created_at),
                when(row.expires_at),
                count(row.times),
                _command_state(row, moment),
                Cell(row.result),
            )
            for row in rows
        ),
        _("No command has been given yet."),
        page,
        more,
    )


def _command_state(row: CollectorCommand, moment: datetime) -> Cell:
    if row.done_at is not None:
        return Cell(_("done"), "good") if row.result == "ok" else Cell(_("failed"), "bad")
    return Cell(_("expired"), "bad") if row.expires_at <= moment else Cell(_("waiting"), "warn")


def events(search: str, page: int) -> Listing:
    """List what collectors reported, newest first."""
    found = MeterEvent.objects.select_related("collector", "meter").order_by("-pk")
    if search:
        found = found.filter(
            Q(kind__icontains=search)
            | Q(meter__meter_id__icontains=search)
            | Q(collector__collector_id__icontains=search)
        )
    rows, more = page_of(found, page)
    return Listing(
        _("Events"),
        (_("At"), _("What"), _("Meter"), _("Collector"), _("Received")),
        tuple(
            (
                when(row.at),
                Cell(event_words(row.kind)),
                Cell(row.meter.meter_id if row.meter else "", "code"),
                Cell(row.collector.collector_id, "code"),
                when(row.received_at),
            )
            for row in rows
        ),
        _("No event has been reported."),
        page,
        more,
    )


def audit_entries(search: str, page: int) -> Listing:
    """List who did what, newest first."""
    found = AuditEntry.objects.select_related("actor").order_by("-pk")
    if search:
        found = found.filter(
            Q(action__icontains=search) | Q(actor__email__icontains=search) | Q(target_id=search) | Q(reason=search)
        )
    rows, more = page_of(found, page)
    return Listing(
        _("Audit log"),
        (_("At"), _("Who"), _("What"), _("Of"), _("Reason")),
        tuple(
            (
                when(row.at),
                Cell(row.actor.email if row.actor else row.actor_label),
                Cell(row.action, "code"),
                Cell(f"{row.target_type} {row.target_id}".strip(), "code"),
                Cell(row.reason),
            )
            for row in rows
        ),
        _("Nothing has been written down yet."),
        page,
        more,
    )


LISTS: dict[str, Callable[[str, int], Listing]] = {
    "people": people,
    "collectors": collectors,
    "meters": meters,
    "places": places,
    "batches": batches,
    "commands": commands,
    "events": events,
    "audit": audit_entries,
}
