"""Typed client of the portal's HTTP API."""
