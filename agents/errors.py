"""Errors of the agent layer.

AgentError
├── BackendError          a model backend failed; `retryable` lets the router go on
│   ├── PromptTooLong     refused before it was sent
│   └── RouteRetired      the model is gone for good; names the replacement
└── NoRouteError          every route of a role was tried, or there is none
"""

from __future__ import annotations


class AgentError(Exception):
    """Root of this layer's errors. Messages carry no user text and no secret."""


class BackendError(AgentError):
    """A model backend failed; `retryable` lets the router try the next route."""

    def __init__(self, backend: str, detail: str, *, retryable: bool) -> None:
        super().__init__(f"backend {backend!r}: {detail}")
        self.backend, self.detail, self.retryable = backend, detail, retryable


class PromptTooLong(BackendError):
    """The prompt does not fit; counted and refused before anything was sent."""

    def __init__(self, backend: str, tokens: int, limit: int) -> None:
        detail = f"prompt of {tokens} tokens is over the limit of {limit}; shorten the input"
        super().__init__(backend, detail, retryable=True)
        self.tokens, self.limit = tokens, limit


class RouteRetired(BackendError):
    """The service no longer has this model (HTTP 404 or 410)."""

    def __init__(self, backend: str, model: str, replacement: str | None) -> None:
        advice = f"; use {replacement!r}" if replacement else "; choose another model"
        super().__init__(
            backend, f"model {model!r} is not served (any more){advice}", retryable=True
        )
        self.model, self.replacement = model, replacement


class NoRouteError(AgentError):
    """No route could serve the role; `tried` holds (route, reason) pairs."""

    def __init__(self, role: str, tried: tuple[tuple[str, str], ...]) -> None:
        reasons = "; ".join(f"{route}: {reason}" for route, reason in tried) or "none is configured"
        super().__init__(f"no route can serve role {role!r} ({reasons})")
        self.role, self.tried = role, tried
