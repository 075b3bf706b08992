"""The database engine of the settings: Django's own, but for how it finds out that a kept connection is broken."""

from __future__ import annotations

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL."""

    def is_usable(self) -> bool:
        """Tell whether a kept connection is good for another request.

        A server that went away has closed the socket, and so has a network that noticed: there is something to be read
        from it. Only then the server is asked; to ask every time is one message more for every page.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0) or bool(super().is_usable())
