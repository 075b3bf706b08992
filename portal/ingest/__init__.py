"""From a signed batch on the broker to a commit and a signed acknowledgement."""
