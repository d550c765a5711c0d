"""Checkpoints as Redis keys: each operation as the commands it sends, without sending them.

Of every thread and namespace there are four keys, which live, expire and go together:

    ids      sorted set of checkpoint ids, all with score 0: their order is the ids' own
    points   hash, checkpoint id -> record
    marks    sorted set of write marks, in the order of a checkpoint's writes
    writes   hash, write mark -> record

and per thread the set of its namespaces. A record is one line of JSON and then the bytes of
LangGraph's own serialiser.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from adapters.langchain.checkpoint_keys import KINDS, Point, Space, ThreadKeys

Words = tuple[Any, ...]
Result = TypeVar("Result")
# An operation yields lists of commands, each one transaction, and receives their replies, so
# the blocking and the async form of the saver run the same steps.
Operation = Generator[Sequence[Words], list[Any], Result]


@dataclass(frozen=True, slots=True)
class Records:
    """The operations on one prefix, with one serialiser."""

    keys: ThreadKeys
    serde: SerializerProtocol
    ttl_s: int | None

    def get(self, config: RunnableConfig) -> Operation[CheckpointTuple | None]:
        space = _space(config)
        wanted = get_checkpoint_id(config)
        if wanted is None:
            [newest] = yield [
                ("ZREVRANGEBYLEX", self.keys.of(space, "ids"), "+", "-", "LIMIT", 0, 1)
            ]
            if not newest:
                return None
            wanted = newest[0].decode()
        return (yield from self.load(Point(wanted, space), None))

    def load(
        self, point: Point, wanted: Mapping[str, Any] | None
    ) -> Operation[CheckpointTuple | None]:
        space = point.space
        record, marks = yield [
            ("HGET", self.keys.of(space, "points"), point.checkpoint_id),
            self._marks(point),
        ]
        if record is None:
            return None
        [parent, kind, metadata_kind, size], body = _opened(record)
        metadata = self.serde.loads_typed((metadata_kind, body[:size]))
        if wanted and any(metadata.get(key) != value for key, value in wanted.items()):
            return None
        writes: list[bytes | None] = []
        if marks:
            [writes] = yield [("HMGET", self.keys.of(space, "writes"), *marks)]
        return CheckpointTuple(
            config=_config(point),
            checkpoint=self.serde.loads_typed((kind, body[size:])),
            metadata=metadata,
            parent_config=_config(Point(parent, space)) if parent else None,
            pending_writes=[self._write(each) for each in writes if each is not None],
        )

    def _write(self, record: bytes) -> tuple[str, str, Any]:
        [task_id, channel, kind], body = _opened(record)
        return task_id, channel, self.serde.loads_typed((kind, body))

    def find(
        self, config: RunnableConfig | None, before: RunnableConfig | None
    ) -> Operation[list[Point]]:
        spaces = yield from self._spaces(config)
        newest = get_checkpoint_id(before) if before else None
        upper = f"({newest}" if newest else "+"
        if not spaces:
            return []
        found = yield [
            ("ZREVRANGEBYLEX", self.keys.of(space, "ids"), upper, "-") for space in spaces
        ]
        wanted = get_checkpoint_id(config) if config else None
        points = [
            Point(each.decode(), space)
            for space, ids in zip(spaces, found, strict=True)
            for each in ids
        ]
        points = [point for point in points if wanted in (None, point.checkpoint_id)]
        return sorted(points, key=lambda point: point.checkpoint_id, reverse=True)

    def _spaces(self, config: RunnableConfig | None) -> Operation[list[Space]]:
        if config and config["configurable"].get("checkpoint_ns") is not None:
            return [_space(config)]
        if config:
            threads = [str(config["configurable"]["thread_id"])]
        else:
            [members] = yield [("SMEMBERS", self.keys.threads)]
            threads = sorted(each.decode() for each in members)
        if not threads:
            return []
        names = yield [("SMEMBERS", self.keys.spaces(thread)) for thread in threads]
        gone = [thread for thread, found in zip(threads, names, strict=True) if not found]
        if gone and not config:  # expired: forget their names too
            yield [("SREM", self.keys.threads, *gone)]
        return [
            Space(thread, name.decode())
            for thread, found in zip(threads, names, strict=True)
            for name in sorted(found)
        ]

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> Operation[RunnableConfig]:
        space, parent = _space(config), get_checkpoint_id(config)
        point = Point(checkpoint["id"], space)
        kind, body = self.serde.dumps_typed(checkpoint)
        told = get_serializable_checkpoint_metadata(config, metadata)
        metadata_kind, metadata_body = self.serde.dumps_typed(told)
        head = (parent, kind, metadata_kind, len(metadata_body))
        yield [
            *self._known(space),
            ("ZADD", self.keys.of(space, "ids"), 0, point.checkpoint_id),
            (
                "HSET",
                self.keys.of(space, "points"),
                point.checkpoint_id,
                _sealed(head, metadata_body + body),
            ),
            *self._expiry(space),
        ]
        return _config(point)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> Operation[None]:
        point = Point(config["configurable"]["checkpoint_id"], _space(config))
        commands: list[Words] = []
        for place, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, place)
            mark = point.mark(task_path, task_id, index)
            kind, body = self.serde.dumps_typed(value)
            # A task that runs again keeps its first writes; errors and interrupts are renewed.
            command = "HSETNX" if index >= 0 else "HSET"
            record = _sealed((task_id, channel, kind), body)
            commands += [
                ("ZADD", self.keys.of(point.space, "marks"), 0, mark),
                (command, self.keys.of(point.space, "writes"), mark, record),
            ]
        if commands:
            yield [*self._known(point.space), *commands, *self._expiry(point.space)]

    def _known(self, space: Space) -> list[Words]:
        return [
            ("SADD", self.keys.threads, space.thread),
            ("SADD", self.keys.spaces(space.thread), space.name),
        ]

    def _expiry(self, space: Space) -> list[Words]:
        if self.ttl_s is None:
            return []
        keys = [self.keys.spaces(space.thread), *(self.keys.of(space, kind) for kind in KINDS)]
        return [("EXPIRE", key, self.ttl_s) for key in keys]

    def delete_thread(self, thread: str) -> Operation[None]:
        spaces = yield from self._spaces({"configurable": {"thread_id": thread}})
        keys = [self.keys.of(space, kind) for space in spaces for kind in KINDS]
        yield [
            ("DEL", self.keys.spaces(thread), *keys),
            ("SREM", self.keys.threads, thread),
        ]

    def copy_thread(self, source: str, target: str) -> Operation[None]:
        spaces = yield from self._spaces({"configurable": {"thread_id": source}})
        if not spaces or source == target:
            return
        yield from self.delete_thread(target)
        copies = [
            ("COPY", self.keys.of(space, kind), self.keys.of(Space(target, space.name), kind))
            for space in spaces
            for kind in KINDS
        ]
        whole = ("COPY", self.keys.spaces(source), self.keys.spaces(target))
        yield [whole, *copies, ("SADD", self.keys.threads, target)]

    def delete_for_runs(self, run_ids: Sequence[str]) -> Operation[None]:
        for point in (yield from self.find(None, None)):
            found = yield from self.load(point, None)
            if found and found.metadata.get("run_id") in run_ids:
                yield from self._drop(point)

    def prune(self, threads: Sequence[str], strategy: str) -> Operation[None]:
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"prune strategy {strategy!r} is unknown; use keep_latest or delete")
        for thread in threads:
            if strategy == "delete":
                yield from self.delete_thread(thread)
                continue
            for space in (yield from self._spaces({"configurable": {"thread_id": thread}})):
                yield from self._keep_latest(space)

    def _keep_latest(self, space: Space) -> Operation[None]:
        """Where channels are stored as deltas, nothing goes: the latest needs its ancestors."""
        points = yield from self.find(_config_of(space), None)
        latest = (yield from self.load(points[0], None)) if len(points) > 1 else None
        if latest is None or latest.metadata.get("counters_since_delta_snapshot"):
            return
        for point in points[1:]:
            yield from self._drop(point)

    def _drop(self, point: Point) -> Operation[None]:
        space = point.space
        [marks] = yield [self._marks(point)]
        commands: list[Words] = [
            ("ZREM", self.keys.of(space, "ids"), point.checkpoint_id),
            ("HDEL", self.keys.of(space, "points"), point.checkpoint_id),
        ]
        if marks:
            commands += [
                ("ZREM", self.keys.of(space, "marks"), *marks),
                ("HDEL", self.keys.of(space, "writes"), *marks),
            ]
        yield commands

    def _marks(self, point: Point) -> Words:
        between = (f"[{point.marks_from}", f"({point.marks_to}")
        return ("ZRANGEBYLEX", self.keys.of(point.space, "marks"), *between)


def _space(config: RunnableConfig) -> Space:
    where = config["configurable"]
    return Space(str(where["thread_id"]), where.get("checkpoint_ns") or "")


def _config_of(space: Space) -> RunnableConfig:
    return {"configurable": {"thread_id": space.thread, "checkpoint_ns": space.name}}


def _config(point: Point) -> RunnableConfig:
    where = _config_of(point.space)["configurable"]
    return {"configurable": {**where, "checkpoint_id": point.checkpoint_id}}


def _sealed(head: Sequence[object], body: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + body


def _opened(record: bytes) -> tuple[list[Any], bytes]:
    head, _, body = record.partition(b"\n")
    return json.loads(head), body
