"""The settings: one frozen value from `firstline.toml`, `.env` and the environment.

The environment wins over `.env`, which wins over the file. This is the only module that
reads environment variables.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from adapters.chat.sentences import Language
from adapters.models.presets import PRESETS
from agents.ports import Role
from bot.channels import ChannelDefaults, ChannelSection, each_once
from bot.mattermost import MattermostSection
from bot.model_sections import ModelsSection, RolesSection, RouteSection
from bot.sections import (
    EVERYONE,
    BudgetSection,
    DiscordAllow,
    DiscordSection,
    DoorbellSection,
    KnowledgeSection,
    LimitsSection,
    LogLevel,
    Lower,
    MemorySection,
    PlannerSection,
    RedisSection,
    Secret,
    Section,
    SlackAllow,
    SlackSection,
    TurnsSection,
    UserPath,
    WebSection,
    fault,
    shown_url,
)
from bot.settings_errors import SettingsError, problems_of, shown_name
from bot.tool_sections import HandOverSection, ToolsSection

__all__ = [
    "BUILT_IN_ROUTES",
    "EVERYONE",
    "BudgetSection",
    "DiscordAllow",
    "DiscordSection",
    "DoorbellSection",
    "LimitsSection",
    "MemorySection",
    "ModelsSection",
    "PlannerSection",
    "RedisSection",
    "RolesSection",
    "RouteSection",
    "Secret",
    "Settings",
    "SettingsError",
    "SlackAllow",
    "SlackSection",
    "ToolsSection",
    "TurnsSection",
    "WebSection",
    "load_settings",
    "secret_file_warnings",
    "settings_files",
    "shown_url",
]

PREFIX = "FIRSTLINE_"
CONFIG_VARIABLE = "FIRSTLINE_CONFIG"
_WELL_KNOWN = {
    "REDIS_URL": "redis.url",
    "SLACK_BOT_TOKEN": "slack.bot_token",
    "SLACK_APP_TOKEN": "slack.app_token",
    "SLACK_SIGNING_SECRET": "slack.signing_secret",
    "SLACK_CLIENT_SECRET": "slack.client_secret",
    "DISCORD_TOKEN": "discord.token",
    "MATTERMOST_TOKEN": "mattermost.token",
    "MATTERMOST_URL": "mattermost.url",
}
_SECRET_FIELDS = (
    "bot_token",
    "app_token",
    "signing_secret",
    "client_secret",
    "token",
    "api_key",
    "url",
    "key",
)

BUILT_IN_ROUTES: Mapping[str, RouteSection] = {
    "embedded": RouteSection(backend="embedded", model="smollm2-135m-instruct"),
    "ocr": RouteSection(backend="ocr", model="rapidocr"),
}


class Settings(Section):
    """Everything an operator can set. Secrets print as `***`."""

    data_dir: UserPath = Path("data")
    log_level: Annotated[LogLevel, Lower] = "info"
    log_format: Annotated[Literal["console", "json"], Lower] = "console"
    language: Language = "en"  # of the bot's own sentences, where neither person nor channel tells
    channel_defaults: ChannelDefaults = ChannelDefaults()
    channels: Annotated[tuple[ChannelSection, ...], AfterValidator(each_once)] = ()
    redis: RedisSection = RedisSection()
    doorbell: DoorbellSection = DoorbellSection()
    slack: SlackSection = SlackSection()
    discord: DiscordSection = DiscordSection()
    mattermost: MattermostSection = MattermostSection()
    models: ModelsSection = Field(default_factory=ModelsSection)
    roles: RolesSection = RolesSection()
    planner: PlannerSection = PlannerSection()
    tools: ToolsSection = ToolsSection()
    hand_over: HandOverSection = HandOverSection()
    knowledge: KnowledgeSection = KnowledgeSection()
    limits: LimitsSection = LimitsSection()
    budget: BudgetSection = BudgetSection()
    turns: TurnsSection = TurnsSection()
    memory: MemorySection = MemorySection()
    web: WebSection = WebSection()

    @model_validator(mode="after")
    def _roles_name_routes(self) -> Settings:
        for role, names in self.roles:
            for place, name in enumerate(names):
                if name not in self.routes:
                    known = ", ".join(sorted(self.routes))
                    raise fault(f"roles.{role}.{place}", f"no such route; the routes are: {known}")
        return self

    @property
    def routes(self) -> Mapping[str, RouteSection]:
        """The configured routes and the built-in ones; a configured one wins."""
        return {**BUILT_IN_ROUTES, **self.models.routes}

    @property
    def has_platform(self) -> bool:
        return self.slack.enabled or self.discord.enabled or self.mattermost.enabled

    def configures(self, role: Role) -> bool:
        """Whether the operator chose the role's routes (else start-up may find better ones)."""
        return role in self.roles.model_fields_set

    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the log filter."""
        return tuple(_secrets_in(self))


def load_settings(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings; raises `SettingsError`.

    Without `path` the file is `$FIRSTLINE_CONFIG`, else `./firstline.toml` if there is one.
    `.env` lies beside the file. `overrides` (dotted names, from the command line) win.
    """
    environ = os.environ if environ is None else environ
    toml, dotenv = settings_files(path, environ=environ)
    merged: dict[str, Any] = _read_toml(toml) if toml else {}
    variables = _read_dotenv(dotenv) if dotenv else {}
    variables |= {name: value for name, value in environ.items() if value}
    for dotted, value in _from_variables(variables):
        _put(merged, dotted, value)
    for name, chosen in (overrides or {}).items():
        _put(merged, name.split("."), chosen)
    _resolve_keys(merged, variables)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(*problems_of(error, Settings)) from None


