"""vLLM's engine and its processes: started with our settings, watched at every step, and gone at the end.

vLLM runs the model in processes of its own. What they say goes to a file, so that the one line that tells why
they failed can be found there; where they fail, the file stays. A step that does not come back, as when a GPU
hangs, can only be waited for in another thread, hence `_Stepper`.
"""

import logging
import multiprocessing
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mstar.config import Config
from mstar.engines.vllm_adapter import Served
from mstar.engines.vllm_environment import environment, is_eager, output_to
from mstar.errors import UserError
from mstar.models import Encoder
from mstar.resources import Memory, system_memory

if TYPE_CHECKING:
    import psutil

CAUSE_LENGTH = 240
CPU_CACHE_BYTES = 4 << 30
LEAST_SHARE = 0.01
"""Of the memory, where the room for keys and values is given in bytes: the share says nothing then, but a GPU
on which less is free would be refused.
"""
ENDING_SECONDS = 5
"""After this, processes that were asked to end are killed; they hold shared memory, which they clean up. (A
cluster waits for 10 seconds or more.)"""
LOST = "has lost a process; if it was killed for its memory, lower vllm.cache_gib"
LOOK_SECONDS = 1.0
CAUSE = re.compile(r"(?:^|[\])] )((?:\w+\.)*\w*(?:Error|Exception): \S.*)$")


class VllmProcess:
    """vLLM with one policy. Its processes end with `close`, whatever state they are in."""

    def __init__(self, served: Served, config: Config, encoder: Encoder, longest: int) -> None:
        """`longest` is a prompt and its response together, in tokens. UserError where vLLM cannot start."""
        self.policy = encoder.folder
        self.stalled_seconds = config.vllm.stalled_seconds
        with tempfile.NamedTemporaryFile(prefix="mstar-vllm-", suffix=".log", delete=False) as file:
            self.log = Path(file.name)
        before = multiprocessing.active_children()
        self.llm: Any = None
        self._has_failed = False
        self.processes: list[psutil.Process] = []
        try:
            with environment(config), output_to(self.log):
                llm = _import_vllm(config)
                self.llm = llm(**_arguments(served, config, encoder, longest))
        except UserError:
            self.log.unlink()
            raise
        except Exception as error:
            self.processes = _started_since(before)
            self.close(failed=True)
            raise UserError(
                f"vLLM cannot load model {self.policy}: {self._cause(error)}; its log: {self.log}"
            ) from error
        except BaseException:
            self.processes = _started_since(before)
            self.close(failed=False)
            raise
        self.processes = _started_since(before)
        logging.getLogger("vllm").setLevel(logging.ERROR)
        self._adapter = served.request()
        self._stepper = _Stepper(self.engine.step)

    @property
    def engine(self) -> Any:
        """What takes requests and gives outputs, until `close`."""
        return self.llm.llm_engine

    def add(self, name: str, read: Callable[[Any], Any], params: Any) -> None:
        """Hand over a request, whose output will have this name; `read` makes the engine's input with the
        engine. ValueError says why vLLM refuses it.
        """
        from vllm.exceptions import VLLMClientError

        try:
            self.engine.add_request(name, read(self.engine), params, lora_request=self._adapter)
        except VLLMClientError as error:
            raise ValueError(str(error)) from error
        except ValueError:
            raise
        except Exception as error:
            raise self._died(error) from error

    def step(self) -> list[Any]:
        """What the engine has finished since. UserError where it has died, or nothing comes for too long."""
        start = time.monotonic()
        self._stepper.begin()
        while (found := self._stepper.outcome(LOOK_SECONDS)) is None:
            if time.monotonic() - start > self.stalled_seconds:
                raise self._failed(
                    f"has given no token for {self.stalled_seconds:g} s (vllm.stalled_seconds) and was ended"
                )
            if self._has_lost_a_process():
                raise self._failed(LOST)
        if isinstance(found, Exception):
            raise self._died(found) from found
        return found

    def close(self, failed: bool = False) -> None:
        """End the processes, and with them give back all memory; keep their log where they `failed`."""
        patience = 0 if failed else ENDING_SECONDS
        if self.llm is not None:
            self.engine.engine_core.shutdown(timeout=patience)
            self.llm = None
        for process in self.processes:
            _kill(process)
        self.processes = []
        self._has_failed |= failed
        if not self._has_failed:
            self.log.unlink(missing_ok=True)

    def _has_lost_a_process(self) -> bool:
        return not all(process.is_running() for process in self.processes)

    def _died(self, error: Exception) -> UserError:
        return self._failed(LOST if self._has_lost_a_process() else f"has failed: {self._cause(error)}")

    def _failed(self, what: str) -> UserError:
        self.close(failed=True)
        return UserError(
            f"vLLM {what}; start the same command again to go on; model {self.policy}, its log: {self.log}"
        )

    def _cause(self, error: Exception) -> str:
        """The first error that the processes speak of: the ones after it follow from it."""
        said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        named = [found[1] for line in said if (found := CAUSE.search(line))]
        cause = " ".join((named or [str(error) or type(error).__name__])[0].split())[:CAUSE_LENGTH]
        hint = "; vllm.gpu_memory_share and vllm.cache_gib say how much it takes" if "memory" in cause else ""
        return cause + hint


