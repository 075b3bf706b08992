"""Installations, reads, usage, leak cases: everything that a meter said and what follows from it."""
