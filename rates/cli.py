"""`headwater rates ...`: check, price and explain rate files."""

from __future__ import annotations

import click


@click.group()
def rates() -> None:
    """Check, price and explain rate files."""
