"""The staff's search asks in words that its indexes know: at 41,000 accounts a scan of every row is felt."""

from __future__ import annotations

import pytest
from django.db import connection

from portal.core.models import User
from portal.fleet.models import Meter
from portal.notifications.models import Phone
from portal.staff.search import _like, _MeterKey, _mixed

pytestmark = pytest.mark.django_db


def test_the_search_asks_by_its_indexes() -> None:
    meter = Meter.objects.alias(bare=_MeterKey("meter_id")).filter(bare="EFE1")
    asked = {"search_meter_key": meter}
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # With the few rows of a test any other way is cheaper: what is left is what the index can do.
            for other in ("seqscan", "indexscan", "nestloop"):
                cursor.execute(f"SET LOCAL enable_{other} = off")
        name, place = list(_like("Morales"))[:2]
        key, part, *_ = _like("1002003")
        asked |= {
            "search_account_name": name,
            "search_premise_address": place,
            "search_account_key": key,
            "search_meter_part": part,
            "search_phone_part": Phone.objects.filter(number__contains="1002003"),
            "search_user_email": User.objects.filter(email__icontains="ana@example"),
            "search_bill_email": list(_like("ana@example"))[1],
            "search_user_name": User.objects.filter(username__icontains="ana"),
        }
        assert "search_premise_address" in _mixed(["Ana", "Elm"]).explain()
    assert {index: index in rows.explain() for index, rows in asked.items()} == dict.fromkeys(asked, True)
