"""The flood proof: what one collector that floods costs the others."""
