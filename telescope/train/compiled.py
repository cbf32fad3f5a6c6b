"""How is a training step compiled?

torch.compile fuses what forward and backward do to single numbers; the products stay what they
were. One graph serves every trial whose model and batches are of one shape: weights and tokens are
its inputs, and the optimizer's step, with learning rate and decay, stays outside. The members of a
pack go through it one after the other, so that any may leave.

The first compilation on a machine takes half a minute, one more shape half of that, and one that
torch finds in its cache on disk a second or five. So what compiling took is remembered in that
cache, by shape, and telescope.train.program asks here before it decides.

Compiled numbers are those of eager code to rounding. What training makes of rounding is another
matter: at moderate rates AdamW keeps it below 1e-6 of the loss; Newton-Schulz in bf16, and any high
rate, make up to a percent of it over 1,200 steps, as they do of initial weights that are off by
1e-7 (docs/performance.md). Another seed changes more, and estimates take both for noise.

Parts: `Graph`, what may share one · `obstacle` · `expected_seconds`, `prepare`, `remember`, `ready`
· `losses`.
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
from telescope.models.build import build
from telescope.models.family import Model
from telescope.shapes import Float, Int
from telescope.train import pack
from telescope.trials.model import AnyModel
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation

log = logging.getLogger("telescope.compiled")

COMPILE = "TELESCOPE_COMPILE"  # environment: auto (default), where it repays, or never
FIRST_SECONDS = 35.0  # taken before anything was compiled on a machine; seen: 26 to 34 on a CPU
# what a worker needs for the first graph that it finds in the cache on disk, torch's imports
# included; seen: 4 to 6
AGAIN_SECONDS = 5.0
FOUND_SECONDS = 1.0  # and for each further one; seen: 0.4 to 1.3
MOST_GRAPHS = 64  # of one worker
_failures: list[str] = []  # of this process


@dataclass(frozen=True)
class Graph:
    """Trials may share a compiled graph where this is equal."""

    model: AnyModel
    parametrisation: Parametrisation
    vocab_size: int
    windows: int  # at once
    context: int

    @classmethod
    def of(cls, spec: TrialSpec) -> "Graph":
        """What a trial needs."""
        windows = (
            spec.horizon.micro_batch_tokens or spec.horizon.batch_tokens
        ) // spec.data.context
        assert pack.packable(spec.model), (
            "of a user's model nobody knows how weights and activations meet"
        )
        return cls(
            spec.model,
            spec.optimizer.parametrisation,
            spec.data.vocab_size,
            windows,
            spec.data.context,
        )

    @property
    def record(self) -> Path:
        """Where it stands what compiling this graph took on such a machine."""
        return cache_folder() / f"{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}.json"


@cache
def cache_folder() -> Path:
    """What was compiled of this code with this torch for such a processor and device;
    TORCHINDUCTOR_CACHE_DIR where that is set."""
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
    # of which graphs are made
    code = [inspect.getsource(module).encode() for module in (attention, transformer, pack)]
    return home() / "compiled" / hashlib.sha256(b"\n".join((machine, *code))).hexdigest()[:16]


def obstacle() -> str | None:
    """Why nothing can be compiled here; None where it can."""
    if os.environ.get(COMPILE) == "never":
        return f"{COMPILE} is never"
    if _failures:
        return _failures[0]
    if torch.cuda.is_available():
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is not installed"
    # as torch looks for it
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"there is no C++ compiler ({compiler})"


def expected_seconds(graph: Graph) -> float:
    """What compiling will take each worker: little where this machine has compiled the graph, else
    what the last other one took."""
    if graph.record.exists():
        return FOUND_SECONDS if _compiled.cache_info().currsize else AGAIN_SECONDS
    try:
        last = max(cache_folder().glob("*.json"), key=lambda path: path.stat().st_mtime)
        return float(json.loads(last.read_text())["seconds"])
    except (OSError, ValueError, KeyError):  # there is none, or it is not whole
        return FIRST_SECONDS


def prepare(graph: Graph) -> float:
    """Compile it, with a model and tokens of no meaning; the seconds that it took.

    Raises whatever torch and the compiler do; that is an obstacle from then on, in this process.
    """
    began = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dummy = build(graph.model, graph.vocab_size, graph.context, graph.parametrisation).to(device)
    windows = torch.zeros(1, graph.windows, graph.context + 1, dtype=torch.int64, device=device)
    try:
        losses((dummy,), windows).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # of torch, of the compiler, of what that includes
        said = str(error).strip().splitlines() or [""]
        _failures.append(
            f"{type(error).__name__}: {said[0]} (compiled code is kept in {cache_folder()})"
        )
        raise
    seconds = time.perf_counter() - began
    if not graph.record.exists():
        remember(graph, seconds)
    return seconds


def remember(graph: Graph, seconds: float) -> None:
    """Write down what compiling took; where that cannot be done, the next estimate is worse, and
    that is all."""
    try:
        graph.record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=graph.record.parent, delete=False) as draft:
            draft.write(json.dumps({"graph": repr(graph), "seconds": seconds}))
        Path(draft.name).replace(graph.record)  # whole, for others may be reading
    except OSError as error:
        log.warning("what compiling took is not remembered: %s", error)


@cache
def ready(graph: Graph) -> bool:
    """Whether this process has it compiled, now if not before. It was found to pay, but on another
    node perhaps, and here it may fail."""
    try:
        if (reason := obstacle()) is None:
            prepare(graph)
    except Exception:
        reason = obstacle()
    if reason:
        log.warning("width %d is not compiled here: %s", graph.model.width, reason)
    return reason is None


def losses(models: Sequence[Model], windows: Int[Tensor, "P B T_1"]) -> Float[Tensor, "P"]:
    """What `telescope.train.pack.losses` computes, to rounding."""
    return torch.cat(
        [
            _compiled()((model,), of_model[None])
            for model, of_model in zip(models, windows, strict=True)
        ]
    )


@cache
def _compiled() -> Callable[..., Any]:
    """The one compiled function; torch keeps a graph for each shape that it was called with."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes beside each worker
    function: Callable[..., Any] = torch.compile(  # type: ignore[call-overload]
        pack.losses, fullgraph=True, dynamic=False, recompile_limit=MOST_GRAPHS
    )
    return function
