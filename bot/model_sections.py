"""The settings of models: routes, one for each way to a model, and the roles they serve."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from adapters.models.presets import CLOSED, PRESETS, PresetName, completed_url
from agents.ports import Placement, Role
from bot.sections import Names, PlatformIds, Secret, Section, Url, UserPath, fault, is_loopback

LocalEngine = Literal["openvino", "transformers", "onnx_genai", "llama_cpp", "mlx"]
BackendName = Literal[
    LocalEngine, "openai_api", "ollama", "llama_server", "ocr", "embedded", "langchain", "scripted"
]
_FACTORY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
RouteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")]

_SERVERS = ("openai_api", "ollama", "llama_server")


def _placement(values: dict[str, Any]) -> Placement:
    if values.get("backend") == "langchain":
        return "cloud"  # nothing tells where the model stands, so it must be said
    preset: PresetName | None = values.get("preset")
    if preset and PRESETS[preset].is_cloud:
        return "cloud"  # a gateway near by still sends the text away
    host = urlsplit(values.get("base_url") or "").hostname
    if values.get("backend") not in _SERVERS or not host or is_loopback(host):
        return "local"
    try:
        return "self_hosted" if ipaddress.ip_address(host).is_private else "cloud"
    except ValueError:
        inner = "." not in host or host.endswith((".local", ".internal", ".lan"))
        return "self_hosted" if inner else "cloud"


def _base_url(values: dict[str, Any]) -> str | None:
    preset: PresetName | None = values.get("preset")
    return PRESETS[preset].base_url if preset else None


class RouteSection(Section):
    """One way to a model. `placement` unset follows from the backend and the host."""

    backend: BackendName
    preset: PresetName | None = None
    model: str = Field(default="", max_length=200)
    base_url: Url | None = Field(default_factory=_base_url)
    auth: Literal["key", "entra"] = "key"
    api_key: Secret | None = None
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,80}$")
    placement: Placement = Field(default_factory=_placement)
    context_tokens: int | None = Field(default=None, ge=512, le=2_000_000)
    max_images: int | None = Field(default=None, ge=0, le=64)
    path: UserPath | None = None
    template: str | None = Field(default=None, pattern=r"^[a-z0-9._-]{1,40}$")
    max_concurrent: int | None = Field(default=None, ge=1, le=1024)
    # Engines in this process: where they run, and prompt memory kept for the next turns.
    device: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:,-]{1,60}$")
    threads: int | None = Field(default=None, ge=1, le=512)
    kept_tokens: int | None = Field(default=None, ge=0, le=10_000_000)

    @field_validator("base_url", mode="after")
    @classmethod
    def _whole_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        preset: PresetName | None = info.data.get("preset")
        return completed_url(preset, url) if preset and url else url

    @model_validator(mode="after")
    def _preset_fits(self) -> RouteSection:
        if self.auth == "entra" and self.preset != "foundry":
            raise fault("auth", 'entra goes with preset "foundry" only')
        if self.auth == "entra" and (self.api_key or self.api_key_env):
            raise fault("auth", "give auth = entra or a key, not both")
        if self.preset is None:
            return self
        if self.backend != "openai_api":
            raise fault("preset", "is for backend openai_api")
        own = PRESETS[self.preset]
        url = urlsplit(self.base_url or "")
        if own.is_cloud and url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise fault("base_url", f"preset {self.preset} needs https: a key goes with it")
        if own.needs_key and self.auth == "key" and not (self.api_key or self.api_key_env):
            raise fault("api_key", f"is needed by preset {self.preset}; set {own.key_variable}")
        return self

    @model_validator(mode="after")
    def _complete(self) -> RouteSection:
        if self.backend == "openai_api":
            if self.base_url is None and self.preset not in CLOSED:
                raise fault("base_url", "is needed by backend openai_api")
            if not self.model:
                raise fault("model", "is needed by backend openai_api")
        if self.backend == "ollama" and not self.model:
            raise fault("model", "is needed by backend ollama, such as phi3.5")
        if self.backend in get_args(LocalEngine) and not (self.path or self.model):
            why = f"backend {self.backend} needs the model's folder here, or a model name"
            raise fault("path", why)
        if self.backend == "langchain" and not _FACTORY.fullmatch(self.model):
            raise fault("model", 'backend langchain needs "package.module:function" here')
        if self.api_key and self.api_key_env:
            raise fault("api_key_env", "give api_key or api_key_env, not both")
        return self


class ModelsSection(Section):
    # Conversations that never leave this machine: all, or those of some channels or people.
    local_only: bool = False
    local_only_channels: PlatformIds = ()
    local_only_users: PlatformIds = ()
    routes: dict[RouteName, RouteSection] = Field(default_factory=dict, max_length=64)


class RolesSection(Section):
    """Which routes serve a role, in order of preference."""

    planner: Names = ("embedded",)
    vision: Names = ("ocr",)
    small: Names = ()
    embed: Names = ()

    def chain(self, role: Role) -> tuple[str, ...]:
        names: tuple[str, ...] = getattr(self, role)
        return names

    def __iter__(self) -> Iterator[tuple[str, tuple[str, ...]]]:  # type: ignore[override]
        return ((role, getattr(self, role)) for role in type(self).model_fields)
