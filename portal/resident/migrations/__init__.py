"""Migrations of the resident pages."""
