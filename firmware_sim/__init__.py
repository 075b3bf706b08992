"""Simulated households, meters and streets: a second opinion on the collector, written from the standards."""
