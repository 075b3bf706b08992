"""One look at all that a page asks of its meters: the answers are those of looks one by one, in fewer messages."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from portal.core.remembering import remembering
from portal.customers.services import Span
from portal.metering.looks import clusters
from portal.metering.reads import from_us
from portal.metering.spans import look_together, metered_at
from portal.metering.usage import usages
from tests.portal.test_usage_charts import CHICAGO, SEEDS, cuts, street

if TYPE_CHECKING:
    from datetime import datetime

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_later_looks_of_a_page_say_what_they_would_have_said_alone(seed: int) -> None:
    known, rng = street(seed), random.Random(seed + 3000)
    wanted, other = cuts(rng, known), cuts(rng, known)
    boundaries = sorted(edge for cut in wanted for edge in (cut.edges[0], cut.edges[-1]))
    seen = [Span(known.start, known.start + timedelta(days=9)), Span(known.start + timedelta(days=11), None)]
    alone = [usages(known.place, one, zone=CHICAGO, spans=inside) for one in (wanted, other) for inside in (None, seen)]
    counted = metered_at({known.place.pk: boundaries})
    with remembering():
        look_together({known.place.pk: {edge for cut in wanted for edge in cut.edges}}, CHICAGO)
        after = [
            usages(known.place, one, zone=CHICAGO, spans=inside) for one in (wanted, other) for inside in (None, seen)
        ]
        assert after == alone
        assert metered_at({known.place.pk: boundaries}) == counted


def test_what_was_looked_at_is_not_asked_again() -> None:
    known = street(SEEDS[0])
    wanted = cuts(random.Random(1), known)[:5]
    with remembering():
        look_together({known.place.pk: {edge for cut in wanted for edge in cut.edges}}, CHICAGO)
        with CaptureQueriesContext(connection) as asked:
            assert usages(known.place, wanted, zone=CHICAGO)[0].total is not None
    assert len(asked) == 0


def test_moments_far_apart_are_looked_at_one_by_one() -> None:
    def at(*days: int) -> list[datetime]:
        return [from_us(day * 86_400_000_000) for day in days]

    assert clusters(at(700, 3, 1, 101, 3, 201), timedelta(days=100)) == [at(1, 3, 101, 201), at(700)]
    assert clusters([], timedelta(days=100)) == []
