"""Rules for fees, due dates, proration, estimates, adjustments and budgets: data in the rate file, arithmetic here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules that hold on a day."""
