"""Front-end assets out of `node_modules`, as npm installed them: only the files that pages really use."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.contrib.staticfiles.finders import BaseFinder, get_finders
from django.core.checks import CheckMessage, Error
from django.core.files.storage import FileSystemStorage
from django.http import HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.storage import CompressedManifestStaticFilesStorage

from domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.http import HttpRequest

NODE_MODULES = Path(__file__).resolve().parents[2] / "node_modules"
_USWDS = NODE_MODULES / "@uswds" / "uswds" / "dist"
_URL = re.compile(r"url\(['\"]?(?!data:)\.\./([^)'\"?#]+)")
# address under STATIC_URL -> file; style sheets bring the fonts and pictures that they name
_FILES = {
    "vendor/uswds/css/uswds.min.css": _USWDS / "css" / "uswds.min.css",
    "vendor/uswds/css/uswds.min.css.map": _USWDS / "css" / "uswds.min.css.map",
    "vendor/htmx.min.js": NODE_MODULES / "htmx.org" / "dist" / "htmx.min.js",
    "vendor/uplot.min.js": NODE_MODULES / "uplot" / "dist" / "uPlot.iife.min.js",
    "vendor/uplot.min.css": NODE_MODULES / "uplot" / "dist" / "uPlot.min.css",
}
_STAMP = "collected.sha256"


@functools.lru_cache(maxsize=1)
def asset_files() -> dict[str, Path]:
    """Return address -> file of every asset that is installed."""
    files = {address: path for address, path in _FILES.items() if path.is_file()}
    sheet = _FILES["vendor/uswds/css/uswds.min.css"]
    if sheet.is_file():
        for name in sorted(set(_URL.findall(sheet.read_text(encoding="utf-8")))):
            if (_USWDS / name).is_file():
                files[f"vendor/uswds/{name}"] = _USWDS / name
    return files


class AssetMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, answering with the whole file: assets are small, and under ASGI a file is no async stream."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Answer a request for an asset."""
        answer = static_file.get_response(request.method, request.META)
        content = b""
        if answer.file is not None:
            with answer.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(answer.status))
        del response["Content-Type"]
        for name, value in answer.headers:
            response[name] = value
        return response


class NodeModulesFinder(BaseFinder):
    """Lets Django's staticfiles and WhiteNoise find the assets that package-lock.json pins."""

    def __init__(self, app_names: Iterable[str] | None = None, *args: Any, **kwargs: Any) -> None:
        self.storage = _AssetStorage(location=str(NODE_MODULES))
        super().__init__(*args, **kwargs)

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Report assets that npm has not installed."""
        missing = sorted(address for address, path in _FILES.items() if not path.is_file())
        if not missing:
            return []
        return [
            Error(
                f"Front-end assets are missing: {', '.join(missing)}.",
                hint="Run `npm ci --ignore-scripts` in the checkout (`make setup` does).",
                id="portal.E004",
            )
        ]

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        """Return the file behind an address, or nothing."""
        found = asset_files().get(path)
        if found is None:
            return []
        return [str(found)] if find_all else str(found)

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        """Yield every address with the storage that opens it."""
        for address in asset_files():
            yield address, self.storage


class _AssetStorage(FileSystemStorage):
    """Opens assets by their address instead of their place below node_modules."""

    def path(self, name: str) -> str:
        """Return the file behind an address."""
        return str(asset_files()[name])


def collect_assets(target: Path) -> bool:
    """Copy every asset to `target` under a name with its hash, compressed beside it; False when nothing had changed.

    This is Django's `collectstatic` into the manifest storage, callable before the settings know of the manifest.
    """
    sources = {path: storage for finder in reversed(list(get_finders())) for path, storage in finder.list([])}
    stamp = hashlib.sha256()
    for path, storage in sorted(sources.items()):
        stamp.update(f"{path}\0".encode())
        with storage.open(path) as file:
            stamp.update(hashlib.sha256(file.read()).digest())
    if (target / _STAMP).is_file() and (target / _STAMP).read_text(encoding="ascii") == stamp.hexdigest():
        return False
    shutil.rmtree(target, ignore_errors=True)
    hashed = CompressedManifestStaticFilesStorage(location=str(target), base_url="/static/")
    for path, storage in sources.items():
        with storage.open(path) as file:
            hashed.save(path, file)
    for name, _, processed in hashed.post_process({path: (hashed, path) for path in sources}):
        if isinstance(processed, Exception):
            raise ConfigError([f"asset {name}: {processed}"]) from processed
    (target / _STAMP).write_text(stamp.hexdigest(), encoding="ascii")
    return True
