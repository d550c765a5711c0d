"""The model hub's public protocol, for one model: its files with sizes and hashes, and bytes.

A revision endpoint, a file tree, and file addresses that redirect to a content network and
take Range requests.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import aiohttp
import msgspec

from adapters.models.catalogue import CatalogueEntry

HUB_URL = "https://huggingface.co"
_CHUNK_BYTES = 1024 * 1024
_ATTEMPTS = 5  # in a row without a byte gained


class PullError(Exception):
    """The model could not be fetched; the message names the file and the remedy."""


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


class Manifest(msgspec.Struct):
    name: str
    repository: str
    revision: str
    files: list[RemoteFile]


class Hub:
    """The hub's protocol for one model."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, entry: CatalogueEntry, wait_s: float
    ) -> None:
        self._session, self._base_url = session, base_url
        self._entry, self._wait_s = entry, wait_s
        self._revision = entry.revision

    async def manifest(self) -> Manifest:
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
        wanted = [file for file in files if file.type == "file" and self._is_wanted(file)]
        if not wanted:
            shown = "/".join(filter(None, (entry.cell.folder, ", ".join(entry.cell.files) or "*")))
            raise PullError(f"the hub's {entry.repository!r} has no file {shown!r} (any more)")
        return Manifest(entry.name, entry.repository, self._revision, wanted)

    def place_of(self, file: RemoteFile) -> PurePosixPath:
        """Where the file goes: the wanted folder of the repository becomes the root."""
        path = PurePosixPath(file.path)
        return path.relative_to(self._entry.cell.folder) if self._entry.cell.folder else path

    def _is_wanted(self, file: RemoteFile) -> bool:
        cell, path = self._entry.cell, PurePosixPath(file.path)
        if cell.folder and not path.is_relative_to(cell.folder):
            return False
        place = str(self.place_of(file))
        if place.startswith("."):
            return False
        if not cell.files:
            return True
        return any(
            place.count("/") == pattern.count("/") and fnmatch.fnmatchcase(place, pattern)
            for pattern in cell.files
        )

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
