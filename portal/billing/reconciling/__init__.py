"""A second opinion on every issued bill: registers, charts, bills and ledger must tell the same."""
