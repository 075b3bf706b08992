"""What goes wrong in a seed: drawn before it begins, so that one seed is gentle and another awful."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

SCHEDULED = (
    "partition",
    "cut-up",
    "cut-down",
    "slow",
    "broker-restart",
    "broker-loss",
    "broker-drops",
    "crash",
    "crash-in-store",
    "restart",
    "power-cut",
    "clock-step",
    "disk-full",
    "damage",
    "old-image",
    "portal-crash",
    "portal-down",
    "portal-restore",
    "fold",
    "rotate-key",
    "burst",
)
"""Faults that happen at a drawn moment, in the order in which a seed draws them."""
_WEIGHTS = {
    "burst": 0.15,
    "restart": 1.5,
    "crash-in-store": 2.0,
    "fold": 2.0,
    "damage": 0.4,
    "old-image": 0.6,
    "portal-restore": 0.8,
}
_INTENSITY = ((0.0, 15), (0.5, 45), (1.2, 28), (2.5, 12))


@dataclass(frozen=True, slots=True)
class Profile:
    """A seed's size and its everyday faults; times in simulated seconds, probabilities for each message.

    intensity  expected number of scheduled faults is about four times this.
    """

    collectors: int
    meters: int
    hours: float
    poll_s: float
    seal_s: float
    max_items: int
    window: int
    latency_s: float
    jitter_s: float
    duplicate: float
    corrupt: float
    twice: float
    lose_down: float
    intensity: float
    bound_kib: int
    checks_usage: bool
    checks_rebuild: bool
    history: float

    def __str__(self) -> str:
        """Return the profile as one line of the trace."""
        parts = (f"{field.name}={getattr(self, field.name):.3g}" for field in fields(self))
        return " ".join(parts)


def _rarely(rng: random.Random, probability: float, low: float, high: float) -> float:
    value = rng.uniform(low, high)
    return value if rng.random() < probability else 0.0


def draw_profile(rng: random.Random) -> Profile:
    """Draw how a seed is made."""
    intensity = rng.choices([level for level, _ in _INTENSITY], [weight for _, weight in _INTENSITY])[0]
    rough = intensity > 0
    hours = rng.uniform(1.0, 4.0)
    seal_s = hours * 3600 / rng.uniform(2.5, 6.0)
    return Profile(
        collectors=2 if rng.random() < 0.15 else 1,
        meters=rng.randint(1, 5),
        hours=hours,
        poll_s=seal_s / rng.uniform(1.0, 6.0),
        seal_s=seal_s,
        max_items=rng.choice((8, 20, 5000, 5000)),
        window=rng.choice((1, 2, 8)),
        latency_s=rng.choice((0.02, 0.3, 5.0)),
        jitter_s=rng.choice((0.0, 0.1, 3.0, 40.0)) if rough else 0.01,
        duplicate=_rarely(rng, 0.3, 0.02, 0.3) if rough else 0.0,
        corrupt=_rarely(rng, 0.2, 0.01, 0.15) if rough else 0.0,
        twice=_rarely(rng, 0.2, 0.05, 0.3) if rough else 0.0,
        lose_down=_rarely(rng, 0.3, 0.02, 0.3) if rough else 0.0,
        intensity=intensity,
        bound_kib=rng.choice((512, 1024, 8192)),
        checks_usage=rng.random() < 0.4,
        checks_rebuild=rng.random() < 0.05,
        history=_rarely(rng, 0.3, 0.05, 0.3),
    )


def draw_schedule(rng: random.Random, profile: Profile) -> list[tuple[float, str, int]]:
    """Draw (second, fault, collector) for a seed, in order of time."""
    drawn = []
    for fault in SCHEDULED:
        expected = 0.2 * profile.intensity * _WEIGHTS.get(fault, 1.0)
        while expected > 0 and rng.random() < expected:
            moment_s = rng.uniform(0.03, 0.97) * profile.hours * 3600
            drawn.append((moment_s, fault, rng.randrange(profile.collectors)))
            expected *= 0.5
    return sorted(drawn)
