"""Compilation of a training step.

torch.compile fuses the elementwise operations of the forward and backward pass; the matrix products
are unchanged. One graph serves all trials with equal shapes of model and batches: weights and
tokens are the graph's inputs, and the optimizer's step, with learning rate and decay, stays
outside. The members of a pack run through the graph one after the other, so that any of them may
leave.

The first compilation on a machine takes half a minute, each further shape half as long, and a graph
in torch's cache on disk one to five seconds. So compile times are recorded in that cache, by shape,
and telescope.train.program reads them before it decides whether to compile.

Compiled code gives the same numbers as eager code up to rounding. The effect of rounding on
training varies: with AdamW at moderate learning rates, the effect stays below 1e-6 of the loss;
Newton-Schulz in bf16, and any high learning rate, amplify the effect to as much as a percent over
1,200 steps, just as they amplify a change of 1e-7 in the initial weights (docs/performance.md). A
different seed changes the loss more than rounding does, and estimates treat both changes as noise.

Parts: `Graph`, the properties that a graph depends on · `obstacle`, the reason why nothing is
compiled · `expected_seconds`, `compile_graph`, `record_seconds`, `ensure_compiled` ·
`compiled_losses`.
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

# environment variable: `auto` (the default) compiles if that saves time, `never` does not compile
COMPILE = "TELESCOPE_COMPILE"
# assumed seconds of the first compilation on a machine; measured: 26 to 34 on a CPU
FIRST_SECONDS = 35.0
# assumed seconds for the first graph that a worker finds in the cache on disk, including torch's
# imports; measured: 4 to 6
FIRST_CACHED_SECONDS = 5.0
CACHED_SECONDS = 1.0  # assumed seconds for each further graph in the cache; measured: 0.4 to 1.3
MOST_GRAPHS = 64  # largest number of graphs per worker
_failures: list[str] = []  # errors of compilations in this process


@dataclass(frozen=True)
class Graph:
    """The properties that a compiled graph depends on; trials with equal values share a graph."""

    model: AnyModel
    parametrisation: Parametrisation
    vocab_size: int
    windows: int  # number of windows per call
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
        """File that holds the compile time of this graph on this kind of machine."""
        return cache_folder() / f"{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}.json"


@cache
def cache_folder() -> Path:
    """Folder for compiled code: TORCHINDUCTOR_CACHE_DIR if that is set, otherwise a folder for this
    combination of compiled source, versions of torch and Python, processor and device."""
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
    """The reason why this process compiles nothing, or None."""
    if os.environ.get(COMPILE) == "never":
        return f"{COMPILE} is never"
    if _failures:
        return _failures[0]
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is not installed"
    # the compiler that torch would use
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"there is no C++ compiler ({compiler})"


def expected_seconds(graph: Graph) -> float:
    """Expected seconds that a worker spends on compiling: few if this machine has compiled the
    graph before; otherwise the compile time that was recorded last, of any graph, or FIRST_SECONDS
    without a readable record."""
    if graph.record.exists():
        return CACHED_SECONDS if _compiled.cache_info().currsize else FIRST_CACHED_SECONDS
    try:
        last = max(cache_folder().glob("*.json"), key=lambda path: path.stat().st_mtime)
        return float(json.loads(last.read_text())["seconds"])
    except (OSError, ValueError, KeyError):  # there is no record, or it is damaged
        return FIRST_SECONDS


def compile_graph(graph: Graph) -> float:
    """Compile the graph, with arbitrary weights and tokens. Returns the seconds that compiling
    took.

    Raises any error that torch or the compiler raises; from then on `obstacle` reports that error
    in this process.
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
    """Record the compile time of a graph. A failure is only logged, since without the record only
    the next estimate is less accurate."""
    try:
        graph.record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=graph.record.parent, delete=False) as draft:
            draft.write(json.dumps({"graph": repr(graph), "seconds": seconds}))
        Path(draft.name).replace(graph.record)  # atomically, since other processes may be reading
    except OSError as error:
        log.warning("the compile time cannot be recorded: %s", error)


@cache
def ensure_compiled(graph: Graph) -> bool:
    """Compile the graph, once per process. Returns False if that fails: the node that decided
    to compile may have had a compiler that this node lacks."""
    try:
        if (reason := obstacle()) is None:
            compile_graph(graph)
    except Exception:
        reason = obstacle()
    if reason:
        log.warning("width %d is not compiled here: %s", graph.model.width, reason)
    return reason is None


def compiled_losses(models: Sequence[Model], windows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P"]:
    """`telescope.train.pack.losses`, compiled: the same values up to rounding."""
    losses = _compiled()
    return torch.cat(
        [
            losses((model,), own_windows[None])
            for model, own_windows in zip(models, windows, strict=True)
        ]
    )


@cache
def _compiled() -> Callable[..., Any]:
    """The compiled function, one per process; torch keeps a graph for each shape of its inputs."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder())
    # compile in this process, without a pool of compiler processes
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    function: Callable[..., Any] = torch.compile(  # type: ignore[call-overload]
        pack.losses, fullgraph=True, dynamic=False, recompile_limit=MOST_GRAPHS
    )
    return function
