"""Why a bill is held, or what was noticed about it, in words that staff read."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from portal.staff.listing import when

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WORDS: dict[str, Callable[[], str]] = {
    # of the calculation
    "cannot-price": lambda: _("there is no price for it"),
    "nothing-to-bill": lambda: _("nothing to bill: no agreement holds in the period"),
    "no-meter": lambda: _("no meter hangs there"),
    "no-start-read": lambda: _("no count for the start of the period"),
    "no-end-read": lambda: _("no count for the end of the period"),
    "earlier-bill-open": lambda: _("the bill before is not issued yet"),
    "estimate-cap": lambda: _("estimated too often in a row"),
    "true-up": lambda: _("settles earlier estimates"),
    # of the reads (portal.metering.validation)
    "no-boundary": lambda: _("no read near an end of the period"),
    "suspect-boundary": lambda: _("the read at an end of the period is suspect"),
    "estimated": lambda: _("the count at an end of the period is estimated"),
    "gap": lambda: _("days without a read"),
    "roll-over": lambda: _("the dial started again at zero"),
    "negative": lambda: _("the dial went backwards"),
    "backflow": lambda: _("a little water ran backwards"),
    "impossible": lambda: _("more than the meter can pass in a day"),
    "spike": lambda: _("one day far above the others"),
    "high": lambda: _("much more water than this account uses otherwise"),
    "low": lambda: _("much less water than this account uses otherwise"),
    "stuck": lambda: _("the meter has not moved though water was used there"),
    "zero": lambda: _("no water used at all"),
    "vacant-use": lambda: _("water used where nobody lives"),
    "wrong-meter": lambda: _("the reads look like another meter's"),
    "suspect": lambda: _("some reads are suspect"),
    "misread": lambda: _("single reads off the track were left out"),
    "estimates": lambda: _("estimated too often in a row"),
    "idle": lambda: _("the meter stands, and nobody lives there"),
    "sum": lambda: _("the days do not add up to the register"),
    "sum-check": lambda: _("intervals and registers do not agree"),
}


DETAIL: dict[str, Callable[[], str]] = {
    "mean_day_l": lambda: _("a mean day of the period, L"),
    "recent_day_l": lambda: _("a mean day of the weeks before, L"),
    "last_year_day_l": lambda: _("a mean day of the same weeks last year, L"),
    "most_day_l": lambda: _("the highest day, L"),
    "possible_l": lambda: _("what the meter passes in a day, L"),
    "size": lambda: _("size of the meter"),
    "boundary": lambda: _("end of the period"),
    "days": lambda: _("days"),
    "read_days": lambda: _("days with a read"),
    "first": lambda: _("shown at the start"),
    "last": lambda: _("shown at the end"),
    "counts": lambda: _("counts of the period"),
    "count": lambda: _("count"),
    "least_day": lambda: _("the lowest day, counts"),
    "zero_days": lambda: _("days at zero"),
    "recent_zero_days": lambda: _("days at zero in the weeks before"),
    "register": lambda: _("counts by the register"),
    "days_sum": lambda: _("counts by the days"),
    "in_a_row": lambda: _("estimates in a row"),
    "max": lambda: _("allowed"),
    "times": lambda: _("times reported"),
    "kind": lambda: _("what happened"),
    "before_at": lambda: _("last read on the track"),
    "before_count": lambda: _("it showed"),
    "first_count": lambda: _("the next read showed"),
    "reads": lambda: _("reads off the track"),
    "meter": lambda: _("meter"),
}
_HIDDEN = frozenset({"verdict", "open", "item"})


def words(code: str) -> str:
    """Return a finding in words; its code when it has none yet."""
    return WORDS[code]() if code in WORDS else code.replace("-", " ")


def told(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings of a bill as a page shows them: those that hold it first."""
    rows = [
        {
            "code": str(row.get("code", row.get("rule", ""))),
            "words": words(str(row.get("code", row.get("rule", "")))),
            "hold": row.get("severity") == "hold",
            "detail": _detail(row.get("detail")),
            "item": _item(row.get("detail")),
            "released": str((row.get("released") or {}).get("reason", "")),
        }
        for row in findings
    ]
    return sorted(rows, key=lambda row: not row["hold"])


def _item(detail: Any) -> str:
    """Return the id of the finding in the work list of reads, where it can be resolved; empty when it is none."""
    return str(detail.get("item", "")) if isinstance(detail, dict) else ""


def _detail(detail: Any) -> str:
    """Return what a rule wrote beside its finding, in words."""
    if isinstance(detail, dict) and "text" in detail:
        return str(detail["text"])
    return (
        "; ".join(f"{name}: {value}" for name, value in seen(detail)) if isinstance(detail, dict) else str(detail or "")
    )


def seen(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers that a rule compared, in words."""
    return [
        (DETAIL[name]() if name in DETAIL else name.replace("_", " "), _value(name, value))
        for name, value in detail.items()
        if name not in _HIDDEN and value != ""
    ]


_KINDS: dict[str, Callable[[], str]] = {
    "fall": lambda: _("the count fell"),
    "jump": lambda: _("the count jumped"),
    "identity": lambda: _("another identity answered"),
    "start": lambda: _("the start"),
    "end": lambda: _("the end"),
    "none": lambda: _("none hangs there"),
}


def _value(name: str, value: object) -> str:
    if name == "before_at":
        return when(datetime.fromisoformat(str(value))).text
    if type(value) is int:
        return _("none at all") if value < 0 and name == "days" else f"{value:,}"
    return _KINDS[str(value)]() if str(value) in _KINDS else str(value)
