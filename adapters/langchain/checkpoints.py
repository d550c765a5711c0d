"""A LangGraph checkpoint saver on plain Redis commands: strings, hashes and sorted sets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import redis
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from redis.exceptions import RedisError

from adapters.langchain.checkpoint_cipher import sealed_serde
from adapters.langchain.checkpoint_keys import ThreadKeys
from adapters.langchain.checkpoint_records import Operation, Records, Result
from adapters.stores.connection import connect
from adapters.stores.errors import StoreUnavailable


class RedisSaver(BaseCheckpointSaver[int]):
    """Checkpoints in any Redis from 6.2 on; `ttl_s` counts from a thread's last write.

    Only types on LangGraph's list of safe types come back as objects; give `serde` a
    `JsonPlusSerializer(allowed_msgpack_modules=[...])` for types of your own. Raises
    `StoreUnavailable` when Redis does not answer within `timeout_s`. Close it with `aclose`,
    or `close` where only the blocking forms were used.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "fl",
        ttl_s: int | None = None,
        timeout_s: float = 5.0,
        serde: SerializerProtocol | None = None,
        key: str | None = None,
        old_keys: Sequence[str] = (),
    ) -> None:
        """With `key` (64 hex digits) values are encrypted; `old_keys` are only read."""
        serde = serde or JsonPlusSerializer(allowed_msgpack_modules=None)
        super().__init__(serde=sealed_serde(serde, key, old_keys))
        self._keys, self._ttl_s = ThreadKeys(prefix), ttl_s
        self._async = connect(url, timeout_s=timeout_s)
        self._blocking = redis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )

    @property
    def _records(self) -> Records:
        return Records(self._keys, self.serde, self._ttl_s)

    def close(self) -> None:
        self._blocking.close()

    async def aclose(self) -> None:
        await self._async.aclose()
        await self._async.connection_pool.disconnect()
        self.close()

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._run(self._records.get(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._arun(self._records.get(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 (LangGraph's name)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Newest first, over all namespaces and threads the config leaves open."""
        for point in self._run(self._records.find(config, before)):
            if limit is not None and limit <= 0:
                return
            if found := self._run(self._records.load(point, filter)):
                limit = None if limit is None else limit - 1
                yield found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 (LangGraph's name)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Newest first, over all namespaces and threads the config leaves open."""
        for point in await self._arun(self._records.find(config, before)):
            if limit is not None and limit <= 0:
                return
            if found := await self._arun(self._records.load(point, filter)):
                limit = None if limit is None else limit - 1
                yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self._run(self._records.put(config, checkpoint, metadata))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._arun(self._records.put(config, checkpoint, metadata))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self._run(self._records.put_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await self._arun(self._records.put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self._run(self._records.delete_thread(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._arun(self._records.delete_thread(thread_id))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._run(self._records.copy_thread(source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything of the thread; what the target had is replaced."""
        await self._arun(self._records.copy_thread(source_thread_id, target_thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._run(self._records.delete_for_runs(run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the runs' checkpoints; looks through all threads of the prefix."""
        await self._arun(self._records.delete_for_runs(run_ids))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._run(self._records.prune(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep the latest of each namespace; one with delta channels is left whole."""
        await self._arun(self._records.prune(thread_ids, strategy))

    def _run(self, operation: Operation[Result]) -> Result:
        replies: list[Any] | None = None
        while True:
            try:
                commands = operation.send(replies) if replies is not None else next(operation)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                with self._blocking.pipeline(transaction=True) as pipeline:
                    for words in commands:
                        pipeline.execute_command(*words)  # type: ignore[no-untyped-call]
                    replies = pipeline.execute()
            except (RedisError, OSError) as error:
                raise _unavailable(error) from error

    async def _arun(self, operation: Operation[Result]) -> Result:
        replies: list[Any] | None = None
        while True:
            try:
                commands = operation.send(replies) if replies is not None else next(operation)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                async with self._async.pipeline(transaction=True) as pipeline:
                    for words in commands:
                        pipeline.execute_command(*words)
                    replies = await pipeline.execute()
            except (RedisError, OSError) as error:
                raise _unavailable(error) from error


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"Redis could not keep or give a checkpoint: {type(error).__name__}")
