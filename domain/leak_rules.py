"""What counts as a leak: the rules and their production thresholds, in litres per hour for any register.

One idea serves every rule: the *floor*, the flow that a home never falls below during a window. Use comes and goes and
leaves still moments; a leak does not. A floor is judged against what the same home did at the same hours in the weeks
before, so that a house that is never still by day is not accused of it. docs/algorithms/leaks.md explains each figure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FloorRule:
    """A window of slots in which the flow never stopped.

    name                   as it stands in events.
    slot_s, slots          length of a slot in seconds, and how many of them the window has.
    spare_slots            how many slots of the window may fall below the floor (a single still slot proves little).
    steady_slots           how many slots must lie on the floor, at most steady_percent and one count above it: a leak
                           runs at every moment without other use, while a home's own least flows differ.
    least_litres_per_h     floors below this, or of fewer counts in a slot than least_counts, are never an alarm.
    unlearned_litres_per_h the floor that a home which is not known yet is allowed.
    factor_percent         how far above the home's own largest floor an alarm begins; 0 = whatever its past.
    """

    name: str
    slot_s: int
    slots: int
    spare_slots: int
    steady_slots: int
    steady_percent: int
    least_litres_per_h: int
    unlearned_litres_per_h: int
    factor_percent: int = 200
    least_counts: int = 2


@dataclass(frozen=True, slots=True)
class LeakRules:
    """The thresholds in force; the defaults are what a collector runs with.

    rules                     in order of urgency: the first that holds opens the alarm.
    slot_litres_per_h_max     a slot is lengthened until one count in it means at most this flow, so that a dial that
                              moves in steps of 100 litres does not look still between two steps.
    habit_hours               a floor is compared with those of hours this close: people rise early or come home late.
    gap_slots_max             reads further apart than this many slots prove neither flow nor stillness: windows
                              restart.
    clear_slots               how many slots below half the alarm's floor, beside the spare ones, close it.
    still_slots               how many shorter slots close it, in which the flow fell below an eighth of the floor.
    learn_weeks, known_weeks  how many weeks of floors are remembered; after how many a home counts as known.
    step_back_litres          a count that falls by more was swapped, misread or flowed back: windows restart.
    litres_per_h_max          a faster rise is a misread or a swap: windows restart.
    late_reads_max            this many live reads in a row older than the newest mean that the clock was put back.
    """

    rules: tuple[FloorRule, ...] = (
        FloorRule("burst", 900, 8, 0, 4, 45, 400, 400),
        FloorRule("burst_hours", 3600, 4, 0, 2, 45, 400, 400),
        FloorRule("running", 900, 32, 2, 24, 60, 12, 30),
        FloorRule("running_hours", 3600, 8, 0, 5, 15, 30, 45),
        FloorRule("steady", 900, 40, 1, 28, 15, 8, 30),
        FloorRule("base", 3600, 12, 0, 6, 15, 4, 30),
        FloorRule("continuous", 3600, 24, 0, 8, 15, 2, 2, factor_percent=0, least_counts=1),
    )
    slot_litres_per_h_max: int = 50
    habit_hours: int = 3
    gap_slots_max: int = 3
    clear_slots: int = 3
    still_slots: int = 4
    learn_weeks: int = 4
    known_weeks: int = 2
    step_back_litres: int = 5
    litres_per_h_max: int = 100_000
    late_reads_max: int = 3
