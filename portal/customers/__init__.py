"""Premises, service points, accounts, and who lived where and when."""
