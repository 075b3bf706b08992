"""What a read costs on the portal's disk before and after its day is folded, on both databases.

`run` starts this module as a program of its own for each database.
"""

from __future__ import annotations

import itertools
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.bench.measure import rounded, seconds
from tests.bench.portals import new_portal, on_both_databases, print_figures

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {
    "recent_read": "metering_recentread",
    "register_day": "metering_registerday",
    "daily_volume": "metering_dailyvolume",
    "stored_batch": "metering_storedbatch",
}
PER_HOUR, EVERY_S = 4, 900


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure both databases."""
    return {
        "what": "bytes on disk over reads, tables with their indexes, after VACUUM: 15-minute reads in hourly batches, "
        "before and after fold_closed_days; stored_batch is the verbatim signed batches",
        **on_both_databases(__name__, folder, quick=quick),
    }


def measure(*, quick: bool) -> dict[str, Any]:
    """Return this portal's figures."""
    new_portal()
    from portal.metering.folding import fold_closed_days
    from portal.metering.models import RecentRead

    meters, days = (20, 1) if quick else (300, 3)
    ends_at = _fill(meters, days)
    reads = RecentRead.objects.count()
    assert reads == meters * days * 24 * PER_HOUR, "a batch was refused"
    before = _table_bytes()
    fold_s = seconds(lambda: fold_closed_days(ends_at + timedelta(days=1)))
    assert not RecentRead.objects.exists(), "a day was not folded"
    after = _table_bytes()
    return {
        "meters": meters,
        "days": days,
        "reads": reads,
        "recent_read_bytes_per_read": rounded(before["recent_read"] / reads),
        "register_day_bytes_per_read": rounded(after["register_day"] / reads),
        "packed_value_bytes_per_read": rounded(_packed_bytes() / reads),
        "daily_volume_bytes_per_read": rounded(after["daily_volume"] / reads),
        "stored_batch_bytes_per_read": rounded(after["stored_batch"] / reads),
        "all_tables_bytes_per_read": rounded(sum(after.values()) / reads),
        "recent_over_folded": rounded(before["recent_read"] / after["register_day"]),
        "fold_us_per_read": rounded(fold_s * 1e6 / reads),
        "fold_ms_per_register_and_day": rounded(fold_s * 1e3 / meters / days),
    }


def _fill(meters: int, days: int) -> Any:
    """Apply the batches of some storage days; return when the last one ended."""
    from portal.ingest.apply import apply_batch
    from tests.bench.homes import START, Homes
    from tests.portal.building import enrolled

    box = enrolled("hw-bench-store")
    rounds = Homes(meters).rounds(days * 24 * PER_HOUR, every_s=EVERY_S)
    for hour in range(1, days * 24 + 1):
        sealed_at = START + timedelta(hours=hour)
        reads = [*itertools.chain(*itertools.islice(rounds, PER_HOUR))]
        answer = apply_batch(box.sign(box.batch(reads, sealed_at=sealed_at)), box.name, sealed_at)
        assert answer is not None
        assert answer.committed
    return START + timedelta(days=days)


def _packed_bytes() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT SUM(LENGTH(packed)) FROM metering_registerday")
        return int(cursor.fetchone()[0] or 0)


def _table_bytes() -> dict[str, int]:
    """Return the bytes of each table with its indexes, after a vacuum."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM (FULL, ANALYZE)")
            query = "SELECT pg_total_relation_size(%s::regclass)"
        else:
            cursor.execute("VACUUM")
            query = (
                "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE name IN "
                "(SELECT name FROM sqlite_master WHERE tbl_name = %s)"
            )
        sizes = {}
        for name, table in TABLES.items():
            cursor.execute(query, [table])
            sizes[name] = int(cursor.fetchone()[0])
    return sizes


if __name__ == "__main__":
    print_figures(measure(quick="--quick" in sys.argv))
