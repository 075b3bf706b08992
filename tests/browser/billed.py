"""Homes that are billed, for the browser tests of the staff's journeys: signed batches, agreements, issued bills.

`python -m tests.browser.billed load` fills a portal that has its homes; `work` does what the worker would do now. Like
`tests.browser.homes` a program beside the portal, with its environment.

Two cycles, each with three accounts. April is billed and issued. In May one meter of each cycle was not read around the
end of the month, so that its bill is held.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import django

SEED = 20260501
ZONE = ZoneInfo("America/Chicago")
FIRST_DAY = date(2026, 4, 1)
STEP = timedelta(hours=6)
NORMAN = Path(__file__).resolve().parents[2] / "rates" / "files" / "norman.yaml"
PEOPLE = {
    "N1": ("Rosa Delgado", "James Whitfield", "Ola Lindqvist"),
    "N2": ("Mary Okafor", "Peter Novak", "Lena Fischer"),
}


def main(arguments: list[str]) -> None:
    """Do one of the two things."""
    django.setup()
    if arguments[0] == "load":
        load()
    elif arguments[0] == "work":
        from portal.worker import run_queued_tasks

        print(run_queued_tasks())
    else:
        raise SystemExit(f"unknown: {arguments[0]}")


def load() -> None:
    """Fill the portal and bill April."""
    from portal.billing import rate_books, runs
    from portal.billing.models import Cycle, RateBook
    from portal.core.models import User
    from tests.browser.homes import _user
    from tests.portal.building import enrolled

    print(f"billed: seed {SEED}")
    random_ = random.Random(SEED)
    sam = User.objects.get(email="staff@example.org")
    second = _user("second@example.org")
    User.objects.filter(pk=second.pk).update(is_staff=True, name="Toni Second")
    text = NORMAN.read_text(encoding="utf-8")
    # Tests of other pages, in the same portal, may have brought it already.
    if not RateBook.objects.filter(digest=rate_books.digest_of(text), withdrawn_at=None).exists():
        second.refresh_from_db()
        rate_books.approve(rate_books.load(text, actor=sam), actor=second)
    box = enrolled("nor-tower-1")
    number = 0
    for street, (code, people) in zip(("Cedar", "Walnut"), PEOPLE.items(), strict=True):
        cycle = Cycle.objects.create(code=code, name=f"{street} Court", read_day=1)
        for house, name in enumerate(people):
            number += 1
            _home(random_, box, number, name, f"{21 + 2 * house} {street} Court", cycle, unread=house == 2)
        runs.issue_run(runs.calculate_run(runs.start_run(cycle, date(2026, 5, 1), sam)), sam)


def _home(random_, box, number, name, address, cycle, *, unread):  # type: ignore[no-untyped-def]
    from portal.billing.agreements import Terms, start_agreement
    from portal.billing.models import BillingAccount
    from portal.core.clock import now
    from portal.customers import services as customers
    from portal.customers.models import Account
    from portal.ingest.apply import apply_batch
    from tests.portal.building import home, read, total

    moment = now().replace(second=0, microsecond=0)
    start = datetime(2026, 4, 1, tzinfo=ZONE).astimezone(UTC)
    register = total(f"NOR-3000{number:04}")
    service_point, _ = home(register, start, address=address)
    account = Account.objects.create(number=f"20-0010{number}-00", name=name)
    customers.move_in(account, service_point, start)
    email = f"{name.split()[0].lower()}@cedar.example"
    BillingAccount.objects.create(
        account=account, cycle=cycle, route="R7", stop=number, email=email, opened_on=FIRST_DAY
    )
    start_agreement(account, service_point, Terms("residential", {"dwelling_units": 1}), FIRST_DAY, label="tests")
    silent = (datetime(2026, 5, 29, tzinfo=ZONE), datetime(2026, 6, 4, tzinfo=ZONE))
    reads, count, at = [], random_.randrange(200_000, 600_000), start
    while at <= moment:
        if not (unread and silent[0] < at < silent[1]):
            reads.append(read(register, count, at))
        count += random_.randrange(150, 450)
        at += STEP
    assert apply_batch(box.sealed(reads), box.name, moment)


if __name__ == "__main__":
    main(sys.argv[1:])
