"""Rates as data: rate files with dates, their prices, and what a bill comes to; without a portal or a database."""
