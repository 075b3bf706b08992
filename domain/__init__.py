"""The metering trade's nouns: reads, units, ids, time. Standard library only; every other package may import it."""
