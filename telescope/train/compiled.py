"""Compilation of the forward and backward pass of a training step.

torch.compile fuses the elementwise operations of both passes; the matrix products are unchanged.
The result is a *graph*. A *pack* is a group of trials that are trained together
(telescope.train.pack). All trials that can share a pack can use the same graph, since weights and
tokens are inputs of the graph. The optimizer's step is not compiled. The trials of a pack run
through the graph one after the other.

The first compilation on a machine takes about half a minute, and the compilation of each further
graph about half as long. torch keeps compiled graphs in a cache on disk. A worker takes about five
seconds to load its first graph from this cache, and about one second for each further graph. The
compile time of each graph is recorded in the same folder. telescope.train.program reads these
records before it decides whether to compile.

Compiled code gives the same numbers as code that is not compiled, up to rounding. With AdamW at
moderate learning rates, rounding changes the loss by less than 1e-6 of its value. Newton-Schulz
iterations in bf16, and high learning rates, amplify this change to as much as a percent after 1,200
steps. They amplify a change of 1e-7 in the initial weights just as much (docs/performance.md). A
different seed changes the loss more than rounding does, and telescope's estimates treat both
changes as noise.
"""

import hashlib
import inspect
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from telescope.home import home
from telescope.models import attention, transformer
from telescope.models.build import build_model
from telescope.models.family import Model
from telescope.shapes import Float, Int
from telescope.train import pack
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation

log = logging.getLogger("telescope.compiled")

# Name of an environment variable. If its value is `never`, nothing is compiled. Otherwise, graphs
# are compiled if that is expected to save time.
COMPILE = "TELESCOPE_COMPILE"
# assumed seconds of the first compilation on a machine; measured: 26 to 34 on a CPU
FIRST_SECONDS = 35.0
# assumed seconds to load a worker's first graph from the cache on disk, including torch's imports;
# measured: 4 to 6
FIRST_CACHED_SECONDS = 5.0
CACHED_SECONDS = 1.0  # assumed seconds to load each further graph; measured: 0.4 to 1.3
MOST_GRAPHS = 64  # largest number of graphs in a process
_failures: list[str] = []  # errors of compilations in this process


@dataclass(frozen=True)
class Graph:
    """The properties that a compiled graph depends on. Trials with equal properties share a
    graph."""

    model: AnyModel
    parametrisation: Parametrisation
    vocab_size: int
    windows: int  # number of windows in a forward pass
    context: int

    @classmethod
    def of(cls, spec: TrialSpec) -> "Graph":
        """The graph of a trial."""
        assert pack.packable(spec.model), "packs cannot hold a user's model"
        data, tokens = spec.data, spec.horizon.micro_batch_tokens or spec.horizon.batch_tokens
        parametrisation, windows = spec.optimizer.parametrisation, tokens // data.context
        return cls(spec.model, parametrisation, data.vocab_size, windows, data.context)

    @property
    def record(self) -> Path:
        """The file that records the compile time of this graph."""
        return cache_folder() / f"{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}.json"


@cache
def cache_folder() -> Path:
    """The folder for compiled code. If the environment variable TORCHINDUCTOR_CACHE_DIR is set, its
    value is the folder. Otherwise, the folder lies in TELESCOPE_HOME. Its name is then a hash of
    the compiled modules, the versions of torch and Python, the processor and the device."""
    if folder := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return Path(folder)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    processor = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    processor = processor or lines[:1]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    machine = "\n".join(
        (torch.__version__, platform.python_version(), platform.machine(), device, *processor)
    ).encode()
    # the modules whose code is compiled
    code = [inspect.getsource(module).encode() for module in (attention, transformer, pack)]
    return home() / "compiled" / hashlib.sha256(b"\n".join((machine, *code))).hexdigest()[:16]


def obstacle() -> str | None:
    """The reason why this process cannot or must not compile. None if it may compile."""
    if os.environ.get(COMPILE) == "never":
        return f"{COMPILE} is never"
    if _failures:
        return _failures[0]
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is not installed, or cannot use this GPU"
    # the compiler that torch would use
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"there is no C++ compiler ({compiler})"


def expected_seconds(graph: Graph) -> float:
    """The seconds that a worker is expected to spend on compiling the graph.

    If the compile time of the graph is recorded, the graph is in the cache, and the result is the
    time to load it. Otherwise, the result is the last compile time that was recorded for any graph.
    If there is no record, or the last one is damaged, the result is FIRST_SECONDS.
    """
    if graph.record.exists():
        return CACHED_SECONDS if _compiled.cache_info().currsize else FIRST_CACHED_SECONDS
    try:
        last = max(cache_folder().glob("*.json"), key=lambda path: path.stat().st_mtime)
        return float(json.loads(last.read_text())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):  # there is no record, or it is damaged
        return FIRST_SECONDS


def compile_graph(graph: Graph) -> float:
    """Compile the graph, by running it on arbitrary weights and tokens. Returns the seconds that
    this took.

    Raises any error that torch or the compiler raises. If the run fails, `obstacle` returns a text
    with the first such error from then on.
    """
    began = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dummy = build_model(graph.model, graph.vocab_size, graph.context, graph.parametrisation)
    dummy = dummy.to(device)
    windows = torch.zeros(1, graph.windows, graph.context + 1, dtype=torch.int64, device=device)
    try:
        compiled_losses((dummy,), windows).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # raised by torch, the compiler, or a library that these call
        lines = str(error).strip().splitlines() or [""]
        _failures.append(
            f"{type(error).__name__}: {lines[0]} (compiled code is kept in {cache_folder()})"
        )
        raise
    seconds = time.perf_counter() - began
    if not graph.record.exists():
        record_seconds(graph, seconds)
    return seconds


def record_seconds(graph: Graph, seconds: float) -> None:
    """Record the compile time of a graph. If the record cannot be written, a warning is logged, and
    later estimates of compile times are less accurate."""
    try:
        graph.record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=graph.record.parent, delete=False) as draft:
            draft.write(json.dumps({"graph": repr(graph), "seconds": seconds}))
        Path(draft.name).replace(graph.record)  # atomic, since other processes may read the file
    except OSError as error:
        log.warning("the compile time cannot be recorded: %s", error)


@cache
def ensure_compiled(graph: Graph) -> bool:
    """Compile the graph, and return True. Returns False if this process cannot or must not compile,
    or if compiling fails. For example, the decision to compile may come from a machine with a
    compiler, while this machine has none. A process tries to compile each graph only once."""
    try:
        if (reason := obstacle()) is None:
            compile_graph(graph)
    except Exception as error:
        reason = obstacle() or repr(error)
    if reason:
        log.warning(
            "the model of width %d is not compiled on this worker: %s", graph.model.width, reason
        )
    return reason is None


def compiled_losses(models: Sequence[Model], windows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P"]:
    """The compiled version of `telescope.train.pack.losses`, with the same result up to
    rounding."""
    losses = _compiled()
    return torch.cat(
        [
            losses((model,), own_windows[None])
            for model, own_windows in zip(models, windows, strict=True)
        ]
    )


@cache
def _compiled() -> Callable[..., Any]:
    """The compiled function, one per process. torch keeps one graph of it for each shape of the
    inputs."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder())
    # compile in this process, without a pool of compiler processes
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    function: Callable[..., Any] = torch.compile(  # type: ignore[call-overload]
        pack.losses, fullgraph=True, dynamic=False, recompile_limit=MOST_GRAPHS
    )
    return function
