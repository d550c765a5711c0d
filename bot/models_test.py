"""`firstline models test`: the contract, tried on a route as it is configured."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from adapters.models.check import CheckResult, run_checks
from agents.errors import AgentError
from agents.ports import ModelBackend
from agents.routing import Route
from bot import __version__
from bot.routes import every_route
from bot.settings import Settings

_LOAD_TIMEOUT_S = 600.0  # weights of some gigabytes, compiled for this machine at first
_LOAD_ERRORS = (AgentError, ImportError, OSError, RuntimeError, ValueError)
_STYLES = {"pass": "green", "fail": "bold red", "skipped": "yellow"}


class UnknownRoute(Exception):
    """The settings have no such route; names those that there are."""

    def __init__(self, name: str, known: list[str]) -> None:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        super().__init__(f"no route {name!r}{hint}; there are: {', '.join(known)}")


class ContractReport(msgspec.Struct, frozen=True):
    """The last run on a route, as it is kept."""

    route: str
    backend: str
    model: str
    placement: str
    version: str
    at: str
    checks: list[CheckResult]

    @property
    def verdict(self) -> str:
        counts = dict.fromkeys(_STYLES, 0)
        for check in self.checks:
            counts[check.outcome] += 1
        return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)

    @property
    def failed(self) -> bool:
        return any(check.outcome == "fail" for check in self.checks)


async def run_models_test(name: str, settings: Settings, *, console: Console | None = None) -> int:
    """Print a line for each check; 1 if one failed. Raises `UnknownRoute`."""
    console = console or Console(soft_wrap=True, highlight=False)
    routes = await every_route(settings)
    if name not in routes:
        raise UnknownRoute(name, sorted(routes))
    route = routes[name]
    checks = [result async for result in _shown(route, console)]
    report = ContractReport(
        route=name,
        backend=route.backend,
        model=route.model,
        placement=route.placement,
        version=__version__,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        checks=checks,
    )
    path = report_path(settings, name)
    await asyncio.to_thread(_write, path, report)
    console.print(f"{report.verdict}. Kept in {path}", soft_wrap=True)
    return 1 if report.failed else 0


def report_path(settings: Settings, route: str) -> Path:
    return settings.data_dir / "models" / "checks" / f"{route}.json"


def last_report(settings: Settings, route: str) -> ContractReport | None:
    """What the last run found, if there was one."""
    try:
        return msgspec.json.decode(report_path(settings, route).read_bytes(), type=ContractReport)
    except (OSError, msgspec.MsgspecError):
        return None


async def _shown(route: Route, console: Console) -> AsyncIterator[CheckResult]:
    started = time.monotonic()
    backend, detail = await _load(route)
    seconds = round(time.monotonic() - started, 3)
    loaded = CheckResult("load", "pass" if backend else "fail", detail, seconds)
    console.print(_line(loaded))
    yield loaded
    if backend is None:
        return
    try:
        async with aclosing(run_checks(backend)) as results:
            async for result in results:
                console.print(_line(result))
                yield result
    finally:
        await backend.aclose()


async def _load(route: Route) -> tuple[ModelBackend | None, str]:
    try:
        async with asyncio.timeout(_LOAD_TIMEOUT_S):
            backend = await route.load()
    except _LOAD_ERRORS as error:
        return None, str(error) or type(error).__name__
    can = backend.capabilities
    images = f", {can.max_images} images" if can.max_images else ""
    return backend, f"window of {can.context_tokens:,} tokens{images}"


def _line(result: CheckResult) -> Text:
    line = Text(f"{result.outcome:<8}", style=_STYLES[result.outcome])
    return line.append(
        f"{result.name:<16}{result.seconds:>8.2f} s  {result.detail}", style="default"
    )


def _write(path: Path, report: ContractReport) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
