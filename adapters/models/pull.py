"""Fetches a model from the hub: resumable, every file checked, nothing half-done in place.

Speaks the hub's public protocol: a revision endpoint, a file tree with sizes and hashes, and
file addresses that redirect to a content network and take Range requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from adapters.models.catalogue import CATALOGUE, CatalogueEntry

log = structlog.get_logger(__name__)
HUB_URL = "https://huggingface.co"
MANIFEST = "firstline-model.json"  # written last: its presence means the model is whole
_CHUNK_BYTES = 1024 * 1024
_ATTEMPTS = 5  # in a row without a byte gained
_SPARE_BYTES = 200 * 1024 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=30)


class PullError(Exception):
    """The model could not be fetched; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is; `resumed_bytes` were on the disk already."""

    file: str
    file_number: int
    files: int
    file_bytes: int
    file_size_bytes: int
    done_bytes: int
    total_bytes: int
    resumed_bytes: int = 0


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class RemoteFile(msgspec.Struct):
    """One file of a revision; `oid` is the git blob's hash, `lfs.oid` the sha256."""

    path: str
    size: int
    oid: str
    type: str = "file"
    lfs: _Lfs | None = None

    @property
    def hash(self) -> str:
        return f"sha256 {self.lfs.oid}" if self.lfs else f"git blob {self.oid}"


class _Revision(msgspec.Struct):
    sha: str


class _Manifest(msgspec.Struct):
    name: str
    repository: str
    revision: str
    files: list[RemoteFile]


