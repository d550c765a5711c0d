"""What the bot sends to the fake Slack, held against the models of slack_sdk: blocks and views."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

Json = dict[str, Any]


def faults_of(method: str, args: Json) -> Iterator[str]:
    """Where a call's blocks or view would not be taken, by the SDK's own validators."""
    blocks, view = args.get("blocks"), args.get("view")
    if view is not None:
        given: Json = json.loads(view) if isinstance(view, str) else view
        yield from _checked(f"{method}: view", View(**given))
        blocks = given.get("blocks")
    for block in blocks or ():
        parsed = Block.parse(block)
        if parsed is None:
            yield f"{method}: {block.get('type')!r} is no block"
            continue
        yield from _checked(f"{method}: {block.get('type')}", parsed)
        if unknown := block.keys() - {*vars(parsed), *parsed.attributes}:
            yield f"{method}: {block.get('type')} has no {sorted(unknown)}"


def _checked(what: str, parsed: Block | View) -> Iterator[str]:
    try:
        parsed.validate_json()
    except SlackObjectFormationError as error:
        yield f"{what}: {error}"
