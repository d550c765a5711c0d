"""From settings to routes: which backend serves which role, loaded when first used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from agents.routing import Route

from agents.ports import Capabilities, ModelBackend, Role
from bot.settings import RouteSection, Settings

Load = Callable[[], Awaitable[ModelBackend]]

_ROLES: tuple[Role, ...] = ("planner", "vision", "small", "embed")
_IMAGES = 4
_LOCAL_CONTEXT_TOKENS = 8192
_IMAGE_TOKENS = 2509  # one image in 16 crops (facts: phi.md 2.2)
PULL_COMPLETE = "complete.json"  # written last by a pull
PULLED_TEXT, PULLED_VISION = "phi-3.5-mini", "phi-3.5-vision"
OLLAMA_URL = "http://127.0.0.1:11434"
# What Ollama gives unless told otherwise, and its /v1 can't be told (facts: phi.md 1.4); a
# safe guess for any server whose window the operator did not name.
_SERVER_CONTEXT_TOKENS = 4096


async def build_chains(settings: Settings) -> dict[Role, tuple[Route, ...]]:
    """The chain of every role, in order of preference.

    Where the operator chose nothing, a pulled Phi comes first, then a Phi in a local Ollama,
    then the demonstration model and the OCR route.
    """
    routes = {name: _route(name, each, settings) for name, each in settings.routes.items()}
    chains: dict[Role, tuple[Route, ...]] = {
        role: tuple(routes[name] for name in settings.roles.chain(role)) for role in _ROLES
    }
    if not settings.configures("planner"):
        chains["planner"] = (*await _found_planners(settings), *chains["planner"])
    if not settings.configures("vision"):
        chains["vision"] = (*_found_eyes(settings), *chains["vision"])
    return chains


async def _found_planners(settings: Settings) -> list[Route]:
    from adapters.models.embedded import detect_ollama

    found: list[Route] = []
    pulled = settings.data_dir / "models" / PULLED_TEXT
    if _is_pulled(pulled):
        found.append(_openvino(PULLED_TEXT, pulled, template="phi3"))
    elif model := await detect_ollama(OLLAMA_URL):
        section = RouteSection(backend="openai_api", model=model, base_url=f"{OLLAMA_URL}/v1")
        found.append(_route("ollama", section, settings))
    return found


def _found_eyes(settings: Settings) -> list[Route]:
    pulled = settings.data_dir / "models" / PULLED_VISION
    if not _is_pulled(pulled):
        return []
    return [_openvino(PULLED_VISION, pulled, template="phi3_vision", max_images=_IMAGES)]


def _is_pulled(folder: Path) -> bool:
    return (folder / PULL_COMPLETE).exists()


def _route(name: str, section: RouteSection, settings: Settings) -> Route:
    load: Load
    match section.backend:
        case "openvino":
            folder = section.path or settings.data_dir / "models" / section.model
            return _openvino(
                name,
                folder,
                template=section.template or "phi3",
                context_tokens=section.context_tokens or _LOCAL_CONTEXT_TOKENS,
                max_images=section.max_images or 0,
            )
        case "openai_api":
            load = partial(_load_openai_api, name, section)
        case "embedded":
            load = partial(_load_embedded, name)
        case "ocr":
            load = partial(_load_ocr, name)
        case "scripted":
            load = partial(_load_scripted, name)
    return Route(name, section.backend, section.model, section.placement, load)


def _openvino(
    name: str,
    folder: Path,
    *,
    template: str,
    context_tokens: int = _LOCAL_CONTEXT_TOKENS,
    max_images: int = 0,
) -> Route:
    async def load() -> ModelBackend:
        from adapters.models.openvino import OpenVinoBackend

        return await OpenVinoBackend.load(
            name,
            folder,
            template=template,
            context_tokens=context_tokens,
            max_images=max_images,
        )

    return Route(name, "openvino", folder.name, "local", load)


async def _load_openai_api(name: str, section: RouteSection) -> ModelBackend:
    from adapters.models.openai_api import OpenAICompatible

    images = section.max_images or 0
    return OpenAICompatible(
        name,
        base_url=section.base_url or "",
        model=section.model,
        api_key=section.api_key.get_secret_value() if section.api_key else None,
        capabilities=Capabilities(
            context_tokens=section.context_tokens or _SERVER_CONTEXT_TOKENS,
            max_images=images,
            image_tokens=_IMAGE_TOKENS if images else 0,
            constrained=True,
        ),
    )


async def _load_embedded(name: str) -> ModelBackend:
    from adapters.models.embedded import load_embedded

    return await load_embedded(name)


async def _load_ocr(name: str) -> ModelBackend:
    from adapters.models.ocr import OcrBackend

    return OcrBackend(name)


async def _load_scripted(name: str) -> ModelBackend:
    from adapters.models.scripted import ScriptedBackend, demo_policy

    return ScriptedBackend(name, demo_policy)
