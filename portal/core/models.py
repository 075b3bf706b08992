"""Users, the audit log, API tokens, the utility's own settings, the change counter, the schedule of the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from portal.core.prepared import Prepared
from portal.core.public_id import PublicIdModel

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


class UserManager(BaseUserManager["User"]):
    """Makes users; addresses are kept in lower case, so that nobody gets two accounts by capitals."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create one user; without a password nobody can sign in as them until it is reset."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create one user who may do everything."""
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get(self, *args: Any, **kwargs: Any) -> User:
        """Return one user; by the row id, as every page of a session asks, with a query that is prepared."""
        key = kwargs.get("pk")
        if args or len(kwargs) != 1 or not isinstance(key, int) or type(self) is not UserManager or self._db:
            return super().get(*args, **kwargs)
        found = _BY_ID(key)
        if not found:
            raise self.model.DoesNotExist("User matching query does not exist.")
        return found[0]

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with this address, whatever its capitals."""
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin, PublicIdModel):
    """A person who signs in: a resident, or one of the utility's staff.

    phone_given    a number they gave when registering, as nobody has confirmed it: nothing is sent to it.
    session_epoch  counts up when every session of theirs ends, known to us or not: a session is of one epoch.
    """

    email = models.EmailField(_("email address"), unique=True)
    username = models.CharField(_("user name"), max_length=150, unique=True, null=True, blank=True)
    name = models.CharField(_("name"), max_length=150, blank=True)
    language = models.CharField(_("language"), max_length=8, blank=True)
    is_staff = models.BooleanField(_("staff"), default=False)
    is_active = models.BooleanField(_("active"), default=True)
    date_joined = models.DateTimeField(_("joined"), default=timezone.now)
    phone_given = models.CharField(_("mobile number"), max_length=16, blank=True, default="")
    session_epoch = models.PositiveIntegerField(default=0)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="core_user_email_lower", condition=models.Q(email=Lower("email"))),
        ]

    def __str__(self) -> str:
        return self.public_id

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, address and user name in lower case, so that neither stands twice by capitals."""
        self.email = self.email.lower()
        self.username = self.username.lower() if self.username else None
        super().save(*args, **kwargs)

    def _get_session_auth_hash(self, secret: str | bytes | None = None) -> str:
        """Return what a session must hold to be good; in the first epoch what Django makes of the password."""
        salt = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
        value = f"{self.password}:{self.session_epoch}" if self.session_epoch else self.password
        return salted_hmac(salt, value, secret=secret, algorithm="sha256").hexdigest()

    def get_full_name(self) -> str:
        """Return the person's name, or their address."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """Return the person's name, or their address."""
        return self.name or self.email


_BY_ID: Prepared[User] = Prepared(lambda key: User.objects.filter(pk=key))


class AuditEntry(models.Model):
    """Who did what to which thing, when and why. Rows are only ever added."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    actor_label = models.CharField(max_length=80)
    action = models.CharField(max_length=60)
    target_type = models.CharField(max_length=60, blank=True)
    target_id = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="core_audit_target", fields=["target_type", "target_id"]),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_label} {self.action}"


class ApiToken(PublicIdModel):
    """A bearer token of one user: kept as a hash, limited to scopes, expiring."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80, blank=True)
    token_hash = models.BinaryField(max_length=32, unique=True)
    scopes = models.CharField(max_length=200, default="usage:read")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    window_started_at = models.DateTimeField(null=True)
    window_requests = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.public_id


class UtilitySettings(models.Model):
    """The utility whose database this is: one row, id 1.

    portal_url      the portal's own address, `https://portal.example.gov`, for links in messages; empty: no links.
    postal_address  where letters and returned stubs go, in lines.
    ways_to_pay     [{"label": {"en": .., "es": ..}, "detail": {"en": .., "es": ..}}], in the order in which bills
                    show them; what is not listed does not exist. A detail may be left out.
    dispute         how a bill is disputed, {"en": .., "es": ..}: shown on every bill beside the ways to get in touch.
    office_hours    [{"en": .., "es": ..}], a line each: `8:00 a.m. to 5:00 p.m., Monday to Friday`.
    contacts        whom to ask about what, beside contact_phone and contact_email, which stay the main ones:
                    [{"label": {"en": .., "es": ..}, "phone": .., "email": .., "hours": {..}, "note": {..}}].
    emergency_phone for a burst main or no water, at any hour.
    programme_url, programme_title  the page of the utility's metering programme; the title in {"en": .., "es": ..}.
    old_portal_url  the address of the portal before this one.  old_portal_ends_on, goes_live_on  its last
                    day, and the first day of this one: what is announced before a change of portals.
    invitation_days so many days does an invitation to a household's guest hold.
    default_language of messages to people who have not chosen one.
    accessibility_reviewed_on  when somebody last looked through the portal for the accessibility statement.
    """

    name = models.CharField(max_length=120, default="Water Utility")
    zone = models.CharField(max_length=64, default="America/Chicago")
    contact_email = models.EmailField(blank=True)
    contact_phone = models.CharField(max_length=40, blank=True)
    portal_url = models.URLField(blank=True, default="")
    postal_address = models.TextField(blank=True, default="")
    ways_to_pay = models.JSONField(default=list, blank=True)
    dispute = models.JSONField(default=dict, blank=True)
    office_hours = models.JSONField(default=list, blank=True)
    contacts = models.JSONField(default=list, blank=True)
    emergency_phone = models.CharField(max_length=40, blank=True, default="")
    programme_url = models.URLField(blank=True, default="")
    programme_title = models.JSONField(default=dict, blank=True)
    old_portal_url = models.URLField(blank=True, default="")
    old_portal_ends_on = models.DateField(null=True, blank=True)
    goes_live_on = models.DateField(null=True, blank=True)
    invitation_days = models.PositiveSmallIntegerField(default=7)
    default_language = models.CharField(max_length=8, default="en")
    accessibility_reviewed_on = models.DateField(null=True, blank=True)

    class Meta:
        verbose_name = _("utility")
        verbose_name_plural = _("utility")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="core_one_utility", condition=models.Q(id=1)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def zone_info(self) -> ZoneInfo:
        """The zone of display, roll-up and billing days."""
        from zoneinfo import ZoneInfo

        return ZoneInfo(self.zone)

    @property
    def zone_city(self) -> str:
        """The place after which the zone is named: `Chicago`."""
        return self.zone.rpartition("/")[2].replace("_", " ")


class ChangeCounter(models.Model):
    """One number that grows with every commit that residents can see: one row, id 1. Pages watch it."""

    value = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="core_one_counter", condition=models.Q(id=1)),
        ]

    def __str__(self) -> str:
        return str(self.value)


class DueJob(models.Model):
    """One line of the worker's schedule: what is due when. A job is idempotent for each of its periods."""

    name = models.CharField(max_length=60, unique=True)
    due_at = models.DateTimeField()
    last_period = models.CharField(max_length=40, blank=True)
    last_finished_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.name
