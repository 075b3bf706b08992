"""A home whose meter was swapped without a word: `python -m tests.browser.swapped ADDRESS METER`.

It takes the portal's environment, as any portal process does; reads come as folding leaves them.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import django

DAYS = 40
LITRES_PER_DAY = 610


def main(address: str, meter_id: str) -> None:
    """Make the home, with its reads folded and screened."""
    django.setup()
    from portal.core.clock import now
    from portal.customers.models import Account
    from portal.customers.services import ensure_premise, move_in
    from portal.metering.folding import fold_closed_days
    from portal.metering.models import RecentRead, RegisterState
    from portal.metering.reads import to_us
    from portal.metering.services import claim_register, install_meter
    from tests.browser.homes import _register

    moment = now().replace(minute=0, second=0, microsecond=0)
    start = moment - timedelta(days=DAYS)
    point = ensure_premise(address)
    register = claim_register(_register(meter_id), at=start)
    install_meter(register.meter, point, start)
    move_in(Account.objects.create(number=f"77{Account.objects.count():05}", name="Walter Wells"), point, start)
    reads = []
    for hour in range(0, DAYS * 24, 4):
        swapped = hour >= (DAYS - 3) * 24
        count = 4_000 + hour * LITRES_PER_DAY // 24 if not swapped else hour - (DAYS - 3) * 24 + 17
        reads.append((start + timedelta(hours=hour), count))
    same = {"register": register.pk, "epoch": 0, "quality": 0, "reason": 0, "flags": 0}
    rows = [RecentRead(read_us=to_us(at), raw_count=count, append_seq=n, **same) for n, (at, count) in enumerate(reads)]
    RecentRead.objects.bulk_create(rows)
    RegisterState.objects.create(
        register=register, last_read_at=reads[-1][0], last_count=reads[-1][1], last_quality=0, change_number=0
    )
    fold_closed_days(moment)


if __name__ == "__main__":
    main(*sys.argv[1:])