async def pull(
    name: str,
    destination: Path,
    *,
    base_url: str = HUB_URL,
    progress: Callable[[PullProgress], None] = lambda _: None,
    retry_wait_s: float = 1.0,
) -> Path:
    """Fetch the model into `destination` and return it; raises `PullError`.

    Stopped at any point, the next call goes on where this one ended.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise PullError(f"no model {name!r} in the catalogue; there are: {', '.join(CATALOGUE)}")
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        hub = _Hub(session, base_url.rstrip("/"), entry, retry_wait_s)
        manifest = await hub.manifest()
        await asyncio.to_thread(_check_space, manifest.files, destination)
        await _fetch_all(hub, manifest, destination, progress)
    encoded = msgspec.json.format(msgspec.json.encode(manifest))
    await asyncio.to_thread((destination / MANIFEST).write_bytes, encoded)
    log.info("model.pulled", model=name, revision=manifest.revision, files=len(manifest.files))
    return destination


def pulled_files(destination: Path) -> list[RemoteFile]:
    """What a whole pull brought, each file with its size and the hash it was held to."""
    manifest = (destination / MANIFEST).read_bytes()
    return msgspec.json.decode(manifest, type=_Manifest).files


def is_pulled(destination: Path) -> bool:
    """Whether a pull into this folder ended well."""
    return (destination / MANIFEST).is_file()


async def _fetch_all(
    hub: _Hub, manifest: _Manifest, destination: Path, progress: Callable[[PullProgress], None]
) -> None:
    total_bytes = sum(file.size for file in manifest.files)
    done_bytes = 0
    for number, file in enumerate(manifest.files, 1):

        def report(at_bytes: int, resumed: int, file: RemoteFile = file, n: int = number) -> None:
            so_far = done_bytes + at_bytes  # noqa: B023  # called within this iteration only
            files = len(manifest.files)
            progress(
                PullProgress(file.path, n, files, at_bytes, file.size, so_far, total_bytes, resumed)
            )

        await _fetch(hub, file, destination / PurePosixPath(file.path), report)
        done_bytes += file.size


async def _fetch(
    hub: _Hub, file: RemoteFile, target: Path, report: Callable[[int, int], None]
) -> None:
    """One file, checked and moved into place; goes on from its `.part`."""
    if await asyncio.to_thread(_is_whole, target, file):
        report(file.size, file.size)
        return
    part = target.with_name(target.name + ".part")
    await hub.download(file, part, report)
    if not await asyncio.to_thread(_is_whole, part, file):
        part.unlink()
        raise PullError(
            f"file {file.path!r} has not the hash the hub states; it was deleted: pull again"
        )
    part.replace(target)


class _Hub:
    """The hub's protocol for one model."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, entry: CatalogueEntry, wait_s: float
    ) -> None:
        self._session, self._base_url = session, base_url
        self._entry, self._wait_s = entry, wait_s
        self._revision = entry.revision

    async def manifest(self) -> _Manifest:
        """The files of the revision, pinned to its commit so that none changes meanwhile."""
        entry = self._entry
        api = f"{self._base_url}/api/models/{entry.repository}"
        answer = await self._get(f"{api}/revision/{quote(entry.revision, safe='')}")
        try:
            self._revision = msgspec.json.decode(answer, type=_Revision).sha
            tree = await self._get(f"{api}/tree/{self._revision}?recursive=true")
            files = msgspec.json.decode(tree, type=list[RemoteFile])
        except msgspec.MsgspecError as error:
            raise PullError(f"{self._base_url} did not answer like a model hub: {error}") from error
        for file in files:
            _check_path(file.path)
        wanted = [file for file in files if file.type == "file" and not file.path.startswith(".")]
        return _Manifest(entry.name, entry.repository, self._revision, wanted)

    async def _get(self, url: str) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._session.get(url) as response:
                    self._check_status(response.status)
                    return await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == _ATTEMPTS:
                    raise self._gave_up(error) from error
                await asyncio.sleep(self._wait_s * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _check_status(self, status: int) -> None:
        if status in (401, 403, 404):
            repository = self._entry.repository
            raise PullError(f"the hub has no open model {repository!r} (HTTP {status})")
        if status not in (200, 206):
            raise aiohttp.ClientError(f"HTTP {status}")

    def _gave_up(self, error: BaseException) -> PullError:
        reason = str(error) or type(error).__name__
        return PullError(f"{self._base_url} can't be reached ({reason}); pull again to go on")

    async def download(
        self, file: RemoteFile, part: Path, report: Callable[[int, int], None]
    ) -> None:
        """Fill `part` up to the file's size, going on after dropped connections."""
        resumed = _size_of(part, file.size)
        report(resumed, resumed)
        failures = 0
        while (have := _size_of(part, file.size)) < file.size:
            try:
                await self._continue(file, part, have, lambda at: report(at, resumed))
            except (aiohttp.ClientError, TimeoutError) as error:
                failures = 0 if _size_of(part, file.size) > have else failures + 1
                if failures == _ATTEMPTS:
                    raise self._gave_up(error) from error
                await asyncio.sleep(self._wait_s * failures)

    async def _continue(
        self, file: RemoteFile, part: Path, have: int, report: Callable[[int], None]
    ) -> None:
        path = quote(file.path)
        url = f"{self._base_url}/{self._entry.repository}/resolve/{self._revision}/{path}"
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        async with self._session.get(url, headers=headers) as response:
            self._check_status(response.status)
            have = have if response.status == 206 else 0  # a server without ranges starts over
            with await asyncio.to_thread(part.open, "ab" if have else "wb") as out:
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    have += len(chunk)
                    if have > file.size:
                        raise PullError(f"file {file.path!r} is longer than the hub states")
                    await asyncio.to_thread(out.write, chunk)
                    report(have)


def _size_of(part: Path, size: int) -> int:
    """Bytes already there; a part longer than the file is worthless."""
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    have = part.stat().st_size
    if have > size:
        part.write_bytes(b"")
        return 0
    return have


def _check_path(path: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path:
        raise PullError(f"the hub names a file outside the model's folder: {path!r}")


def _check_space(files: list[RemoteFile], destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    there = sum(file.stat().st_size for file in destination.rglob("*") if file.is_file())
    needed = sum(file.size for file in files) - there + _SPARE_BYTES
    free = shutil.disk_usage(destination).free
    if needed > free:
        gib = 1024**3
        raise PullError(
            f"{needed / gib:.1f} GiB are needed in {destination.name!r}, {free / gib:.1f} are free"
        )


def _is_whole(path: Path, file: RemoteFile) -> bool:
    """Same size and same hash: sha256 of big files, git's own blob hash of small ones."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if file.lfs else hashlib.sha1(usedforsecurity=False)
    if file.lfs is None:
        digest.update(b"blob %d\0" % file.size)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == (file.lfs.oid if file.lfs else file.oid)
