"""Meters that answer on a wire, one module per protocol, written from the standard."""
