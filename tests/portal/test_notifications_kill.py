"""Two workers send, one is killed at any moment: every text goes out, at most the one in its hands twice."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

from tests.portal.processes import Portal, until
from tests.portal.twilio_server import ACCOUNT, NUMBER, TOKEN, TwilioServer

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = 60
SEED = 20261123

_QUEUE = f"""
from django.db import transaction
from portal.notifications.services import Category, NewText, queue_texts
with transaction.atomic():
    queue_texts([
        NewText(f"k{{n}}", "+14055550123", f"text {{n}}", Category.ALERT, at_any_hour=True) for n in range({TEXTS})
    ])
"""
_WORKER = """
import os, time
import portal.cli
portal.cli._django()
from portal.notifications.sending import send_due
print("ready", flush=True)
while not os.path.exists(os.environ["MAY_SEND"]):
    time.sleep(0.01)
send_due()
"""
_REST = """
import json
from datetime import timedelta
from portal.core.clock import now
from portal.notifications.models import Message
from portal.notifications.sending import LEASE, send_due
left = Message.objects.filter(sent_at__isnull=True).count()
send_due(now() + LEASE + timedelta(minutes=1))
rows = Message.objects.all()
print(json.dumps({
    "left": left,
    "sent": rows.filter(sent_at__isnull=False).count(),
    "failed": rows.filter(failed_at__isnull=False).count(),
    "ids": rows.values("provider_id").distinct().count(),
}))
"""


def test_a_killed_worker_loses_nothing_and_repeats_at_most_what_it_held(tmp_path: Path) -> None:
    random_ = random.Random(SEED)
    print(f"seed {SEED}")
    portal = Portal(tmp_path)
    with TwilioServer() as twilio:
        try:
            address = twilio.base.removeprefix("http://")
            portal.environment["HEADWATER_SMS_URL"] = f"twilio+http://{ACCOUNT}:{TOKEN}@{address}?from=%2B{NUMBER[1:]}"
            portal.python(_QUEUE)
            # Without an answer none goes on: two that wait for one are both workers, each with a text in its hands.
            twilio.hold_from = random_.randrange(5, TEXTS - 25)
            portal.environment["MAY_SEND"] = str(tmp_path / "may-send")
            workers = [portal.start(program=_WORKER, name=f"worker-{n}") for n in range(2)]
            until(lambda: all("ready" in portal.log(f"worker-{n}") for n in range(2)), "both workers are ready")
            (tmp_path / "may-send").touch()
            until(lambda: twilio.held == 2, "both workers have a text in their hands")
            os.kill(workers[0].pid, signal.SIGKILL)
            twilio.released.set()
            for worker in workers:
                worker.wait()
            assert workers[1].returncode == 0, portal.log("worker-1")
            rest = json.loads(portal.python(_REST))
        finally:
            portal.stop()
    assert rest["left"] > 0, "nothing was in the killed worker's hands"
    assert (rest["sent"], rest["failed"], rest["ids"]) == (TEXTS, 0, TEXTS)
    times = Counter(form["Body"] for form in twilio.accepted)
    assert len(times) == TEXTS
    assert sum(times.values()) <= TEXTS + 1, "more than the one text in its hands went twice"
