"""Why a bill is held, or what was noticed about it, in words that staff read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WORDS: dict[str, Callable[[], str]] = {
    "gap": lambda: _("no reads for too long"),
    "high": lambda: _("much more water than this account uses otherwise"),
    "low": lambda: _("much less water than this account uses otherwise"),
    "high-low": lambda: _("far from what this account uses otherwise"),
    "stuck": lambda: _("the meter has not moved though water is used there"),
    "spike": lambda: _("one read jumps far out of line"),
    "negative": lambda: _("the dial went backwards"),
    "rollover": lambda: _("the dial started again at zero; too much for a plain roll-over"),
    "wrong-meter": lambda: _("the reads look like another meter's"),
    "sum": lambda: _("intervals and registers do not agree"),
    "sum-check": lambda: _("intervals and registers do not agree"),
    "no-read": lambda: _("no read near the end of the period"),
    "no-reads": lambda: _("no reads in the period"),
    "missing-start": lambda: _("no count for the start of the period"),
    "missing-end": lambda: _("no count for the end of the period"),
    "no-meter": lambda: _("no meter hangs there"),
    "no-agreement": lambda: _("no agreement covers the whole period"),
    "no-rates": lambda: _("no approved rates for the period"),
    "input": lambda: _("the price depends on something that the agreement does not say"),
    "estimate-cap": lambda: _("estimated too often in a row"),
    "estimated": lambda: _("a count is estimated"),
    "true-up": lambda: _("settles earlier estimates"),
    "zero": lambda: _("no water used at all"),
    "large-bill": lambda: _("an unusually large amount"),
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
        }
        for row in findings
    ]
    return sorted(rows, key=lambda row: not row["hold"])


def _detail(detail: Any) -> str:
    """Return what a rule wrote beside its finding: numbers and names, not prose."""
    if isinstance(detail, dict):
        return "; ".join(f"{str(key).replace('_', ' ')}: {value}" for key, value in sorted(detail.items()))
    return str(detail or "")
