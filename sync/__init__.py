"""From stored reads to an acknowledged batch: wire format, signatures, topics, uplink."""
