"""The JSON API, version 1: thin views over services; the published description is /api/v1/openapi.json."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Query, Status
from ninja.errors import ValidationError
from ninja.security import HttpBearer

from domain.units import Unit
from portal.api import schemas
from portal.api.errors import STATUS, NotFound, Unauthorised
from portal.core.errors import Refused
from portal.core.models import ApiToken
from portal.core.services import utility_settings
from portal.core.tokens import check_token
from portal.customers.services import visible_service_points, visible_spans
from portal.fleet.services import enrol
from portal.metering.usage import viewer_usage

if TYPE_CHECKING:
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
    description="Enrolment of collectors, and a resident's own usage.",
    docs_url=None,
    openapi_url="/openapi.json",
    urls_namespace="api",
)
_USAGE_READ = BearerToken("usage:read")
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


@api.post("/enrol", response={201: schemas.EnrolOut, **_PROBLEMS}, auth=None)
def enrol_collector(request: HttpRequest, body: schemas.EnrolIn) -> Status[schemas.EnrolOut]:
    """Enrol a collector with its one-time code.

    The proof is the signing key's signature over: `hw1.enrol`, a zero byte, the code as sent, a zero byte, and the
    SHA-256 of the request's PEM text as sent.
    """
    done = enrol(
        code=body.code,
        csr_pem=body.csr.encode(),
        alg=body.signing_key.alg,
        public_key=_decoded("signing_key.public", body.signing_key.public),
        proof=_decoded("proof", body.proof),
    )
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
    resolution: Literal["hour", "day", "month"] = "day",
    unit: Literal["l", "m3", "gal", "ft3", "ccf", "kgal"] = "gal",
) -> schemas.UsageOut:
    """Return usage in [from, to), cut at the hours, days or months of the utility's zone.

    Moments without an offset are UTC. Only what lies inside the user's own occupancy is shown; the rest is null.
    """
    user = _token(request).user
    point = visible_service_points(user).filter(public_id=service_point).first()
    if point is None:
        raise NotFound("service point")
    series = viewer_usage(user, point, start=_aware(start), end=_aware(end), resolution=resolution, unit=Unit(unit))
    return _usage_out(point, series)


def _token(request: HttpRequest) -> ApiToken:
    token = getattr(request, "auth", None)
    if not isinstance(token, ApiToken):
        raise Unauthorised
    return token


def _aware(moment: datetime) -> datetime:
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
