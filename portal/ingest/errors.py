"""Errors of ingest, a part of the portal's branch.

PortalError
  BatchRefused(reason_code, batch_id)   this batch will never be taken; with an identity it is answered, else not
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.core.errors import PortalError

if TYPE_CHECKING:
    from domain.ids import BatchId

REASONS = {
    "topic": "not the batch topic of a collector",
    "unknown-collector": "no collector of this name is enrolled, or it was revoked",
    "revoked-key": "the key that signed it was revoked",
    "expired-key": "the key that signed it was retired before it was sealed",
    "epoch": "another collector has used this epoch",
    "conflict": "another batch was committed under this identity",
    "chain": "its hash chain does not meet the batches beside it",
    "append-overlap": "its append_seq range overlaps that of a committed batch",
    "too-far-ahead": "its sequence is further ahead of the committed ones than a collector may seal",
    "not-storable": "the database cannot hold a value of it",
    "fault": "a fault of the portal's own program struck while it was applied",
}
"""Reason codes of the portal, beside those of sync.errors.REASONS."""


class BatchRefused(PortalError):
    """A batch that is refused for good.

    batch_id  its identity when its signature was good, so that a signed `rejected` can be sent; else None.
    silent    its sender is not told all the same: it may yet be taken.
    """

    def __init__(self, reason_code: str, batch_id: BatchId | None = None, *, silent: bool = False) -> None:
        self.reason_code, self.batch_id, self.silent = reason_code, batch_id, silent
        super().__init__(f"{reason_code}: {REASONS.get(reason_code, reason_code)}")
