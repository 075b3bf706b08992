"""Why a bill is held, or what was noticed about it, in words that staff read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

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
    """Return what a rule wrote beside its finding: numbers and names, not prose."""
    if isinstance(detail, dict) and "text" in detail:
        return str(detail["text"])
    if isinstance(detail, dict):
        shown = sorted((str(key).replace("_", " "), value) for key, value in detail.items() if key != "item")
        return "; ".join(f"{key}: {value}" for key, value in shown)
    return str(detail or "")
