"""The pytest plugin `firstline.testing`: a whole conversation in a test of a few lines.

Fixtures: `slack_twin`, `discord_twin`, `mattermost_twin` (for a bot of any make), `scripted_model`,
`slack_conversation`, `discord_conversation`, `mattermost_conversation`, and `firstline_settings`,
which a test module overrides to set something. Without pytest-asyncio there are none.
"""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("pytest_asyncio") is not None:
    from bot.testing.fixtures import (
        discord_conversation,
        discord_twin,
        firstline_settings,
        mattermost_conversation,
        mattermost_twin,
        scripted_model,
        slack_conversation,
        slack_twin,
    )

    __all__ = [
        "discord_conversation",
        "discord_twin",
        "firstline_settings",
        "mattermost_conversation",
        "mattermost_twin",
        "scripted_model",
        "slack_conversation",
        "slack_twin",
    ]
