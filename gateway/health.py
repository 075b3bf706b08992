"""How the collector is: lines, meters, disk, clock, backlog, certificate. One JSON file, replaced every few seconds.

The file is what `headwater gateway status` and the local page show, also after the service died; docs/guides has what
each fault means. It is not synced to the disk: losing the last few seconds of it in a power cut costs nothing.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from buffer.model import StoreStatus
    from gateway.bus import BusOwner
    from gateway.memory import Memory

STATUS_NAME = "status.json"
FRESH_S = 30.0
CERTIFICATE_WARN_DAYS = 30
DISK_WARN_SHARE = 0.9


def write_status(folder: Path, status: dict[str, Any]) -> None:
    """Replace the status file as a whole."""
    temporary = folder / f"{STATUS_NAME}.new"
    temporary.write_text(json.dumps(status, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / STATUS_NAME)


def read_status(folder: Path) -> dict[str, Any] | None:
    """Return what the service wrote last, None when it never did or it cannot be read."""
    try:
        status = json.loads((folder / STATUS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return status if isinstance(status, dict) else None


def age_s(status: dict[str, Any]) -> float:
    """Return how many of the machine's seconds ago a status was written."""
    return time.time() - float(status.get("written_s", 0))


def describe_bus(owner: BusOwner, memory: Memory) -> dict[str, Any]:
    """Return a bus and its meters as the status shows them."""
    bus, state = owner.plan.bus, owner.state
    meters = []
    for name, meter in state.meters.items():
        target = owner.plan.targets[name]
        meters.append(
            {
                "id": name,
                "address": target.address,
                "driver": owner.plan.drivers[name].name,
                "last_read_at": meter.last_read_at.isoformat() if meter.last_read_at else None,
                "last_count": meter.last_count,
                "failures": meter.failures,
                "last_error": meter.last_error,
                "silent_since": memory.get("silent", name),
                "answered": memory.get("identity", name),
            }
        )
    return {
        "name": bus.name,
        "where": bus.where,
        "line": bus.line,
        "state": state.state,
        "message": state.message,
        "replies": state.replies,
        "no_replies": state.no_replies,
        "bad_replies": state.bad_replies,
        "missed_slots": state.missed_slots,
        "last_round_s": state.last_round_s,
        "busy_with": state.busy_with,
        "meters": meters,
    }


def describe_store(status: StoreStatus) -> dict[str, Any]:
    """Return the store as the status shows it."""
    return {
        "path": str(status.path),
        "epoch": status.epoch.hex(),
        "last_append_seq": status.last_append_seq,
        "streams": [
            {
                "name": stream.stream.name.lower(),
                "last_sequence": stream.last_sequence,
                "unsealed_items": stream.unsealed_items,
                "unacked_batches": stream.unacked_batches,
                "unacked_items": stream.unacked_items,
            }
            for stream in status.streams
        ],
        "rejected_batches": status.rejected_batches,
        "rejected_for": status.rejected_for,
        "thinned_reads": status.thinned_reads,
        "days_to_full": status.days_to_full,
        "bytes_used": status.bytes_used,
        "bytes_bound": status.bytes_bound,
        "bytes_free": status.bytes_free,
        "reserve_kept": status.reserve_kept,
    }


def describe_backlog(status: StoreStatus) -> dict[str, Any]:
    """Return what the portal has not acknowledged: items in no batch yet, and batches that wait for their ack."""
    return {
        "unsent_items": sum(stream.unsealed_items for stream in status.streams),
        "unacked_batches": sum(stream.unacked_batches for stream in status.streams),
        "unacked_items": sum(stream.unacked_items for stream in status.streams),
        "bytes_to_send": status.bytes_to_send,
        "oldest_at": min((stream.oldest_at.isoformat() for stream in status.streams if stream.oldest_at), default=None),
    }


def disk_pressed(status: StoreStatus) -> bool:
    """Tell whether room is getting short: within the store's bound, or on the disk below it."""
    return (
        not status.reserve_kept
        or status.bytes_used > DISK_WARN_SHARE * status.bytes_bound
        or status.bytes_free < (1 - DISK_WARN_SHARE) * (status.bytes_used + status.bytes_free)
    )


def certificate_expires(path: Path | None) -> datetime | None:
    """Return when a certificate in PEM form expires; None when there is none or it cannot be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc if path else None
    except (OSError, ValueError):
        return None


def faults(status: dict[str, Any]) -> list[str]:
    """Return what a technician should look at, one sentence each."""
    return list(_faults(status))


def _faults(status: dict[str, Any]) -> Iterable[str]:
    if not status["clock"]["synchronised"]:
        yield "the clock is not set from a time source; reads are kept and marked. Connect the network or a GPS."
    for bus in status["buses"]:
        if bus["state"] == "down":
            yield f"bus {bus['name']} is down: {bus['message']}"
        for meter in bus["meters"]:
            if meter["silent_since"]:
                yield f"meter {meter['id']} (address {meter['address']}) is silent since {meter['silent_since']}"
            if meter["answered"]:
                yield f"meter {meter['id']} (address {meter['address']}) was swapped: {meter['answered']} answers there"
    store, commit = status["store"], status["commit"]
    if commit["last_error"]:
        yield f"the store takes nothing and reading waits: {commit['last_error']}"
    elif store.get("pressed"):
        yield "the disk is nearly full; reads go on into the reserve. Restore the connection to the portal."
    if store["rejected_batches"]:
        reasons = ", ".join(f"{count} for {reason or 'no reason'}" for reason, count in store["rejected_for"].items())
        yield f"the portal refused {store['rejected_batches']} batches ({reasons}); they are kept. Ask the office."
    if store["thinned_reads"]:
        yield (
            f"{store['thinned_reads']} old interval reads gave way for lack of room; volumes and daily reads are "
            "whole. Restore the connection, or fit a larger disk."
        )
    if status["uplink"]["state"] not in ("connected", "not enrolled"):
        yield f"no connection to the portal: {status['uplink'].get('message') or status['uplink']['state']}"
    expires_at = status["certificate"]["expires_at"]
    if expires_at:
        days = (datetime.fromisoformat(expires_at) - datetime.now(UTC)).days
        if days < CERTIFICATE_WARN_DAYS:
            when = f"expires in {days} days" if days >= 0 else "has expired"
            yield f"this collector's certificate {when}; run headwater gateway enrol with a new code."


def counters(value: Any) -> dict[str, Any]:
    """Return a dataclass of counters as an object."""
    return asdict(value)


def process_facts() -> dict[str, Any]:
    """Return this process's number and resident memory (Linux)."""
    resident_kib = 0
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            resident_kib = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    except OSError:
        resident_kib = 0
    return {"pid": os.getpid(), "resident_kib": resident_kib}
