from __future__ import annotations

import re
from pathlib import Path

from adapters.chat.slack_api import NEEDED_SCOPES

DOCS = Path(__file__).parents[3] / "docs"


def test_the_manifest_asks_for_the_scopes_that_doctor_checks_and_no_others() -> None:
    manifest = (DOCS / "slack-manifest.yaml").read_text(encoding="utf-8")
    scopes = re.findall(
        r"^      - ([a-z_]+(?::[a-z]+)?)$", manifest.partition("settings:")[0], re.M
    )

    assert tuple(scopes) == NEEDED_SCOPES
    assert "socket_mode_enabled: true" in manifest


def test_the_page_explains_every_scope() -> None:
    page = (DOCS / "slack.md").read_text(encoding="utf-8")

    assert [scope for scope in NEEDED_SCOPES if f"`{scope}`" not in page] == []
