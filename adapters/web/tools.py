"""The web's two tools. Both leave the house by their arguments, and bring strangers' words back."""

from __future__ import annotations

from typing import Annotated

import structlog
from pydantic import Field

from adapters.web.client import SafeClient
from adapters.web.errors import WebFailed, WebRefused
from adapters.web.reading import readable
from adapters.web.search import SearchProvider
from tools.contract import Tool, ToolError
from tools.decorator import tool

log = structlog.get_logger(__name__)

_REFUSED = "this address may not be opened"


def web_page_tool(client: SafeClient) -> Tool:
    @tool(
        effect="egress",
        idempotency="natural",
        example=("What does https://example.org/news say?", {"url": "https://example.org/news"}),
    )
    async def read_web_page(url: Annotated[str, Field(max_length=400)]) -> str:
        """Read the text of a web page."""
        try:
            return readable(await client.get(url))
        except WebRefused as error:
            log.warning("web.refused", reason=error.reason)
            raise ToolError(_REFUSED) from None
        except WebFailed as error:
            raise ToolError(str(error)) from None

    return read_web_page


def web_search_tool(provider: SearchProvider) -> Tool:
    @tool(
        effect="egress",
        idempotency="natural",
        example=("Search the web for hiking shoes", {"query": "hiking shoes"}),
    )
    async def search_web(query: Annotated[str, Field(max_length=200)]) -> str:
        """Search the web."""
        try:
            found = await provider.search(query)
        except WebRefused as error:
            log.warning("web.refused", reason=error.reason)
            raise ToolError("the search service can't be reached from here") from None
        except WebFailed as error:
            raise ToolError(str(error)) from None
        lines = (f"- {each.title} <{each.url}>\n  {each.snippet}" for each in found)
        return "\n".join(lines) or "nothing was found"

    return search_web
