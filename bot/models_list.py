"""`firstline models`: what is here, what answers, which role it serves, and the whole matrix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import msgspec
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from adapters.models import probe
from adapters.models.catalogue import Catalogue, Cell, Status, catalogue
from adapters.models.embedded import find_embedded_model
from adapters.models.hub import PullError
from adapters.models.llama_server import LLAMA_SERVER_URL
from adapters.models.presets import PRESETS
from adapters.models.pull import is_pulled, pulled_files, pulled_folder
from agents.errors import BackendError
from agents.routing import Route
from bot.known_models import catalogue_backend, weights_of
from bot.models_test import last_report
from bot.pulling import is_installed
from bot.routes import OLLAMA_URL, every_route, ollama_url, openai_backend
from bot.settings import RouteSection, Settings
from bot.tables import report_console, report_table

_STYLES = {"works": "green", "built": "cyan", "retired": "red", "not_possible": "dim"}
_PACKAGES = {"ocr": "rapidocr", "langchain": "langchain_core"}  # of backends without weights


class Row(msgspec.Struct, frozen=True):
    """A way to a model, or a model that is here and has none."""

    model: str
    backend: str
    here: str  # its weights and packages on this machine
    route: str = ""
    reachable: str = ""
    placement: str = ""
    roles: tuple[str, ...] = ()
    tested: str = ""


async def list_models(
    settings: Settings,
    *,
    name: str | None = None,
    everything: bool = False,
    as_json: bool = False,
    console: Console | None = None,
) -> int:
    """Print the table; with `name` all there is about one model. Raises `PullError`."""
    console = console or report_console()
    known = catalogue()
    if name is not None:
        return _show_model(known, _named(known, name), console, as_json=as_json)
    rows = await rows_of(settings)
    if as_json:
        shown = {"here": msgspec.to_builtins(rows)}
        if everything:
            shown["catalogue"] = msgspec.to_builtins(known.models)
        console.out(json.dumps(shown, indent=2), highlight=False)
        return 0
    console.print(_rows_table(rows))
    if everything:
        console.print(_matrix_table(known))
    else:
        console.print("All models on all backends: firstline models list --all")
    return 0


async def rows_of(settings: Settings) -> list[Row]:
    """Every route, then what is here without one; servers are asked at the same time."""
    routes = await every_route(settings)
    roles = _roles_of(settings)
    servers = await _probe_servers(settings, routes)
    rows = [
        _route_row(route, settings, roles.get(name, ()), servers.get(name))
        for name, route in sorted(routes.items())
    ]
    routed = {(row.backend, catalogue().find(row.model)) for row in rows}
    return rows + [
        row
        for row in (*_pulled_rows(settings), *_ollama_rows(servers))
        if (row.backend, catalogue().find(row.model)) not in routed
    ]


def _roles_of(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for role, names in settings.roles:
        for name in names:
            found[name] = (*found.get(name, ()), role)
    return found


async def _probe_servers(settings: Settings, routes: Mapping[str, Route]) -> dict[str, probe.Probe]:
    """By route; the Ollama of this machine is asked in any case, under the empty name."""
    asked = {"": probe.probe_ollama(ollama_url(settings))}
    for name in routes:
        section = settings.routes.get(name)
        if section is None:
            continue
        key = section.api_key.get_secret_value() if section.api_key else None
        match section.backend:
            case "ollama":
                asked[name] = probe.probe_ollama(section.base_url or OLLAMA_URL, api_key=key)
            case "llama_server":
                url = section.base_url or LLAMA_SERVER_URL
                asked[name] = probe.probe_llama_server(url, api_key=key)
            case "openai_api":
                asked[name] = _probe_service(name, section)
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))


async def _probe_service(name: str, section: RouteSection) -> probe.Probe:
    """As the route itself would ask; a service that was closed is not asked at all."""
    try:
        async with aclosing(openai_backend(name, section)) as backend:
            ids = await backend.probe(timeout_s=probe.PROBE_TIMEOUT_S)
    except BackendError as error:
        return probe.Probe(reachable=False, detail=error.detail)
    tells_all = section.preset is None or PRESETS[section.preset].lists_models
    return probe.Probe(reachable=True, detail="answers", models=ids if tells_all else ())


def _route_row(
    route: Route, settings: Settings, roles: tuple[str, ...], found: probe.Probe | None
) -> Row:
    section = settings.routes.get(route.name)
    report = last_report(settings, route.name)
    return Row(
        model=route.model or "-",
        backend=route.backend,
        here=_here(route, section, settings, found),
        route=route.name,
        reachable=("yes" if found.reachable else f"no: {found.detail}") if found else "",
        placement=route.placement,
        roles=roles or (("planner or vision, as found",) if section is None else ()),
        tested=f"{report.verdict} ({report.at[:10]})" if report else "",
    )


def _here(
    route: Route, section: RouteSection | None, settings: Settings, found: probe.Probe | None
) -> str:
    if found is not None:
        return _at_server(route, found)
    if route.backend == "embedded":
        return _embedded()
    if package := _PACKAGES.get(route.backend):
        return "installed" if find_spec(package) else f"no: {package} is not installed"
    if route.backend not in catalogue().backends:
        return "built in"
    section = section or RouteSection(backend="openvino", model=route.name)
    if not is_installed(catalogue_backend(section)):
        extra = catalogue().backends[catalogue_backend(section)].extra
        return f"no: pip install 'firstline[{extra}]'"
    weights = weights_of(section, settings.data_dir / "models")
    return _weights(weights) if weights.exists() else f"no: nothing at {weights}"


def _at_server(route: Route, found: probe.Probe) -> str:
    if not found.reachable or not found.models:
        return ""
    wanted = route.model.lower()
    has = any(
        wanted in (name.lower(), name.lower().removesuffix(":latest")) for name in found.models
    )
    if has:
        return "at the server"
    pull = f"; run: ollama pull {route.model}" if route.backend == "ollama" else ""
    return f"no: not at the server{pull}"


def _embedded() -> str:
    try:
        find_embedded_model()
    except BackendError as error:
        return f"no: {error.detail}"
    return "in its wheel" if is_installed("openvino") else "no: pip install 'firstline[openvino]'"


def _weights(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    if is_pulled(folder):
        return f"pulled, {decimal(sum(file.size for file in pulled_files(folder)))}"
    return "in its folder"


def _pulled_rows(settings: Settings) -> list[Row]:
    models = settings.data_dir / "models"
    return [
        Row(name, backend, _weights(folder))
        for name, model in catalogue().models.items()
        for backend in model.cells
        if is_pulled(folder := pulled_folder(models, name, backend))
    ]


def _ollama_rows(servers: Mapping[str, probe.Probe]) -> list[Row]:
    known = catalogue()
    return [
        Row(name, "ollama", "at the server", reachable="yes", placement="local")
        for name in servers[""].models
        if known.find(name)
    ]


def _named(known: Catalogue, name: str) -> str:
    found = known.find(name)
    if found is None:
        near = ", ".join(known.close_to(name) or known.models)
        raise PullError(f"no model {name!r} in the catalogue; there are: {near}")
    return found


def _show_model(known: Catalogue, name: str, console: Console, *, as_json: bool) -> int:
    model = known.models[name]
    if as_json:
        console.out(json.dumps({name: msgspec.to_builtins(model)}, indent=2), highlight=False)
        return 0
    window = f"window of {model.context_tokens:,} tokens"
    images = f", up to {model.max_images} images" if model.max_images else ""
    console.print(
        f"{model.title}: {model.parameters} parameters, {window}{images}, {model.licence}"
    )
    table = report_table(name, "backend", "status", "what to load", "remark", "evidence")
    for backend, cell in model.cells.items():
        status = Text(cell.status.replace("_", " "), style=_STYLES.get(cell.status, "yellow"))
        what = cell.id or cell.repository or cell.wheel
        table.add_row(Text(backend), status, Text(what), Text(_remark(cell)), Text(cell.source))
    console.print(table)
    return 0


def _remark(cell: Cell) -> str:
    parts = [cell.reason, cell.note]
    if cell.download_bytes:
        parts.append(f"{decimal(cell.download_bytes)} to fetch")
    if cell.memory_bytes:
        parts.append(f"{decimal(cell.memory_bytes)} of memory")
    if cell.retired_on:
        parts.append(f"since {cell.retired_on}")
    if cell.replacement:
        parts.append(f"use {cell.replacement}")
    return "; ".join(part for part in parts if part)


def _rows_table(rows: list[Row]) -> Table:
    columns = ("model", "backend", "here", "route", "reachable", "placement", "serves", "tested")
    table = report_table("Models", *columns)
    for row in rows:
        cells = (
            row.model,
            row.backend,
            row.here or "-",
            row.route or "none",
            row.reachable or "-",
            row.placement or "-",
            ", ".join(row.roles) or "-",
            row.tested or "-",
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _matrix_table(known: Catalogue) -> Table:
    shown = [status.replace("_", " ") for status in get_args(Status)]
    table = report_table("Every model on every backend", "model", *shown)
    for name, model in known.models.items():
        cells = (
            Text(
                ", ".join(key for key, cell in model.cells.items() if cell.status == status) or "-",
                style=_STYLES.get(status, "yellow"),
            )
            for status in get_args(Status)
        )
        table.add_row(Text(name), *cells)
    return table