class _Stepper(threading.Thread):
    """Runs the engine's steps one by one, so that who waits for one can stop waiting."""

    def __init__(self, step: Callable[[], list[Any]]) -> None:
        super().__init__(name="vllm-steps", daemon=True)
        self._step = step
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self._asked.get()
            try:
                self._outcomes.put(self._step())
            except Exception as error:
                self._outcomes.put(error)

    def begin(self) -> None:
        self._asked.put(None)

    def outcome(self, seconds: float) -> list[Any] | Exception | None:
        """Of the step that was begun; None where it has not come back within so many seconds."""
        try:
            return self._outcomes.get(timeout=seconds)
        except queue.Empty:
            return None


def _import_vllm(config: Config) -> Any:
    """The class LLM. UserError where this vLLM is a build for another device."""
    from vllm import LLM
    from vllm.platforms import current_platform

    built_for = "cpu" if current_platform.is_cpu() else "cuda"
    if built_for != config.model.device:
        raise UserError(
            f"model.device is {config.model.device}, and the vLLM that is installed runs on {built_for}; set "
            "model.device to that, or install the other build of vLLM"
        )
    return LLM


def _arguments(served: Served, config: Config, encoder: Encoder, longest: int) -> dict[str, Any]:
    """Everything that vLLM is told. The slow image processor is the one of training (see models.loading)."""
    section, generate = config.vllm, config.generate
    revision = None if served.model.is_dir() else config.model.revision
    return {
        **served.arguments,
        "model": str(served.model),
        "revision": revision,
        "tokenizer_revision": revision,
        **dict.fromkeys(("config_format", "load_format", "tokenizer_mode"), "hf"),  # not Mistral's own files
        "served_model_name": "policy",
        "dtype": config.model.dtype,
        "generation_config": "vllm",  # the checkpoint's sampling is not ours
        "seed": 0,
        "tensor_parallel_size": section.tensor_parallel_size,
        **memory_arguments(config, system_memory()),
        "enforce_eager": is_eager(config),
        "max_model_len": longest,
        "max_num_seqs": generate.rows_in_flight,
        "max_num_batched_tokens": max(generate.tokens_per_prefill, generate.rows_in_flight),
        "enable_prefix_caching": True,
        "mm_processor_kwargs": {"use_fast": False, **encoder.family.processor_settings},
        "limit_mm_per_prompt": {"video": 0},
        "worker_extension_cls": "mstar.engines.vllm_worker.BanningWorker",
        "disable_log_stats": False,
    }


def memory_arguments(config: Config, memory: Memory | None) -> dict[str, Any]:
    """What vLLM may take: a share of the memory, or room for keys and values in bytes."""
    room = cache_bytes(config, memory)
    share = config.vllm.gpu_memory_share if room is None else LEAST_SHARE
    return {"gpu_memory_utilization": share, "kv_cache_memory_bytes": room}


def cache_bytes(config: Config, memory: Memory | None) -> int | None:
    """Room for keys and values; None leaves it to vLLM, which takes a share of a GPU's memory. On a CPU it
    would take that share of all there is, whatever a pod is allowed and others need.
    """
    if config.vllm.cache_gib is not None:
        return int(config.vllm.cache_gib * 2**30)
    if config.model.device != "cpu":
        return None
    return min(CPU_CACHE_BYTES, memory.free // 4) if memory else CPU_CACHE_BYTES


def _started_since(before: list[Any]) -> "list[psutil.Process]":
    """vLLM's processes, and those that they have started themselves."""
    import psutil

    known = {child.pid for child in before}
    new = [child.pid for child in multiprocessing.active_children() if child.pid not in known]
    roots = [psutil.Process(pid) for pid in new if pid is not None]
    return [*roots, *(child for root in roots for child in root.children(recursive=True))]


def _kill(process: "psutil.Process") -> None:
    """End a process of ours that is still there, and wait until it is gone."""
    import psutil

    try:
        process.kill()
        process.wait(ENDING_SECONDS)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return
