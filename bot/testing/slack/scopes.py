"""What an app is granted when it is installed, unless a test takes something away."""

from __future__ import annotations

ALL_SCOPES = frozenset(
    {
        f"{kind}:{verb}"
        for kind in ("channels", "groups", "im", "mpim")
        for verb in ("history", "read")
    }
    | {"app_mentions:read", "chat:write", "commands", "files:read", "files:write"}
    | {"users:read", "assistant:write"}
)