def settings_files(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None
) -> tuple[Path | None, Path | None]:
    """The settings file and the `.env` that are read, where they exist."""
    environ = os.environ if environ is None else environ
    chosen = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if chosen is not None and not chosen.is_file():
        raise SettingsError(f"no settings file at {str(chosen)!r}")
    toml = chosen or Path("firstline.toml")
    dotenv = toml.parent / ".env"
    return (toml if toml.is_file() else None), (dotenv if dotenv.is_file() else None)


def secret_file_warnings(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """One sentence for each settings file that holds a secret and that others can read."""
    toml, dotenv = settings_files(path, environ=environ)
    exposed = []
    if (
        toml
        and _world_readable(toml)
        and any(_is_secret(name) for name in _leaves(_read_toml(toml)))
    ):
        exposed.append(toml)
    if dotenv and _world_readable(dotenv):
        names = (dotted for dotted, _ in _from_variables(_read_dotenv(dotenv)))
        if any(_is_secret(dotted[-1]) for dotted in names):
            exposed.append(dotenv)
    return tuple(
        f"{file} holds a secret and anyone can read it: chmod 600 {file}" for file in exposed
    )


def _world_readable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o004)


def _is_secret(field: str) -> bool:
    return field in _SECRET_FIELDS


def _leaves(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield key


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        # Its message may quote what stands in the file; the place is enough.
        found = re.search(r"line \d+, column \d+", str(error))
        place = found[0] if found else "its end"
        raise SettingsError(f"{file}: not valid TOML at {place}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: can't be read ({type(error).__name__})") from None


def _read_dotenv(file: Path) -> dict[str, str]:
    variables: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8") as stream:
            for binding in parse_stream(stream):
                if binding.error:
                    raise SettingsError(f"{file}: line {binding.original.line} is not NAME=value")
                if binding.key and binding.value:
                    variables[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: can't be read ({type(error).__name__})") from None
    return variables


def _from_variables(variables: Mapping[str, str]) -> Iterator[tuple[list[str], str]]:
    """Dotted names and values; the well-known names first, so that FIRSTLINE_ ones win."""
    for name, dotted in _WELL_KNOWN.items():
        if value := variables.get(name):
            yield dotted.split("."), value
    for name, value in variables.items():
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            yield name.removeprefix(PREFIX).lower().split("__"), value


def _put(table: dict[str, Any], dotted: list[str], value: Any) -> None:
    *parents, last = dotted
    for parent in parents:
        # A route named phi-moe in the file is PHI_MOE in a variable's name.
        same = (key for key in table if key.lower().replace("-", "_") == parent)
        key = next(same, parent)
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[last] = value


def _resolve_keys(merged: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Fetch each route's `api_key_env`, or its preset's usual variable where no key is set."""
    models = merged.get("models")
    routes = models.get("routes") if isinstance(models, dict) else None
    for name, route in routes.items() if isinstance(routes, dict) else ():
        if not isinstance(route, dict) or "api_key" in route:
            continue
        variable = route.get("api_key_env")
        if variable is None:
            usual = _usual_variable(route)
            if usual and usual in variables:
                route["api_key"] = variables[usual]
        elif isinstance(variable, str):
            if variable not in variables:
                field = f"models.routes.{shown_name(name)}.api_key_env"
                raise SettingsError(f"{field}: the environment variable it names is not set")
            del route["api_key_env"]
            route["api_key"] = variables[variable]


def _usual_variable(route: Mapping[str, Any]) -> str | None:
    preset = next((each for name, each in PRESETS.items() if name == route.get("preset")), None)
    return preset.key_variable if preset and route.get("auth") != "entra" else None


def _secrets_in(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _secrets_in(getattr(value, field))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets_in(item)
