"""Validation, estimation and editing of reads before they are billed."""
