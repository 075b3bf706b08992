"""Store and forward on the collector, in SQLite."""
