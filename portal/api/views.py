"""The JSON API, version 1: thin views over services; the published description is /api/v1/openapi.json."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from django.db.models import Q
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse  # noqa: TC002  # ninja reads them
from ninja import NinjaAPI, Query, Status
from ninja.errors import HttpError, ValidationError
from ninja.security import HttpBearer

from domain.units import Unit
from portal.access.clients import address_of, home_of
from portal.api import schemas
from portal.api.errors import STATUS, NotFound, Unauthorised
from portal.billing.visible import visible_bills
from portal.core import tokens
from portal.core.errors import Refused
from portal.core.models import ApiToken
from portal.core.services import utility_settings
from portal.core.tokens import check_token
from portal.customers.services import visible_service_points, visible_spans
from portal.downloads import csv_file, excel, green_button
from portal.downloads.series import Every, EveryName, UnitName
from portal.downloads.services import Form, bills_within, usage_file, wanted_usage
from portal.downloads.streaming import streamed
from portal.fleet.services import enrol
from portal.metering.calendar import Resolution
from portal.metering.usage import viewer_usage
from portal.notifications.rates import room_for, within

if TYPE_CHECKING:
    from portal.billing.models import Bill
    from portal.core.models import User
    from portal.customers.models import ServicePoint
    from portal.metering.usage import DialReading, UsageSeries


class BearerToken(HttpBearer):
    """A token of one scope."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__()

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:
        """Return the token's row; raises Unauthorised."""
        row = check_token(token, scope=self.scope)
        if row is None:
            raise Unauthorised
        return row

    def __call__(self, request: HttpRequest) -> ApiToken:
        """Return the token of a request; raises Unauthorised, also when it has none."""
        row: ApiToken | None = super().__call__(request)
        if row is None:
            raise Unauthorised
        return row


api = NinjaAPI(
    title="Headwater portal",
    version="1",
    description=(
        "Enrolment of collectors, and a resident's own usage, files and bills. A person makes tokens for it in their "
        "profile: `usage:read` for usage and files, `bills:read` for bills."
    ),
    docs_url=None,
    openapi_url="/openapi.json",
    urls_namespace="api",
)
REFUSALS_A_HOME, REFUSALS_SPAN_S = 20, 3600
"""Enrolments that are refused to one address (or /64): who installs a street succeeds, who guesses does not."""
_USAGE_READ = BearerToken(tokens.USAGE_READ)
_BILLS_READ = BearerToken(tokens.BILLS_READ)
_BILLS_A_PAGE = 100
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_FILES = {
    module.CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
    for module in (csv_file, excel, green_button)
}
_PROBLEMS = {code: schemas.Problem for code in (400, 401, 403, 404, 422, 429)}


@api.exception_handler(Refused)
def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    problem = {"error": error.code, "message": str(error)}
    response = api.create_response(request, problem, status=STATUS.get(error.code, 400))
    if isinstance(error, Unauthorised):
        response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors)
    return api.create_response(request, {"error": "request", "message": faults}, status=422)


