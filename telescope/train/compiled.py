"""Compilation of a training step.

torch.compile fuses the elementwise operations of forward and backward; the matrix products are
unchanged. One graph serves every trial with the same shapes of model and batches: weights and
tokens are its inputs, and the optimizer's step, with learning rate and decay, stays outside. The
members of a pack run through it one after the other, so that any of them may leave.

The first compilation on a machine takes half a minute, each further shape half of that, and a graph
that torch finds in its cache on disk one second to five. So compile times are recorded in that
cache, by shape, and telescope.train.program reads them before it decides.

Compiled numbers equal those of eager code up to rounding. The effect of rounding on training
varies: at moderate rates AdamW keeps it below 1e-6 of the loss; Newton-Schulz in bf16, and any high
rate, amplify it to as much as a percent over 1,200 steps, as they amplify a change of 1e-7 in the
initial weights (docs/performance.md). Another seed changes more, and estimates treat both as noise.

Parts: `Graph`, the shapes that a graph depends on · `obstacle` · `expected_seconds`,
`compile_graph`, `remember`, `ensure_compiled` · `compiled_losses`.
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

COMPILE = "TELESCOPE_COMPILE"  # environment variable: auto (default), where it pays, or never
# assumed before anything was compiled on a machine; measured: 26 to 34 on a CPU
FIRST_SECONDS = 35.0
# what a worker needs for the first graph that it finds in the cache on disk, torch's imports
# included; measured: 4 to 6
AGAIN_SECONDS = 5.0
FOUND_SECONDS = 1.0  # and for each further one; measured: 0.4 to 1.3
MOST_GRAPHS = 64  # per worker
_failures: list[str] = []  # in this process


@dataclass(frozen=True)
class Graph:
    """Trials with equal values may share a compiled graph."""

    model: AnyModel
    parametrisation: Parametrisation
    vocab_size: int
    windows: int  # per call
    context: int

    @classmethod
    def of(cls, spec: TrialSpec) -> "Graph":
        """The graph of a trial."""
        windows = (
            spec.horizon.micro_batch_tokens or spec.horizon.batch_tokens
        ) // spec.data.context
        assert pack.packable(spec.model), "packs cannot hold a user's model"
        return cls(
            spec.model,
            spec.optimizer.parametrisation,
            spec.data.vocab_size,
            windows,
            spec.data.context,
        )

    @property
    def record(self) -> Path:
        """File with the seconds that compiling this graph took on this kind of machine."""
        return cache_folder() / f"{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}.json"


@cache
def cache_folder() -> Path:
    """Folder for code compiled from this source with this torch for this kind of processor and
    device; TORCHINDUCTOR_CACHE_DIR if that is set."""
    if given := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return Path(given)
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else [platform.processor()]
    processor = [line for line in lines if line.startswith(("model name", "flags"))][:2] or lines[
        :1
    ]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    machine = "\n".join(
        (torch.__version__, platform.python_version(), platform.machine(), device, *processor)
    ).encode()
    # the sources that graphs are made of
    code = [inspect.getsource(module).encode() for module in (attention, transformer, pack)]
    return home() / "compiled" / hashlib.sha256(b"\n".join((machine, *code))).hexdigest()[:16]


def obstacle() -> str | None:
    """The reason why nothing can be compiled here, or None."""
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
    """Expected seconds of compiling in each worker: few if this machine has compiled the graph
    before, else as many as the most recent other graph took."""
    if graph.record.exists():
        return FOUND_SECONDS if _compiled.cache_info().currsize else AGAIN_SECONDS
    try:
        last = max(cache_folder().glob("*.json"), key=lambda path: path.stat().st_mtime)
        return float(json.loads(last.read_text())["seconds"])
    except (OSError, ValueError, KeyError):  # there is no record, or it is damaged
        return FIRST_SECONDS


def compile_graph(graph: Graph) -> float:
    """Compile the graph with a model and tokens of arbitrary values; returns the seconds that it
    took.

    Raises whatever torch and the compiler raise; from then on `obstacle` reports that error in this
    process.
    """
    began = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dummy = build_model(graph.model, graph.vocab_size, graph.context, graph.parametrisation).to(
        device
    )
    windows = torch.zeros(1, graph.windows, graph.context + 1, dtype=torch.int64, device=device)
    try:
        compiled_losses((dummy,), windows).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # raised by torch, by the compiler, or by code that these include
        lines = str(error).strip().splitlines() or [""]
        _failures.append(
            f"{type(error).__name__}: {lines[0]} (compiled code is kept in {cache_folder()})"
        )
        raise
    seconds = time.perf_counter() - began
    if not graph.record.exists():
        remember(graph, seconds)
    return seconds


def remember(graph: Graph, seconds: float) -> None:
    """Record how long compiling took. If that fails, only the next estimate is worse."""
    try:
        graph.record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=graph.record.parent, delete=False) as draft:
            draft.write(json.dumps({"graph": repr(graph), "seconds": seconds}))
        Path(draft.name).replace(graph.record)  # atomically, since other processes may be reading
    except OSError as error:
        log.warning("the compile time cannot be recorded: %s", error)


@cache
def ensure_compiled(graph: Graph) -> bool:
    """True if this process has the graph compiled; compiles it now if need be. The decision to
    compile may come from another node, and compiling may fail here."""
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
    return torch.cat(
        [
            _compiled()((model,), of_model[None])
            for model, of_model in zip(models, windows, strict=True)
        ]
    )


@cache
def _compiled() -> Callable[..., Any]:
    """The compiled function, one per process; torch keeps a graph for each shape of its inputs."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder())
    # no pool of compiler processes beside each worker
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    function: Callable[..., Any] = torch.compile(  # type: ignore[call-overload]
        pack.losses, fullgraph=True, dynamic=False, recompile_limit=MOST_GRAPHS
    )
    return function
