"""A bill that is only calculated, as the staff see it: its lines and findings; nothing of it is written."""

from __future__ import annotations

from typing import Any


def preview_page(calculated: Any) -> dict[str, Any]:
    """Return what the preview page shows."""
    return {"calculated": calculated}
