"""What one person prefers on the resident pages."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from domain.units import Unit


class Preference(models.Model):
    """The unit in which one person wants to see volumes."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="preference"
    )
    unit = models.CharField(max_length=8, choices=[(u.value, u.value) for u in Unit], default=Unit.GALLON.value)

    def __str__(self) -> str:
        return f"{self.user}: {self.unit}"
