"""What an alert says, in the reader's language and unit: on its page, in an email, in a text message.

Every one says what was noticed, since when, how much, by which rule in words, what to do, how to answer and how to
turn it off. Subjects and text messages hold nothing personal: they are read over shoulders and on lock screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import TYPE_CHECKING

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from domain.units import Unit
from portal.alerts.kinds import MONEY, RULES, Kind, Per
from portal.billing.documents import figures
from portal.core.services import utility_settings
from portal.core.utility import in_language

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from portal.alerts.models import Alert, AlertSetting
    from portal.core.models import User


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom words are made: their unit of volume, and the utility's zone."""

    unit: Unit
    zone: ZoneInfo

    @classmethod
    def of(cls, user: User) -> Reader:
        """Return a person as a reader; gallons unless they chose another unit."""
        chosen = getattr(user, "preference", None)
        return cls(Unit(chosen.unit) if chosen else Unit.GALLON, utility_settings().zone_info)

    def volume(self, litres: object) -> str:
        """Return `124 gallons`: about three figures."""
        value = Fraction(str(litres)) / self.unit.litres
        return f"{figures.amount(value, _places(value))} {figures.unit_name(self.unit.value)}"

    def moment(self, moment: datetime) -> str:
        """Return `November 22, 2026, 10:32 AM`."""
        return date_format(moment.astimezone(self.zone), pgettext("date and time", "F j, Y, g:i A"))

    def hour(self, moment: datetime) -> str:
        """Return `2 PM`, with the zone's name where the clock shows that hour twice."""
        local = moment.astimezone(self.zone)
        text = date_format(local, pgettext("hour of day", "g A"))
        twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
        return f"{text} {local.tzname()}" if twice else text


@dataclass(frozen=True, slots=True)
class Words:
    """One alert in words.

    title    of its page and in the list; what, why: sentences; checks: what to do first, in order.
    subject  of the email; sms: one short sentence.
    """

    title: str
    subject: str
    what: str
    why: str
    checks: tuple[str, ...]
    sms: str
    email: str
    place: str


def words_for(alert: Alert, reader: Reader, *, again: bool = False, over: bool = False) -> Words:
    """Return an alert in words; `again` for a reminder, `over` for the news that it has ended."""
    said = _SAID[Kind(alert.kind)](alert, reader)
    place = str(alert.service_point.premise) if alert.service_point is not None else ""
    return Words(
        title=said.title,
        subject=_subject(said, again=again, over=over),
        what=said.what,
        why=said.why,
        checks=said.checks,
        sms=_sms(said, again=again, over=over),
        email=_over_text(alert, reader, place) if over else _email(alert, said, place),
        place=place,
    )


def threshold_text(setting: AlertSetting) -> str:
    """Return `more than 50 gallons in an hour`, in the unit in which it was set."""
    assert setting.amount is not None
    return _limit(f"{setting.amount.normalize():f}", setting.unit, setting.per)


@dataclass(frozen=True, slots=True)
class _Said:
    title: str
    subject: str
    what: str
    why: str
    checks: tuple[str, ...]
    sms: str


