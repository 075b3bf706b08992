"""The reconciliation finds every planted difference, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headwater.demo.reconcile import KeptRead, Reconciliation, Reply, reconcile

METER = "HWT-00000001"


def street(rounds: int = 20) -> tuple[list[Reply], list[KeptRead]]:
    """Twenty replies ten seconds apart, the dial standing still on every second one, and their reads."""
    replies = [Reply(METER, "total", 1000 + n // 2, 10.0 * n) for n in range(rounds)]
    reads = [KeptRead(METER, "ab" * 16, n + 1, "total", r.count, r.at_s + 0.05) for n, r in enumerate(replies)]
    return replies, reads


def check(
    replies: list[Reply], appended: list[KeptRead], at_portal: list[KeptRead], kills: tuple[float, ...] = ()
) -> Reconciliation:
    """Reconcile one meter whose dial and usage agree with the portal's last read."""
    result = reconcile(
        meters=[METER],
        replies=replies,
        appended=appended,
        at_portal=at_portal,
        kills_s={METER: kills},
        commit_window_s=1.0,
        tolerance_s=2.0,
    )
    for meter in result.meters:
        meter.dial = meter.portal_register = meter.register_difference = meter.usage_sum = 5
    return result


def test_three_equal_records_agree() -> None:
    """Nothing lost, nothing duplicated, no fault."""
    replies, reads = street()
    result = check(replies, reads, reads)
    assert result.agrees
    assert result.as_json()["meters"][0]["at_portal"] == 20


@pytest.mark.parametrize(
    ("plant", "column"),
    [
        (lambda r, a, p: (r, a, p[:-1]), "lost"),
        (lambda r, a, p: (r, a[:-1], p[:-1]), "lost"),
        (lambda r, a, p: (r, a, [*p, p[3]]), "duplicated"),
        (lambda r, a, p: (r[:-1], a, p), "duplicated"),
        (lambda r, a, p: (r, a, [KeptRead(METER, "ab" * 16, 1, "total", 7, 0.05), *p[1:]]), "altered"),
    ],
    ids=["portal lacks a read", "a reply became no read", "portal holds one twice", "a read from nowhere", "altered"],
)
def test_a_planted_difference_is_found(
    plant: Callable[..., tuple[list[Reply], list[KeptRead], list[KeptRead]]], column: str
) -> None:
    """Each way to differ is counted in its own column and the records do not agree."""
    replies, reads = street()
    result = check(*plant(replies, reads, list(reads)))
    assert result.total(column) == 1
    assert not result.agrees


def test_a_reply_cut_off_by_a_kill_is_in_flight_and_nothing_else_is() -> None:
    """A reply within one commit window before a kill is in flight; the same reply without a kill is lost."""
    replies, reads = street()
    kept = [read for read in reads if read.append_seq != 11]
    assert check(replies, kept, kept, kills=(100.5,)).total("in_flight_at_kill") == 1
    assert check(replies, kept, kept, kills=(100.9,)).total("in_flight_at_kill") == 1
    assert check(replies, kept, kept, kills=(101.1,)).total("lost") == 1
    assert check(replies, kept, kept, kills=(100.5,)).agrees
    assert check(replies, kept, kept, kills=(109.0,)).total("lost") == 1


def test_a_read_committed_but_not_logged_before_a_kill_is_matched_to_its_reply() -> None:
    """The portal may hold a read that the killed collector had no time to log; it must match a reply."""
    replies, reads = street()
    assert check(replies, reads[:-1], reads, kills=(190.5,)).agrees


def test_a_dial_that_differs_or_a_street_without_meters_does_not_agree() -> None:
    """An empty result is not a good one, and the dial has the last word."""
    replies, reads = street()
    result = check(replies, reads, reads)
    result.meters[0].dial = 6
    assert not result.agrees
    assert not Reconciliation([]).agrees
