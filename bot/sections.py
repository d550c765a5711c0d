"""The sections of the settings: every field with its default, its limits and its reasons."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

LogLevel = Literal["debug", "info", "warning", "error"]
EVERYONE = "*"
_LOOPBACK_NAMES = ("localhost", "ip6-localhost")


class Secret(SecretStr):
    """A value that prints as `***`; read it with `get_secret_value()`."""

    def _display(self) -> str:
        return "***"


def fault(field: str, why: str) -> PydanticCustomError:
    """A refusal that names a field below the place where a validator runs."""
    return PydanticCustomError("fault", "{why}", {"field": field, "why": why})


def shown_url(url: str) -> str:
    """The URL without user, password and query, fit for a screen or a log line."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def is_loopback(host: str) -> bool:
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listed(value: object) -> object:
    """Lists as TOML gives them, or `a,b` or `["a"]` as an environment variable has them."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            try:
                value = json.loads(text)
            except ValueError:
                return ()
        else:
            value = [part for part in re.split(r"[,\s]+", text) if part]
    if isinstance(value, list | tuple):
        return [str(item) if type(item) is int else item for item in value]
    return value


def ids(shape: str, example: str) -> Any:
    pattern = re.compile(shape)

    def check(ids: tuple[str, ...]) -> tuple[str, ...]:
        if any(item != EVERYONE and not pattern.fullmatch(item) for item in ids):
            raise ValueError(f'ids only, such as {example}, or "*" for everyone; never names')
        return ids

    return AfterValidator(check)


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value.strip())
        usable = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        raise ValueError("must be a URL with http:// or https:// and a host")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; a key belongs in its own field")
    return value.strip().rstrip("/")


def _home(path: Path) -> Path:
    return path.expanduser()


Amount = Annotated[int, Field(ge=0, le=10**12)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
SlackWorkspaces = Annotated[Names, ids(r"[TE][A-Z0-9]+", "T0123ABCD")]
SlackChannels = Annotated[Names, ids(r"[CGD][A-Z0-9]+", "C0123ABCD")]
SlackUsers = Annotated[Names, ids(r"[UW][A-Z0-9]+", "U0123ABCD")]
Snowflakes = Annotated[Names, ids(r"[0-9]{1,20}", "123456789012345678")]
PlatformIds = Annotated[Names, ids(r"[A-Z][A-Z0-9]+|[0-9]{1,20}|[a-z0-9]{26}", "C0123ABCD")]
PlatformUsers = Annotated[
    Names, ids(r"[UW][A-Z0-9]+|[0-9]{1,20}|[a-z0-9]{26}|operator", "U0123ABCD")
]
Url = Annotated[str, AfterValidator(_http_url)]
UserPath = Annotated[Path, AfterValidator(_home)]
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )


class RedisSection(Section):
    url: Secret | None = None  # unset: the embedded server under data_dir
    prefix: str = Field(default="fl", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    allow_volatile: bool = False
    max_connections: int = Field(default=64, ge=2, le=4096)
    timeout_s: float = Field(default=2.0, ge=0.1, le=60, allow_inf_nan=False)
    cluster: bool = False
    wait_replicas: int = Field(default=0, ge=0, le=16)
    wait_timeout_s: float = Field(default=1.0, ge=0.01, le=60, allow_inf_nan=False)
    shards: int = Field(default=4, ge=1, le=64)  # of each adapter's doorbell

    @model_validator(mode="after")
    def _known_scheme(self) -> RedisSection:
        text = self.url.get_secret_value() if self.url else "unix://"
        if not text.startswith(("redis://", "rediss://", "unix://")):
            raise fault("url", "must start with redis://, rediss:// or unix://")
        if self.cluster and text.startswith("unix://"):
            raise fault("cluster", "needs redis.url with the address of one of its nodes")
        if self.wait_replicas and self.url is None:
            raise fault("wait_replicas", "needs redis.url: the embedded server has no replica")
        return self

    @property
    def where(self) -> str:
        """The address without its password."""
        return shown_url(self.url.get_secret_value()) if self.url else "embedded"


class DoorbellSection(Section):
    """What says which conversation to look at; unset, Redis does."""

    url: Secret | None = None
    replicas: int = Field(default=1, ge=1, le=5)

    @model_validator(mode="after")
    def _known_scheme(self) -> DoorbellSection:
        urls = self.url.get_secret_value().split(",") if self.url else []
        if not all(each.strip().startswith(("nats://", "tls://")) for each in urls):
            raise fault("url", "must start with nats:// or tls://; several servers with commas")
        return self

    @property
    def where(self) -> str:
        """The addresses without their passwords."""
        urls = self.url.get_secret_value().split(",") if self.url else []
        return ", ".join(shown_url(each.strip()) for each in urls) or "in Redis"


class SlackAllow(Section):
    workspaces: SlackWorkspaces = ()
    channels: SlackChannels = ()
    users: SlackUsers = ()
    guests: bool = False
    external: bool = False


class SlackPrompt(Section):
    """What Slack suggests to who opens the app; `message` is said by choosing it."""

    title: str = Field(min_length=1, max_length=75)
    message: str = Field(min_length=1, max_length=2000)


class SlackSection(Section):
    bot_token: Secret | None = None
    app_token: Secret | None = None  # unset: HTTP, with signing_secret
    signing_secret: Secret | None = None
    app_id: str | None = Field(default=None, pattern=r"^A[A-Z0-9]{2,20}$")
    http_host: str = "127.0.0.1"  # a reverse proxy with a certificate stands before it
    http_port: int = Field(default=3000, ge=0, le=65535)  # 0: any free port
    public_url: Url | None = None  # as Slack and people reach it
    client_id: str | None = Field(default=None, pattern=r"^[0-9.]{3,64}$")
    client_secret: Secret | None = None
    api_url: Url = "https://slack.com/api"
    updates_per_minute: int = Field(default=45, ge=1, le=100_000)
    agent: bool = False  # declared as an agent in Slack's settings of the app
    streaming: Literal["auto", "edits"] = "auto"  # natively where Slack allows, or by edits only
    prompts: tuple[SlackPrompt, ...] | None = Field(default=None, max_length=4)  # None: ours
    feedback: bool = True  # 👍 and 👎 under answers
    allow: SlackAllow = SlackAllow()

    @model_validator(mode="after")
    def _tokens_fit(self) -> SlackSection:
        for field, start in (("bot_token", "xoxb-"), ("app_token", "xapp-")):
            token: Secret | None = getattr(self, field)
            if token and not token.get_secret_value().startswith(start):
                raise fault(field, f"must be a token that starts with {start}")
        if self.app_token and not (self.bot_token or self.client_id):
            raise fault("bot_token", "is needed too: Socket Mode takes both Slack tokens")
        if self.bot_token and not (self.app_token or self.signing_secret):
            raise fault(
                "app_token",
                "is needed too: Socket Mode takes both Slack tokens (or set"
                " slack.signing_secret to be told over HTTP)",
            )
        return self

    @model_validator(mode="after")
    def _can_be_installed(self) -> SlackSection:
        parts = ("client_id", "client_secret", "public_url", "signing_secret")
        if self.client_id or self.client_secret:
            for field in parts:
                if getattr(self, field) is None:
                    raise fault(field, "is needed too: installing takes all of " + ", ".join(parts))
        if self.signing_secret and not (self.bot_token or self.client_id):
            raise fault("bot_token", "is needed too, or client_id for workspaces to install it")
        return self

    @property
    def over_http(self) -> bool:
        return self.signing_secret is not None and self.app_token is None

    @property
    def enabled(self) -> bool:
        return self.bot_token is not None or self.client_id is not None


class DiscordAllow(Section):
    """Direct messages are governed by `users` alone."""

    guilds: Snowflakes = ()
    channels: Snowflakes = ()
    users: Snowflakes = ()


class DiscordSection(Section):
    token: Secret | None = None
    api_url: Url = "https://discord.com/api/v10"
    gateway_url: Url | None = None  # unset: the API tells
    shard_count: int | None = Field(default=None, ge=1, le=10_000)  # unset: no sharding
    shard_ids: tuple[int, ...] = ()  # those this process serves; empty: all of them
    feedback: bool = True  # 👍 and 👎 under answers
    allow: DiscordAllow = DiscordAllow()

    @model_validator(mode="after")
    def _shards_exist(self) -> DiscordSection:
        if self.shard_ids and self.shard_count is None:
            raise fault("shard_count", "is needed beside shard_ids: how many there are in all")
        count = self.shard_count or 1
        if bad := sorted(each for each in self.shard_ids if not 0 <= each < count):
            raise fault("shard_ids", f"must lie between 0 and {count - 1}, not {bad}")
        return self

    @property
    def enabled(self) -> bool:
        return self.token is not None


class PlannerSection(Section):
    max_steps: int = Field(default=8, ge=1, le=64)
    turn_timeout_s: float = Field(default=180, ge=1, le=3600, allow_inf_nan=False)
    max_answer_tokens: int = Field(default=1024, ge=16, le=32_768)
    first_token_timeout_s: float = Field(default=30, gt=0, le=600, allow_inf_nan=False)
    gap_timeout_s: float = Field(default=20, gt=0, le=600, allow_inf_nan=False)
    persona: str = Field(default="", max_length=4000)


class LimitsSection(Section):
    max_message_chars: int = Field(default=100_000, ge=100, le=1_000_000)
    max_attachment_bytes: int = Field(default=20 * 1024 * 1024, ge=1024, le=100 * 1024 * 1024)
    max_attachments: int = Field(default=8, ge=0, le=64)
    max_document_tokens: int = Field(default=3_000, ge=100, le=100_000)
    max_waiting: int = Field(default=20, ge=1, le=1000)
    max_parts: int = Field(default=10, ge=1, le=100)


class KnowledgeSection(Section):
    """When a question counts as answered by the documents; `firstline eval` tells how well."""

    nearness: float = Field(default=0.87, ge=-1, le=1)
    words: float = Field(default=0.45, ge=0, le=1)
    alike: float = Field(default=0.855, ge=-1, le=1)  # of a claim and a passage that mean the same
    rerank: str = Field(default="", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class BudgetSection(Section):
    """What one day of UTC may cost; 0 is no limit. Tokens of local routes are free unless
    `count_local`; presses are the cards that ask for one."""

    tokens_per_user_day: Amount = 0
    tokens_per_channel_day: Amount = 0
    tokens_per_tenant_day: Amount = 0
    turns_per_user_day: Amount = 0
    turns_per_channel_day: Amount = 0
    turns_per_tenant_day: Amount = 0
    bytes_per_user_day: Amount = 0
    bytes_per_channel_day: Amount = 0
    bytes_per_tenant_day: Amount = 0
    presses_per_user_day: Amount = 0
    presses_per_channel_day: Amount = 0
    presses_per_tenant_day: Amount = 0
    count_local: bool = False


class TurnsSection(Section):
    lease_s: float = Field(default=30, ge=1, le=600, allow_inf_nan=False)
    renew_s: float = Field(default=10, ge=0.1, le=300, allow_inf_nan=False)
    workers: int = Field(default=64, ge=1, le=4096)
    max_deaths: int = Field(default=3, ge=1, le=20)
    sweep_s: float = Field(default=1, ge=0.1, le=300, allow_inf_nan=False)

    @model_validator(mode="after")
    def _renewed_in_time(self) -> TurnsSection:
        if self.renew_s > self.lease_s / 2:
            raise fault("renew_s", "must be at most half of turns.lease_s")
        return self


class MemorySection(Section):
    """How long what was said is kept, and whether it is encrypted where it lies."""

    retention_days: int = Field(default=30, ge=1, le=3650)
    audit_days: int = Field(default=365, ge=1, le=3650)  # of the audit log
    key_file: UserPath | None = None  # 64 hex digits; unset: plain
    key: Secret | None = None  # the same, for the environment
    old_key_files: tuple[UserPath, ...] = ()
    read_plain: bool = False

    @model_validator(mode="after")
    def _one_key(self) -> MemorySection:
        if self.key is not None and self.key_file is not None:
            raise fault("key", "is given twice; keep either memory.key or memory.key_file")
        if (self.old_key_files or self.read_plain) and not self.is_encrypted:
            raise fault("key_file", "is needed for memory.old_key_files and memory.read_plain")
        return self

    @property
    def is_encrypted(self) -> bool:
        return self.key is not None or self.key_file is not None

    @property
    def retention_s(self) -> int:
        return self.retention_days * 24 * 3600


class WebSection(Section):
    """The page and /healthz, /readyz, /metrics share one server; `enabled` is the page."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)  # 0: any free port

    @model_validator(mode="after")
    def _loopback_only(self) -> WebSection:
        if not is_loopback(self.host):
            raise fault(
                "host",
                "must be a loopback address (127.0.0.1, ::1 or localhost): the page has no "
                "login yet; reach it from elsewhere through an SSH tunnel",
            )
        return self
