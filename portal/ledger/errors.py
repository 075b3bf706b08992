"""The ledger's branch of the error tree.

PortalError
  Refused                     what the rules of the ledger refuse: `key`, `legs`, `reversed`, ...
  ReconciliationDifference
    LedgerDifference          exit 9: the audit found what must not be
"""

from __future__ import annotations

from portal.core.errors import ReconciliationDifference


class LedgerDifference(ReconciliationDifference):
    """The books do not agree with themselves."""
