"""What collectors report, in words that staff read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy

from domain.reading import EventKind

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

WORDS: dict[EventKind, StrPromise] = {
    EventKind.LEAK_OPENED: gettext_lazy("water began to leak"),
    EventKind.LEAK_CLEARED: gettext_lazy("the leak is over"),
    EventKind.BACKFLOW: gettext_lazy("water ran backwards"),
    EventKind.TAMPER: gettext_lazy("the meter was tampered with"),
    EventKind.METER_ALARM: gettext_lazy("the meter gives an alarm"),
    EventKind.METER_SILENT: gettext_lazy("the meter does not answer"),
    EventKind.METER_RETURNED: gettext_lazy("the meter answers again"),
    EventKind.LINE_DOWN: gettext_lazy("a line to meters is down"),
    EventKind.LINE_RETURNED: gettext_lazy("the line to meters is back"),
    EventKind.BAD_REPLY: gettext_lazy("the meter answered something that cannot be read"),
    EventKind.IDENTITY_CHANGED: gettext_lazy("another meter answered"),
    EventKind.REGISTER_SWAP: gettext_lazy("a register was exchanged"),
    EventKind.CLOCK_STEP: gettext_lazy("the collector's clock jumped"),
    EventKind.DISK_PRESSURE: gettext_lazy("the collector's disk is filling"),
    EventKind.READS_THINNED: gettext_lazy("old reads were thinned to make room"),
    EventKind.STORE_SALVAGED: gettext_lazy("a damaged store was set aside"),
    EventKind.CONFIG_APPLIED: gettext_lazy("a configuration was applied"),
    EventKind.CONFIG_REFUSED: gettext_lazy("a configuration was refused"),
    EventKind.BATCH_REJECTED: gettext_lazy("a batch was refused"),
    EventKind.BATCHES_GONE: gettext_lazy("batches are no longer there"),
    EventKind.COMMAND_DONE: gettext_lazy("a command was carried out"),
    EventKind.TECHNICIAN_ACTION: gettext_lazy("a technician did something"),
    EventKind.STARTED: gettext_lazy("the collector started"),
    EventKind.STOPPED: gettext_lazy("the collector stopped"),
}


def event_words(kind: str) -> str:
    """Return an event in words; its code when it is of a newer collector."""
    try:
        return str(WORDS[EventKind(kind)])
    except ValueError:
        return kind