@api.exception_handler(HttpError)
def _unreadable(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Say as every other fault is said what the framework itself refuses: a body that is no JSON."""
    return api.create_response(request, {"error": "request", "message": str(error)}, status=error.status_code)


@api.post("/enrol", response={201: schemas.EnrolOut, **_PROBLEMS}, auth=None)
def enrol_collector(request: HttpRequest, body: schemas.EnrolIn) -> Status[schemas.EnrolOut]:
    """Enrol a collector with its one-time code.

    The proof is the signing key's signature over: `hw1.enrol`, a zero byte, the code as sent, a zero byte, and the
    SHA-256 of the request's PEM text as sent.
    """
    home = home_of(address_of(request))
    if not room_for("enrol", home, most=REFUSALS_A_HOME, seconds=REFUSALS_SPAN_S):
        raise Refused("rate", f"more than {REFUSALS_A_HOME} refused enrolments in an hour from here; wait an hour")
    try:
        done = enrol(
            code=body.code,
            csr_pem=body.csr.encode(),
            alg=body.signing_key.alg,
            public_key=_decoded("signing_key.public", body.signing_key.public),
            proof=_decoded("proof", body.proof),
        )
    except Refused:
        within("enrol", home, most=REFUSALS_A_HOME, seconds=REFUSALS_SPAN_S)
        raise
    return Status(
        201,
        schemas.EnrolOut(
            collector=done.collector,
            certificate=done.certificate,
            ca=done.ca,
            portal_key=done.portal_key,
            broker=done.broker,
            partition=done.partition,
        ),
    )


@api.get("/me", response={200: schemas.MeOut, **_PROBLEMS}, auth=_USAGE_READ)
def me(request: HttpRequest) -> schemas.MeOut:
    """Say whose token this is and which service points it may see."""
    user, utility = _token(request).user, utility_settings()
    return schemas.MeOut(
        id=user.public_id,
        email=user.email,
        name=user.name,
        utility=schemas.UtilityOut(name=utility.name, zone=utility.zone),
        service_points=[
            schemas.ServicePointOut(
                id=point.public_id,
                address=point.premise.address,
                label=point.label,
                occupied=[
                    schemas.SpanOut(start=span.start, end=None if span.open_ended else span.end)
                    for span in visible_spans(user, point)
                ],
            )
            for point in visible_service_points(user)
        ],
    )


@api.get("/usage", response={200: schemas.UsageOut, **_PROBLEMS}, auth=_USAGE_READ)
def usage(
    request: HttpRequest,
    service_point: str,
    start: Annotated[datetime, Query(alias="from")],
    end: Annotated[datetime, Query(alias="to")],
    resolution: Resolution = "day",
    unit: UnitName = "gal",
) -> schemas.UsageOut:
    """Return usage in [from, to), cut at the hours, days or months of the utility's zone.

    Moments without an offset are UTC. Only what lies inside the user's own occupancy is shown; the rest is null.
    """
    user = _token(request).user
    point = _service_point(user, service_point)
    series = viewer_usage(user, point, start=_aware(start), end=_aware(end), resolution=resolution, unit=Unit(unit))
    return _usage_out(point, series)


@api.get(
    "/usage/file",
    response=_PROBLEMS,
    auth=_USAGE_READ,
    openapi_extra={
        "responses": {
            200: {
                "description": "The file: CSV, an Excel workbook, or a Green Button feed (ESPI in Atom)",
                "content": _FILES,
            }
        }
    },
)
def usage_as_file(
    request: HttpRequest,
    service_point: str,
    start: Annotated[datetime, Query(alias="from")],
    end: Annotated[datetime, Query(alias="to")],
    form: Literal["csv", "xlsx", "xml"] = "csv",
    every: EveryName = "day",
    unit: UnitName = "gal",
) -> StreamingHttpResponse:
    """Send usage in [from, to) as a file, three years at most: CSV, Excel (xlsx) or Green Button (xml).

    Only what lies inside the user's own occupancy is in it. A Green Button file has bills too when the token has the
    scope bills:read and the user may see them.
    """
    token = _token(request)
    point = _service_point(token.user, service_point)
    wanted = wanted_usage(
        token.user, [point], start=_aware(start), end=_aware(end), every=Every(every), unit=Unit(unit)
    )
    with_bills = form == "xml" and tokens.BILLS_READ in token.scopes.split()
    file = usage_file(wanted, Form(form), bills=bills_within(token.user, wanted) if with_bills else ())
    return streamed(request, name=file.name, content_type=file.content_type, pieces=file.pieces)


@api.get("/bills", response={200: schemas.BillsOut, **_PROBLEMS}, auth=_BILLS_READ)
def bills(request: HttpRequest, before: str | None = None) -> schemas.BillsOut:
    """List the bills that the user may see now, newest first, 100 at a time.

    before  id of a bill: those that come after it in the list.
    """
    rows = visible_bills(_token(request).user).select_related("account").order_by("-bill_date", "-pk")
    if before is not None:
        last = None if "\0" in before else rows.filter(public_id=before).first()
        if last is None:
            raise NotFound("bill")
        rows = rows.filter(Q(bill_date__lt=last.bill_date) | Q(bill_date=last.bill_date, pk__lt=last.pk))
    found = list(rows[: _BILLS_A_PAGE + 1])
    page = found[:_BILLS_A_PAGE]
    more = page[-1].public_id if len(found) > len(page) else None
    return schemas.BillsOut(bills=[_bill_out(bill) for bill in page], next=more)


def _bill_out(bill: Bill) -> schemas.BillOut:
    return schemas.BillOut(
        id=bill.public_id,
        number=bill.number or "",
        account=schemas.AccountOut(id=bill.account.public_id, number=bill.account.number),
        state=bill.state,
        kind=bill.kind,
        period_start=bill.period_start,
        period_end=bill.period_end,
        bill_date=bill.bill_date,
        due_date=bill.due_date,
        charges_cents=bill.charges_cents,
        balance_before_cents=bill.balance_before_cents,
        due_cents=bill.due_cents,
        estimated=bill.estimated,
    )


def _service_point(user: User, public_id: str) -> ServicePoint:
    point = None if "\0" in public_id else visible_service_points(user).filter(public_id=public_id).first()
    if point is None:
        raise NotFound("service point")
    return point


def _token(request: HttpRequest) -> ApiToken:
    token = getattr(request, "auth", None)
    if not isinstance(token, ApiToken):
        raise Unauthorised
    return token


def _aware(moment: datetime) -> datetime:
    """Return a moment with a zone; raises Refused for one so far away that no calendar reaches it everywhere."""
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise Refused("span", f"choose moments between the years {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("base64", f"{name} is not base64") from error


def _usage_out(point: ServicePoint, series: UsageSeries) -> schemas.UsageOut:
    zone = ZoneInfo(series.zone)
    return schemas.UsageOut(
        service_point=point.public_id,
        start=series.start.astimezone(zone),
        end=series.end.astimezone(zone),
        resolution=series.resolution,
        zone=series.zone,
        unit=series.unit.value,
        as_of=series.as_of,
        counts_unit=None if series.counts_unit is None else series.counts_unit.value,
        counts_scale=series.counts_scale,
        total=None if series.total is None else format(series.total, "f"),
        total_counts=series.total_counts,
        first=_dial_out(series.first),
        last=_dial_out(series.last),
        intervals=[
            schemas.IntervalOut(
                start=row.start.astimezone(zone),
                end=row.end.astimezone(zone),
                volume=None if row.volume is None else format(row.volume, "f"),
                counts=row.counts,
                quality=row.quality.name.lower(),
                interpolated=row.interpolated,
            )
            for row in series.rows
        ],
    )


def _dial_out(reading: DialReading | None) -> schemas.DialOut | None:
    if reading is None:
        return None
    return schemas.DialOut(
        at=reading.at,
        meter_id=reading.meter_id,
        register_id=reading.register_id,
        count=reading.raw_count,
        unit=reading.unit.value,
        scale=reading.scale,
        value=format(reading.value, "f"),
        quality=reading.quality.name.lower(),
        interpolated=reading.interpolated,
    )
