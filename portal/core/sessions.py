"""Sessions in the database, as Django keeps them; the one question of every page is prepared."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session

from portal.core.prepared import Prepared

_LIVE: Prepared[Session] = Prepared(lambda key, moment: Session.objects.filter(session_key=key, expire_date__gt=moment))


class SessionStore(db.SessionStore):
    """Django's store by its own name, which is part of what sessions are signed with: those of before stay good."""

    def _get_session_from_db(self) -> Session | None:
        found = _LIVE(str(self.session_key), datetime.now(UTC))
        if found:
            return found[0]
        self._session_key = None  # as Django does: nobody may choose a key
        return None
