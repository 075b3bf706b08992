"""Registers and installations of many meters at once, as an import brings them: a few statements for 500 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.core.services import bump_change
from portal.fleet.models import Meter
from portal.metering.events import claim_leak_cases
from portal.metering.models import Installation, LeakCase, MeterRegister
from portal.metering.registers import register_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.reading import Register

_AT_ONCE = 500


def claim_registers(registers: Mapping[Register, bool], *, at: datetime) -> None:
    """Make what is new of the registers and mark all of them claimed; the value: whether their counts are usage."""
    rows = register_rows(registers, seen_at=at)
    for in_usage in (True, False):
        wanted = [rows[register] for register, used in registers.items() if used is in_usage]
        for start in range(0, len(wanted), _AT_ONCE):
            some = MeterRegister.objects.filter(pk__in=wanted[start : start + _AT_ONCE])
            some.update(claimed=True, in_usage=in_usage)


def name_models(models: Mapping[str, str]) -> None:
    """Write the model of meters down; keyed by meter id."""
    by_model: dict[str, list[str]] = {}
    for meter_id, model in models.items():
        by_model.setdefault(model, []).append(meter_id)
    for model, ids in by_model.items():
        for start in range(0, len(ids), _AT_ONCE):
            Meter.objects.filter(meter_id__in=ids[start : start + _AT_ONCE]).update(model=model)


def install_meters(new: Sequence[Installation], changed: Sequence[Installation]) -> None:
    """Write installations that were checked against each other; what is changed comes before what is new.

    The database itself refuses a second open installation of a meter or at a service point.
    """
    Installation.objects.bulk_create(
        changed,
        batch_size=_AT_ONCE,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["end", "register", "first_count", "last_count"],
    )
    Installation.objects.bulk_create(new, batch_size=_AT_ONCE)
    leaking = {case.meter_id for case in LeakCase.objects.filter(installation__isnull=True).only("meter")}
    for installation in (*new, *changed):
        if installation.meter_id in leaking:
            claim_leak_cases(installation)
    if new or changed:
        bump_change()
