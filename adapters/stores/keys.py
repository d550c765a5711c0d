"""Every Redis key of this project, built here and nowhere else."""

from __future__ import annotations

from tools.identity import ConversationKey, tenant_tag

VERSION = "v1"
_OF_A_CONVERSATION = (
    "lease",
    "fence",
    "line",
    "turn",
    "steps",
    "outbox",
    "memory",
    "pins",
    "recap",
    "answers",
    "last",
)


def literally(text: str) -> str:
    """`text` as a pattern of SCAN that matches nothing else."""
    return "".join(f"\\{each}" if each in "*?[]\\^-" else each for each in text)


class Keys:
    """Key names under one prefix; ids are length-prefixed, so none can imitate another."""

    def __init__(self, prefix: str) -> None:
        self._root = f"{prefix}:{VERSION}:"

    def of(self, key: ConversationKey) -> list[str]:
        """lease, fence, line, turn, steps, outbox, memory, pins, recap, answers, last, due:
        the scripts' order."""
        base = f"{self._root}{key}:"
        return [*(base + name for name in _OF_A_CONVERSATION), self.due(key.tenant)]

    def memory(self, key: ConversationKey) -> str:
        return f"{self._root}{key}:memory"

    def recap(self, key: ConversationKey) -> str:
        return f"{self._root}{key}:recap"

    def answers(self, key: ConversationKey) -> str:
        return f"{self._root}{key}:answers"

    def last(self, key: ConversationKey) -> str:
        return f"{self._root}{key}:last"

    def turn(self, key: ConversationKey) -> str:
        return f"{self._root}{key}:turn"

    def pins(self, key: ConversationKey) -> str:
        return f"{self._root}{key}:pins"

    def channel_pins(self, key: ConversationKey) -> str:
        """What was pinned for the whole channel: its conversations start from it."""
        return self.pins(ConversationKey(key.tenant, key.place, key.channel))

    def blob(self, key: ConversationKey, sha256: str) -> str:
        return f"{self._root}{key}:blob:{sha256}"

    def blobs(self, key: ConversationKey) -> str:
        """The names of a conversation's blobs, with the turns that brought them."""
        return f"{self._root}{key}:blobs"

    def approvals(self, key: ConversationKey) -> str:
        """What the bot asked for in a conversation, and what was decided."""
        return f"{self._root}{key}:approvals"

    def open_approvals(self, tenant: str, user_id: str) -> str:
        """What waits for one person."""
        return f"{self._root}{tenant_tag(tenant)}:open:{len(user_id)}:{user_id}"

    def blob_start(self, key: ConversationKey) -> str:
        """How the keys of a conversation's blobs begin."""
        return self.blob(key, "")

    def record(self, key: ConversationKey, kind: str) -> str:
        """The name that a sealed record of a conversation is bound to, wherever it is moved."""
        return f"{self._root}{key}:{kind}"

    def facts(self, tenant: str, user_id: str) -> str:
        return f"{self.facts_start(tenant)}{len(user_id.encode())}:{user_id}"

    def facts_start(self, tenant: str) -> str:
        """How the keys of people's facts begin; then the length of the id in bytes, and the id."""
        return f"{self._root}{tenant_tag(tenant)}:facts:"

    def sealing(self) -> str:
        """The tenants' data keys, each wrapped by the master key."""
        return f"{self._root}sealing"

    def tenant_start(self, tenant: str) -> str:
        """How every key of a tenant begins, and no other's."""
        return f"{self._root}{tenant_tag(tenant)}"

    def due(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:due"

    def closed(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:closed"

    def every(self, kind: str) -> str:
        """A pattern that matches the keys of one kind, of every tenant."""
        return f"{literally(self._root)}{{*}}:{kind}"

    def dead(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:dead"

    def marks(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:marks"

    def seen(self, tenant: str, event_id: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:seen:{len(event_id)}:{event_id}"

    def spent(self, tenant: str, day: str, kind: str, name: str) -> str:
        """A day's counter of one person or channel; `day` is YYYY-MM-DD, in UTC."""
        return f"{self._root}{tenant_tag(tenant)}:spent:{day}:{kind}:{len(name)}:{name}"

    def threads(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:threads"

    def journal(self, tenant: str) -> str:
        """The audit log."""
        return f"{self._root}{tenant_tag(tenant)}:journal"

    def journal_head(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:journal-head"

    def reminders(self, tenant: str) -> str:
        """What the bot will say later; `later` is the order of it."""
        return f"{self._root}{tenant_tag(tenant)}:reminders"

    def later(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:later"

    def hand_overs(self, tenant: str) -> str:
        """Conversations that a person has taken over."""
        return f"{self._root}{tenant_tag(tenant)}:hand-overs"

    def feedback(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:feedback"

    def feedback_order(self, tenant: str) -> str:
        return f"{self._root}{tenant_tag(tenant)}:feedback-order"

    def identifies(self, adapter: str) -> str:
        return f"{self._root}identifies:{adapter}"

    def bell(self, adapter: str, shard: int = 0) -> str:
        """The shards of an adapter share a cluster slot: one command reads them all."""
        return f"{self._root}{{bell:{adapter}}}:{shard}"

    def tenants(self, adapter: str) -> str:
        return f"{self._root}tenants:{adapter}"

    def leaving(self) -> str:
        """Tenants that removed the bot, by when that was noticed."""
        return f"{self._root}leaving"

    def installs(self, adapter: str) -> str:
        """Where the app was installed, each record sealed."""
        return f"{self._root}installs:{adapter}"

    def installs_changed(self, adapter: str) -> str:
        return f"{self._root}installs-changed:{adapter}"

    def once(self, name: str) -> str:
        """What may have its effect once; `name` is of our own making."""
        return f"{self._root}once:{name}"
