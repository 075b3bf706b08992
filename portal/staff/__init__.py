"""Pages for the utility's staff."""
