"""Django's settings. Everything that differs between two portals comes from `environment.py`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from portal.config.environment import read_environment

ENVIRONMENT = read_environment(os.environ)
BASE_DIR = Path(__file__).resolve().parents[1]
PORTAL_DIR = ENVIRONMENT.portal_dir
DEMO = ENVIRONMENT.demo
HEADWATER_CLOCK = ENVIRONMENT.clock_spec
BROKER_URL = ENVIRONMENT.broker_url
BROKER_KIND = ENVIRONMENT.broker_kind
BROKER_CONFIG = ENVIRONMENT.broker_config
BROKER_PID_FILE = ENVIRONMENT.broker_pid_file

DEBUG = False
# Without a stored key every process draws its own; the check portal.E001 refuses to serve like that.
SECRET_KEY_STORED = ENVIRONMENT.secret_key is not None
SECRET_KEY = ENVIRONMENT.secret_key or secrets.token_urlsafe(50)
SECRET_KEY_FALLBACKS = list(ENVIRONMENT.former_secret_keys)
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts)
AUTH_USER_MODEL = "core.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_htmx",
    "django_tasks",
    "django_tasks_db",
    "portal.core",
    "portal.customers",
    "portal.fleet",
    "portal.notifications",
    "portal.metering",
    "portal.ledger",
    "portal.billing",
    "portal.access",
    "portal.alerts",
    "portal.comparison",
    "portal.downloads",
    "portal.service",
    "portal.ingest",
    "portal.api",
    "portal.resident",
    "portal.staff",
    "portal.config",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.core.security.ContentSecurityPolicyMiddleware",
    "portal.config.assets.AssetMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "portal.core.language.PersonLanguageMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "portal.access.looking.LookMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "portal.config.urls"
ASGI_APPLICATION = "portal.config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "portal.core.templates.Loader",
                    ["django.template.loaders.filesystem.Loader", "django.template.loaders.app_directories.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.core.context.utility",
                "portal.resident.banners.shown",
                "portal.access.looking.look_context",
            ],
        },
    },
]


def _databases() -> dict[str, dict[str, Any]]:
    address = ENVIRONMENT.database
    if address.is_postgresql:
        return {
            "default": {
                "ENGINE": "portal.core.postgresql",
                "NAME": address.name,
                "USER": address.user,
                "PASSWORD": address.password,
                "HOST": address.host,
                "PORT": address.port,
                "CONN_HEALTH_CHECKS": True,
                "OPTIONS": {"connect_timeout": 10, "application_name": "headwater-portal"},
            }
        }
    return {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": address.name,
            "OPTIONS": {
                # An immediate transaction waits for its turn at BEGIN instead of failing in the middle.
                "transaction_mode": "IMMEDIATE",
                "timeout": 30,
                # WAL lets pages read while ingest writes; FULL makes a commit survive a power cut.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=30000;",
            },
        }
    }


DATABASES = _databases()
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

PASSWORD_HASHERS = [
    *(["portal.core.passwords.DemoPasswordHasher"] if DEMO else []),
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]

# Attempts are counted in the cache: in the database, so that more serve processes do not give more attempts; by default
# a few hundred other keys would push them out. The table is made by a migration of portal.config.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "headwater_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

ACCOUNT_USER_MODEL_USERNAME_FIELD = "username"
ACCOUNT_PRESERVE_USERNAME_CASING = False
ACCOUNT_USERNAME_VALIDATORS = "portal.core.accounts.USERNAME_VALIDATORS"
ACCOUNT_USER_DISPLAY = "portal.core.accounts.display"
# Links in messages carry public ids and random keys, no row numbers; messages go through the outbox.
ACCOUNT_ADAPTER = "portal.access.sign_in_mail.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "portal.core.accounts.SignInForm",
    "add_email": "portal.core.accounts.AddressForm",
    "change_password": "portal.core.accounts.ChangePasswordForm",
    "set_password": "portal.core.accounts.SetPasswordForm",
    "reset_password": "portal.core.accounts.ResetPasswordForm",
    "reset_password_from_key": "portal.core.accounts.NewPasswordForm",
    "reauthenticate": "portal.core.accounts.AgainForm",
    "user_token": "portal.core.accounts.UserTokenForm",
}
# allauth's own asks the database about the person's addresses: more work for an address that somebody has.
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105
ACCOUNT_EMAIL_CONFIRMATION_HMAC = False
ACCOUNT_LOGIN_METHODS = {"email", "username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username", "password1*", "password2*"]
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 1
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGIN_ON_PASSWORD_RESET = False
ACCOUNT_REAUTHENTICATION_REQUIRED = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ADAPTER = "portal.core.accounts.SecondStepAdapter"
MFA_FORMS = {
    "authenticate": "portal.core.accounts.CodeForm",
    "reauthenticate": "portal.core.accounts.AgainCodeForm",
    "activate_totp": "portal.core.accounts.AppForm",
    "add_webauthn": "portal.core.accounts.PasskeyForm",
}
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("es", "Español")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# `portal init` collects the assets, hashed and compressed; without that (tests) they are served where they lie.
_COLLECTED = (PORTAL_DIR / "static" / "staticfiles.json").is_file()
STATIC_URL = "/static/"
STATIC_ROOT = PORTAL_DIR / "static" if _COLLECTED else None
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "portal.config.assets.NodeModulesFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not _COLLECTED

# In the demo pages are served in clear text on a loopback address; everywhere else cookies need TLS.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEMO
SESSION_ENGINE = "portal.core.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 86_400
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 0 if DEMO else 31_536_000
X_FRAME_OPTIONS = "DENY"
if ENVIRONMENT.behind_tls_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    # Attempts are counted by the address that the proxy saw, not by the proxy's own: it must set X-Forwarded-For.
    ALLAUTH_TRUSTED_PROXY_COUNT = 1

# Without a mail server every message becomes a file in the outbox; with one the certificate is always checked.
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if ENVIRONMENT.mail.host else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = ENVIRONMENT.mail.folder
EMAIL_HOST, EMAIL_PORT = ENVIRONMENT.mail.host, ENVIRONMENT.mail.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = ENVIRONMENT.mail.user, ENVIRONMENT.mail.password
EMAIL_USE_SSL, EMAIL_USE_TLS = ENVIRONMENT.mail.implicit_tls, ENVIRONMENT.mail.starttls
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = ENVIRONMENT.mail.sender
SMS = ENVIRONMENT.texts

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"no_personal_data": {"()": "portal.core.logs.NoPersonalData"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "filters": ["no_personal_data"], "formatter": "line"},
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "WARNING", "propagate": True},
        "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
        "pikepdf": {"handlers": [], "level": "WARNING", "propagate": True},
    },
}
