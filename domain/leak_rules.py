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

    name                   as it stands in events: burst, running, steady, base, continuous.
    slot_s, slots          length of a slot in seconds, and how many of them the window has.
    spare_slots            how many slots of the window may fall below the floor (a single still slot proves little).
    steady_slots           how many slots must lie within steady_percent and one count above the floor: a leak is there
                           at every moment without other use, while a home's own least flows differ from each other.
    least_litres_per_h     floors below this are never an alarm.
    unlearned_litres_per_h the floor that a home which is not known yet is allowed.
    factor_percent         how far above the home's own largest floor an alarm begins; 0 = whatever its past.
    """

    name: str
    slot_s: int
    slots: int
    spare_slots: int
    steady_slots: int
    least_litres_per_h: int
    unlearned_litres_per_h: int
    factor_percent: int


@dataclass(frozen=True, slots=True)
class LeakRules:
    """The thresholds in force; the defaults are what a collector runs with.

    rules                     in order of urgency: the first that holds opens the alarm.
    slot_litres_per_h_max     a slot is lengthened until one count in it means at most this flow, so that a dial that
                              moves in steps of 100 litres does not look still between two steps.
    steady_percent            how far above the floor a slot may lie and still be the floor.
    habit_hours               a floor is compared with those of hours this close: people rise early or come home late.
    gap_slots_max             reads further apart than this many slots prove neither flow nor stillness: windows
                              restart.
    clear_slots               how many slots below half the alarm's flow, beside the spare ones, close it.
    learn_weeks, known_weeks  how many weeks of floors are remembered; after how many a home counts as known.
    step_back_litres          a count that falls by more was swapped, misread or flowed back: windows restart.
    litres_per_h_max          a faster rise is a misread or a swap: windows restart.
    late_reads_max            this many live reads in a row older than the newest mean that the clock was put back.
    """

    rules: tuple[FloorRule, ...] = (
        FloorRule("burst", 900, 8, 0, 4, 400, 400, 200),
        FloorRule("running", 900, 28, 1, 20, 12, 30, 200),
        FloorRule("steady", 900, 40, 1, 26, 8, 30, 200),
        FloorRule("base", 3600, 12, 0, 6, 4, 30, 200),
        FloorRule("continuous", 3600, 24, 0, 8, 2, 2, 0),
    )
    slot_litres_per_h_max: int = 50
    steady_percent: int = 15
    habit_hours: int = 3
    gap_slots_max: int = 3
    clear_slots: int = 3
    learn_weeks: int = 4
    known_weeks: int = 2
    step_back_litres: int = 5
    litres_per_h_max: int = 100_000
    late_reads_max: int = 3
