"""The settings of tools: the operator's own, those for the web, and who may use which."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from bot.sections import (
    EVERYONE,
    Names,
    PlatformIds,
    PlatformUsers,
    Secret,
    Section,
    Url,
    UserPath,
    fault,
)
from tools.contract import Effect, Idempotency
from tools.toolbox import OPTIONAL

ServerName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,15}$")]


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    shape = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+")
    if any(host != EVERYONE and not shape.fullmatch(host) for host in hosts):
        raise ValueError('names of hosts such as example.org or *.example.org, or "*" for any')
    return hosts


def _teams(channels: dict[str, str]) -> dict[str, str]:
    shape = re.compile(r"(slack|mattermost)(:[A-Za-z0-9]+)?|discord:[0-9]{1,20}")
    for named in channels:
        if not shape.fullmatch(named):
            raise ValueError(
                f"{named!r} names no workspace; write slack, slack:T0123 or discord:SERVER_ID"
            )
    return channels


def _optional(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := set(names) - set(OPTIONAL):
        known = ", ".join(OPTIONAL)
        raise ValueError(f"there is no {min(unknown)!r}; to switch on there are: {known}")
    return names


class HandOverSection(Section):
    """Where the team reads that a person is needed: a channel by tenant (`"slack:T0123"`,
    `"discord:GUILD"`), or by platform (`slack`, `mattermost`) for whichever workspace asks."""

    channels: Annotated[dict[str, str], AfterValidator(_teams)] = Field(default_factory=dict)


class TicketsSection(Section):
    """Where tickets go: JSON is posted to this address, a call's key in `Idempotency-Key`."""

    url: Url | None = None
    key: Secret | None = None  # sent as a bearer token


class PinSection(Section):
    """One approved tool of an MCP server, as `firstline mcp pin` prints it."""

    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    effect: Effect = "destructive"
    idempotency: Idempotency = "none"


class McpSection(Section):
    """One MCP server: a program, or an address."""

    command: Names = ()
    env: dict[str, Secret] = Field(default_factory=dict)  # beside what a login shell has
    url: Url | None = None
    key: Secret | None = None  # sent to the address as a bearer token
    version: str = ""  # as approved
    tools: dict[str, PinSection] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> McpSection:
        if bool(self.command) == (self.url is not None):
            raise fault("command", "give either the program of the server or its url")
        return self


class GrantSection(Section):
    """Who may use one tool, and where; a list that is not given limits nothing, an empty one
    names nobody. In direct messages the person alone counts."""

    users: PlatformUsers | None = None
    channels: PlatformIds | None = None
    approvers: PlatformUsers | None = None  # who may press, in the place of who asked


class WebToolsSection(Section):
    """Which hosts a model may open: names, `*.example.org` for all below one, `*` for any."""

    hosts: Annotated[Names, AfterValidator(_hosts)] = ()


class SearchSection(Section):
    """Who searches the web for the bot."""

    provider: Literal["searxng", "brave"] | None = None
    url: Url | None = None  # of your SearXNG, which must allow format=json
    key: Secret | None = None  # of Brave's API

    @model_validator(mode="after")
    def _complete(self) -> SearchSection:
        if self.provider == "searxng" and self.url is None:
            raise fault("url", "give the address of your SearXNG")
        if self.provider == "brave" and self.key is None:
            raise fault("key", "give the key of Brave's search API")
        return self


class ToolsSection(Section):
    file: UserPath | None = None
    enabled: Annotated[Names, AfterValidator(_optional)] = ()  # of those that are off by default
    disabled: Names = ()
    web: WebToolsSection = WebToolsSection()
    search: SearchSection = SearchSection()
    tickets: TicketsSection = TicketsSection()
    mcp: dict[ServerName, McpSection] = Field(default_factory=dict)  # by a name of yours
    grants: dict[str, GrantSection] = Field(default_factory=dict)  # by the tool's name

    @model_validator(mode="after")
    def _readable(self) -> ToolsSection:
        if self.file is not None and not self.file.is_file():
            raise fault("file", "no such file; give the path of your own tools' Python file")
        return self
