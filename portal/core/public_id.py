"""Opaque public ids: what stands in every address instead of a row number: nothing can be counted or guessed."""

from __future__ import annotations

import secrets

from django.db import models

# No vowels and no look-alikes: an id that is read out over the telephone arrives, and spells nothing.
ALPHABET = "23456789bcdfghjkmnpqrstvwxz"
LENGTH = 13  # 27**13 is 61 bits


def new_public_id() -> str:
    """Return a fresh random id of 13 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


class PublicIdModel(models.Model):
    """A row with an opaque public id."""

    public_id = models.CharField(max_length=LENGTH, unique=True, editable=False, default=new_public_id)

    class Meta:
        abstract = True