def _leak(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    urgent = evidence.get("rule") in ("burst", "burst_hours")
    what = _("Since %(since)s water has not stopped running.") % {"since": reader.moment(alert.since)}
    if rate := evidence.get("litres_per_h"):
        what += " " + _("At least %(rate)s an hour.") % {"rate": reader.volume(rate)}
    if so_far := evidence.get("litres"):
        counted = {"amount": reader.volume(so_far)}
        what += " " + _("%(amount)s were counted until we noticed, other use included.") % counted
    title = _("Water is running very fast and does not stop") if urgent else _("Water may be leaking")
    close = (_("If you see water, close the main valve first, then call us."),) if urgent else ()
    return _Said(title, title, what, leak_rule(str(evidence.get("rule", ""))), (*close, *_leak_checks()), title + ".")


def leak_rule(rule: str) -> str:
    """Return in words why a rule of the collector says that water is leaking."""
    texts = {
        "burst": _("For two hours water ran as fast as it does when a pipe has broken, and it never slowed down."),
        "burst_hours": _("For four hours water ran as fast as it does when a pipe has broken."),
        "running": _("For eight hours water hardly ever stopped running, faster than this home's usual trickle."),
        "running_hours": _("For eight hours water never stopped running, faster than this home's usual trickle."),
        "steady": _("For ten hours there was a steady flow that never stopped."),
        "base": _("For twelve hours the flow never fell below a level that this home does not usually have."),
        "continuous": _("For 24 hours there was not one hour without flow. A home without a leak has still moments."),
    }
    return texts.get(rule, _("Water has been running without a pause for longer than is usual."))


def _leak_checks() -> tuple[str, ...]:
    return (
        _("Toilets: put food coloring in the tank. Color in the bowl after 15 minutes is a leak."),
        _("Irrigation and hoses: close their valves and see whether the dial still moves."),
        _("The water softener, the water heater's safety valve and every faucet."),
    )


def _use_checks() -> tuple[str, ...]:
    return (
        _("Is a hose, a faucet or the irrigation on? A timer may have changed after a power cut."),
        _("Toilets: put food coloring in the tank. Color in the bowl after 15 minutes is a leak."),
        _("The water softener: one that rinses without end uses hundreds of gallons a day."),
    )


def _unusual(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    used = {"used": reader.volume(evidence["litres"]), "most": reader.volume(evidence["most_litres"])}
    if evidence["what"] == "hour":
        when = {"day": figures.day(alert.since.astimezone(reader.zone).date()), "hour": reader.hour(alert.since)}
        what = _("On %(day)s, in the hour from %(hour)s, %(used)s were used.") % {**when, **used}
        why = _(
            "In the %(days)d days before, this home never used more than %(most)s in an hour at this time of day. "
            "We tell you from twice that on."
        ) % {**used, "days": evidence["days"]}
    else:
        day = date.fromisoformat(evidence["day"])
        what = _("On %(day)s %(used)s were used.") % {"day": figures.day(day), **used}
        why = _(
            "On the %(days)d days of the same weekday before, this home never used more than %(most)s. "
            "We tell you from twice that on, when it is also more than on any other day of eight weeks."
        ) % {**used, "days": evidence["days"]}
    title = _("Much more water than this home usually uses")
    return _Said(title, _("Unusual water use"), what, why, _use_checks(), _("Unusually high water use at your meter."))


def _threshold(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    limit = _limit(str(evidence["amount"]), str(evidence["unit"]), str(evidence["per"]))
    if evidence["unit"] == MONEY:
        used = figures.money(int(evidence["cents"]))
    else:
        unit = Unit(str(evidence["unit"]))
        value = Fraction(str(evidence["litres"])) / unit.litres
        used = f"{figures.amount(value, _places(value))} {figures.unit_name(unit.value)}"
    when = {
        Per.HOUR: _("in the hour from %(hour)s on %(day)s"),
        Per.DAY: _("on %(day)s"),
        Per.PERIOD: _("in the billing period since %(day)s"),
    }[Per(evidence["per"])] % {
        "hour": reader.hour(alert.since),
        "day": figures.day(alert.since.astimezone(reader.zone).date()),
    }
    what = _("%(used)s %(when)s.") % {"used": used, "when": when}
    why = _("You asked to be told of %(limit)s.") % {"limit": limit}
    title = _("More than you set: %(limit)s") % {"limit": limit}
    return _Said(
        title,
        _("Your water use passed the limit you set"),
        what,
        why,
        _use_checks(),
        _("Use passed the limit you set."),
    )


def _projected(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    what = _("If the use of the last four weeks goes on, your bill to %(day)s will come to about %(amount)s.") % {
        "day": figures.day(date.fromisoformat(evidence["last_day"])),
        "amount": figures.money(int(evidence["cents"])),
    }
    why = _("You asked to be told when a bill of more than %(limit)s is to be expected.") % {
        "limit": figures.money(int(evidence["limit_cents"]))
    }
    title = _("Your next bill will probably be high")
    checks = (_("See by day and hour when the water is used."), *_use_checks())
    return _Said(title, title, what, why, checks, title + ".")


def _vacation(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    what = _("On %(day)s %(used)s were used.") % {
        "day": figures.day(date.fromisoformat(evidence["day"])),
        "used": reader.volume(evidence["litres"]),
    }
    why = _("You said that you are away. We tell you of more than %(trickle)s on a day.") % {
        "trickle": reader.volume(evidence["trickle_litres"])
    }
    title = _("Water is used while you are away")
    checks = (
        _("Does somebody look after the home, or does the irrigation run? Then all is well."),
        _("If not, ask somebody to look, and to close the main valve."),
    )
    return _Said(title, title, what, why, checks, title + ".")


def _no_use(alert: Alert, reader: Reader) -> _Said:
    days = int(alert.evidence["days"])
    what = _("The meter has not counted any water since %(since)s.") % {"since": reader.moment(alert.since)}
    why = ngettext(
        "You asked to be told after %(n)d day without use.", "You asked to be told after %(n)d days without use.", days
    ) % {"n": days}
    title = _("No water was used")
    checks = (
        _("If somebody lives there, see that they are well, and that the water is on."),
        _("If you use water and the dial stands still, call us: the meter may be stuck."),
    )
    return _Said(title, title, what, why, checks, _("No water was used at your meter."))


def _silent(alert: Alert, reader: Reader) -> _Said:
    hours = int(alert.evidence["hours"])
    what = _("We have not heard from the meter since %(since)s.") % {"since": reader.moment(alert.since)}
    why = _("We tell you after %(hours)d hours. Until we hear from it again we cannot see a leak there.") % {
        "hours": hours
    }
    title = _("We do not hear from your meter")
    checks = (
        _("Is the lid of the meter box covered, by a car or by soil? Please clear it."),
        _("You need not do anything else: we look after the meter, and your bill waits for a reading."),
    )
    return _Said(title, title, what, why, checks, title + ".")


def _bill_ready(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    what = _("Your bill of %(day)s is ready: %(amount)s, due on %(due)s.") % _bill_figures(evidence)
    title = _("Your bill is ready")
    why = _("We tell you of every new bill.")
    return _Said(title, title, what, why, (_("See how the bill came about on its page."),), title + ".")


def _bill_due(alert: Alert, reader: Reader) -> _Said:
    what = _("Your bill of %(day)s is due on %(due)s: %(amount)s is open.") % _bill_figures(alert.evidence)
    title = _("Your bill is due soon")
    days = int(alert.evidence["days"])
    why = ngettext(
        "You are reminded %(n)d day before a bill is due.", "You are reminded %(n)d days before a bill is due.", days
    ) % {"n": days}
    short = _("%(amount)s is due on %(due)s.") % _bill_figures(alert.evidence)
    return _Said(title, title, what, why, (*_ways_to_pay(), _("If you have paid already, all is well.")), short)


def _bill_figures(evidence: dict[str, object]) -> dict[str, str]:
    return {
        "day": figures.day(date.fromisoformat(str(evidence["bill_date"]))),
        "due": figures.day(date.fromisoformat(str(evidence["due_date"]))),
        "amount": figures.money(int(str(evidence["cents"]))),
    }


def _ways_to_pay() -> tuple[str, ...]:
    """Return the utility's own ways to pay: what is not among its settings does not exist."""
    found = []
    for way in utility_settings().ways_to_pay:
        label, detail = in_language(way.get("label", {})), in_language(way.get("detail", {}))
        found.append(f"{label}: {detail}" if detail else label)
    return tuple(found)


def _service(alert: Alert, reader: Reader) -> _Said:
    evidence = alert.evidence
    title = in_language(evidence["title"])
    until = evidence.get("until")
    what = _("From %(since)s.") % {"since": reader.moment(alert.since)}
    if until:
        what = _("From %(since)s to %(until)s.") % {
            "since": reader.moment(alert.since),
            "until": reader.moment(datetime.fromisoformat(str(until))),
        }
    text = in_language(evidence["text"])
    why = _("We tell every customer of outages and of changes to the portal.")
    short = _("A notice about your water service.")
    return _Said(title, _("A notice about your water service"), f"{text} {what}".strip(), why, (), short)


_SAID = {
    Kind.LEAK: _leak,
    Kind.UNUSUAL: _unusual,
    Kind.THRESHOLD: _threshold,
    Kind.PROJECTED: _projected,
    Kind.VACATION: _vacation,
    Kind.NO_USE: _no_use,
    Kind.SILENT: _silent,
    Kind.BILL_READY: _bill_ready,
    Kind.BILL_DUE: _bill_due,
    Kind.SERVICE: _service,
}


def _limit(amount: str, unit: str, per: str) -> str:
    if unit == MONEY:
        text = figures.money(int(Fraction(amount) * 100))
    else:
        text = f"{figures.amount(Fraction(amount))} {figures.unit_name(unit)}"
    return {
        Per.HOUR: _("more than %(amount)s in an hour"),
        Per.DAY: _("more than %(amount)s in a day"),
        Per.PERIOD: _("more than %(amount)s in a billing period"),
    }[Per(per)] % {"amount": text}


def _places(value: Fraction) -> int:
    return 0 if value >= 10 else 1 if value >= 1 else 3


def _subject(said: _Said, *, again: bool, over: bool) -> str:
    if over:
        return _("Over: %(what)s") % {"what": said.subject}
    return _("Still so: %(what)s") % {"what": said.subject} if again else said.subject


def _sms(said: _Said, *, again: bool, over: bool) -> str:
    text = said.sms
    if over:
        text = _("It is over: %(what)s") % {"what": said.sms}
    elif again:
        text = _("Still so: %(what)s") % {"what": said.sms}
    return text.translate(_GSM)


_GSM = str.maketrans("áíóúÁÍÓÚ\N{EN DASH}\N{MINUS SIGN}\N{NO-BREAK SPACE}", "aiouAIOU-- ")
"""One letter that the telephone network's seven bits lack would halve what fits into a text message."""


def _email(alert: Alert, said: _Said, place: str) -> str:
    parts = []
    if place:
        parts.append(_("For %(place)s.") % {"place": place})
    parts += [said.what, _("Why we tell you: %(why)s") % {"why": said.why}]
    if said.checks:
        heading = _("How you can pay:") if alert.kind == Kind.BILL_DUE else _("What to check first:")
        parts.append("\n".join([heading, *(f"- {check}" for check in said.checks)]))
    if RULES[Kind(alert.kind)].reminds:
        parts.append(
            _(
                "Please answer on the alert's page: what it was, or just that you have seen it. "
                "Until then we remind you once a day."
            )
        )
    elif alert.kind not in (Kind.BILL_READY, Kind.BILL_DUE, Kind.SERVICE):
        parts.append(_("You can tell us what it was on the alert's page."))
    parts.append(_("You can turn this off, or change it, in the portal under Profile, My Notifications."))
    return "\n\n".join(parts)


def _over_text(alert: Alert, reader: Reader, place: str) -> str:
    ended = alert.ended_at or alert.happened_at
    parts = [_("For %(place)s.") % {"place": place}] if place else []
    parts.append(
        _("The flow that began on %(since)s has stopped, on %(until)s.")
        % {"since": reader.moment(alert.since), "until": reader.moment(ended)}
    )
    if so_far := alert.evidence.get("litres_at_end"):
        parts.append(
            _("In all %(amount)s were counted meanwhile, other use included.") % {"amount": reader.volume(so_far)}
        )
    parts.append(_("If you repaired something, you can tell us on the alert's page."))
    parts.append(_("You can turn this off, or change it, in the portal under Profile, My Notifications."))
    return "\n\n".join(parts)
