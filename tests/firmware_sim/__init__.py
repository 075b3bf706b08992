"""Tests of the simulated meters: against the standards and published statistics, never against our own drivers."""
