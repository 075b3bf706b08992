"""The keys that collectors sign with, looked up once and then remembered.

A key id names its key for ever, so a remembered key is never a wrong one. Whether it may be used is another question,
which the transaction that stores a batch asks anew every time (`portal/ingest/standing.py`): a revocation wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.fleet.models import Collector, CollectorKey
from portal.ingest.errors import BatchRefused
from sync.signing import Algorithm, VerifyKey

if TYPE_CHECKING:
    from domain.ids import CollectorId

_REMEMBERED_MAX = 50_000
_REMEMBERED: dict[tuple[str, bytes], VerifyKey] = {}


class SenderKeys:
    """Finds one collector's keys by their ids.

    key_id   that was asked for last; refusal: why there is no such key, or no more.
    """

    def __init__(self, collector: CollectorId) -> None:
        self.collector = collector
        self.key_id = b""
        self.refusal = "unknown-key"

    def __call__(self, key_id: bytes) -> VerifyKey | None:
        """Return a key that is not revoked, as far as is known before the transaction.

        raises  BatchRefused when no such collector is enrolled.
        """
        self.key_id = key_id
        return _REMEMBERED.get((self.collector, key_id)) or self._looked_up(key_id)

    def _looked_up(self, key_id: bytes) -> VerifyKey | None:
        collector = Collector.objects.filter(collector_id=self.collector, revoked_at__isnull=True).first()
        if collector is None:
            raise BatchRefused("unknown-collector")
        row = CollectorKey.objects.filter(collector=collector, kid=key_id.hex()).first()
        if row is None or row.revoked_at is not None:
            self.refusal = "revoked-key" if row else "unknown-key"
            return None
        key = VerifyKey(Algorithm[row.alg], bytes(row.public_key))
        if len(_REMEMBERED) >= _REMEMBERED_MAX:
            _REMEMBERED.clear()
        _REMEMBERED[self.collector, key_id] = key
        return key
