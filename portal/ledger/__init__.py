"""Double entry, append-only: what every account owes, and why."""
