"""Pages for the utility's residents."""
