"""An executor for vLLM's engine that executes nothing: every prompt is answered at once with the same token."""

from __future__ import annotations

from typing import Any

from vllm.v1.executor.uniproc_executor import UniProcExecutor
from vllm.v1.outputs import ModelRunnerOutput


class StubExecutor(UniProcExecutor):
    """Loads the model, and then leaves it alone."""

    supports_async_scheduling = classmethod(lambda cls: False)  # type: ignore[assignment]

    def _init_executor(self) -> None:
        super()._init_executor()
        self._prompt_tokens: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        """One token for each request whose prompt is complete."""
        from concurrent.futures import Future

        for new in scheduler_output.scheduled_new_reqs:
            self._prompt_tokens[new.req_id] = len(new.prompt_token_ids)
            self._done[new.req_id] = new.num_computed_tokens
        asked = scheduler_output.num_scheduled_tokens
        for request, count in asked.items():
            self._done[request] += count
        tokens = [[5] if self._done[request] >= self._prompt_tokens[request] else [] for request in asked]
        output = ModelRunnerOutput(list(asked), {request: i for i, request in enumerate(asked)}, tokens)
        if not non_block:
            return output
        future: Future[Any] = Future()
        future.set_result(output)
        return future
