"""LongRoPE: which of a model's two sets of factors a conversation is read with.

The library takes the set by each pass's last position, so a prompt read in pieces, or kept and
grown, would mix keys of both. Here a conversation has one set from its first token on.
"""

from __future__ import annotations

from typing import Any


class LongRope:
    """Reads with the long factors while `long` is set. No limit: the model has one set."""

    def __init__(self, torch: Any, model: Any, config: dict[str, Any]) -> None:
        self.long = False
        self.limit = _limit(config)
        if self.limit is not None:
            self._torch, rotary = torch, model.get_decoder().rotary_emb
            self._inner = rotary.forward
            rotary.forward = self._forward

    def needed(self, tokens: int) -> bool:
        """Whether a conversation that may grow to `tokens` needs the long factors."""
        return self.limit is not None and tokens > self.limit

    def _forward(self, x: Any, position_ids: Any) -> tuple[Any, Any]:
        if not self.long:
            cos, sin = self._inner(x, position_ids=position_ids)
            return cos, sin
        beyond = position_ids.new_full((position_ids.shape[0], 1), self.limit)
        positions = self._torch.cat([position_ids, beyond], dim=1)
        cos, sin = self._inner(x, position_ids=positions)
        return cos[:, :-1], sin[:, :-1]


def _limit(config: dict[str, Any]) -> int | None:
    """Tokens that the short factors are for."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind not in ("longrope", "su"):
        return None
    limit = scaling.get("original_max_position_embeddings")
    limit = limit or config.get("original_max_position_embeddings")
    return int(limit) if limit else None
