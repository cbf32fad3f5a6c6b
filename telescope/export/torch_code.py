"""An answer as a Python file that trains with torch alone.

The file contains a docstring that states where the numbers come from, the numbers
(`torch_groups`), the source code of the model (`model_source`), and functions copied from `recipe`.
If the model is a user's own, its source code is not copied. The reader of the file then builds the
model, and the file's function `configure` adds the factors by which telescope multiplied inputs and
outputs of the model's modules.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import telescope
from telescope.errors import NotExportable, Problem
from telescope.export import recipe, schedule
from telescope.export.families import ModelPreparation, exported_by
from telescope.export.final_run import FinalRun, unknown_options
from telescope.export.model_source import TOOL_COMMENTS, ModelSource
from telescope.export.torch_groups import grouped_parameters, multipliers, ungrouped_constants
from telescope.studies.telescoping.evidence import Hyperparameter
from telescope.trials import mixtures

WIDTH = 120  # columns of the docstring
OPTIMIZERS = {"muon": "Muon and AdamW", "adamw": "AdamW"}

# Parts of the text

IMPORTS = (
    "import math",
    "import warnings",
    "from collections.abc import Sequence",
    "from dataclasses import dataclass",
    "from types import SimpleNamespace",
    "from typing import Any",
    "import torch",
    "from torch import Tensor, nn",
    "from torch.nn import functional",
)
OPTIMISATION: tuple[Any, ...] = (
    recipe.parameter_groups,
    recipe.build_optimizers,
    recipe.build_schedulers,
)

PREPARATION = ModelPreparation(
    ("model = build_model()", "initialise(model, seed=0)"), (recipe.initialise,)
)
TRAINING_LOOP = """\
    optimizers = build_optimizers(model)
    schedulers = build_schedulers(optimizers)
    for batch in your_batches:  # each of shape (BATCH_TOKENS // CONTEXT, CONTEXT + 1)
        # if a batch does not fit into memory, pass equal parts of it: [part, part, ...]
        loss = train_step(model, optimizers, schedulers, [batch])"""
MODEL_COMMENT = "# The tuned model. Annotations name the shapes of tensors and are never evaluated."
SMOKE_TEST = """\
if __name__ == "__main__":  # a few steps on random tokens, as a test
    example = build_model()
    initialise(example, seed=0)
    its_optimizers = build_optimizers(example)
    its_schedulers = build_schedulers(its_optimizers)
    random_tokens = torch.randint(VOCAB_SIZE, (2, CONTEXT + 1))
    for _ in range(3):
        print(float(train_step(example, its_optimizers, its_schedulers, [random_tokens])))"""


def module_text(run: FinalRun) -> str:
    """The text of the file. It includes the source code of the model if the model is telescope's
    Transformer. Raises NotExportable if torch's optimizers cannot express the answer."""
    model = exported_by(run).source(run.spec.model, run.spec.optimizer.parametrisation)
    return code_text(run, model)


def code_text(run: FinalRun, model: ModelSource | None) -> str:
    """The text of the file. It includes `model`, the source code of the model. If `model` is None,
    the reader of the file builds the model. Raises NotExportable if torch's optimizers cannot
    express the answer."""
    problems = tuple(torch_refusals(run))
    if problems:
        raise NotExportable.because(
            "torch.optim.Muon and AdamW cannot express this answer", problems
        )
    spec, family = run.spec, exported_by(run)
    preparation = PREPARATION if model else family.preparation(run.model, spec.optimizer)
    constants = [*ungrouped_constants(run), "", grouped_parameters(run)]
    if model is None:
        constants.append(multipliers(run))
    sections = [
        warning(run.warning) if run.warning else "",
        "# The answer",
        recipe_source(recipe.Group),
        "\n".join(constants),
        *([MODEL_COMMENT, model.code, model_builder(run)] if model else []),
        "# Training",
        *map(recipe_source, OPTIMISATION),
        decayed_source(spec.horizon.decay),
        recipe_source(recipe.lr_factor),
        *map(recipe_source, preparation.functions),
        recipe_source(family.loss(spec.model)).replace("own_loss_of", "loss_of"),
        recipe_source(recipe.train_step),
        SMOKE_TEST if model else "",
    ]
    body = "\n\n\n".join(filter(None, sections))
    usage = "\n".join([*(f"    {line}" for line in preparation.lines), TRAINING_LOOP])
    header = [
        module_docstring(run, usage),
        "",
        "from __future__ import annotations",
        "",
        imports(body, model),
    ]
    return "\n".join([*header, "", "", body, ""])


def torch_refusals(run: FinalRun) -> Iterator[Problem]:
    """A problem for each setting that torch's optimizers cannot express."""
    yield from unknown_options(run)
    optimizer = run.spec.optimizer
    if optimizer.name == "muon" and optimizer.newton_schulz_dtype != "bfloat16":
        remedy = "tune with bfloat16, or use --to json and your own orthogonalisation"
        message = f"torch.optim.Muon orthogonalises only in bfloat16; {remedy}"
        yield Problem(
            "optimizer_options.newton_schulz_dtype", message, optimizer.newton_schulz_dtype
        )
    for name in (name for group in run.groups if group.uses_muon for name in group.names):
        dimensions, matrices = len(run.shapes[name]), len(run.matrix_shapes(name))
        if dimensions != 2 or matrices > 1:
            remedy = "use --to json, or tune without splits" if dimensions == 2 else "use --to json"
            message = (
                f"{name} has {dimensions} dimensions and holds {matrices} matrices, but "
                f"torch.optim.Muon needs one matrix with 2 dimensions; {remedy}"
            )
            yield Problem("model.splits" if dimensions == 2 else "model.factory", message, name)


# The docstring


def module_docstring(run: FinalRun, usage: str) -> str:
    """The file's docstring, which says what the file trains, how to use it, and where the numbers
    come from."""
    optimizers, horizon = OPTIMIZERS[run.ladder.optimizer], run.spec.horizon
    what = (
        f"{optimizers} at width {run.spec.model.width} "
        f"for {horizon.steps} steps of {horizon.batch_tokens} tokens"
    )
    provenance = [
        textwrap.fill(
            f"{name + ':':<12}{one_line(text)}",
            WIDTH,
            subsequent_indent=" " * 12,
            break_long_words=False,
        )
        for name, text in provenance_rows(run).items()
        if text
    ]
    warnings = [textwrap.fill(f"WARNING: {one_line(run.warning)}", WIDTH), ""]
    first = f'"""Train with {what}. telescope found the hyperparameters.'
    return "\n".join([first, "", *(warnings if run.warning else []), usage, "", *provenance, '"""'])


def provenance_rows(run: FinalRun) -> dict[str, str]:
    """The rows that state where the numbers come from: the text of each row, by the row's name. A
    row with an empty text is left out of the docstring."""
    ladder, data = run.ladder, run.question.data
    values = "; ".join(
        f"{name} {value_text(estimate)}" for name, estimate in ladder.hyperparameters.items()
    )
    fit = ladder.scaling_fit
    scaling = f"loss = {fit.A:.4g} / parameters^{fit.exponent:.4g} + {fit.E:.4g}" if fit else ""
    seeds = ", ".join(map(str, run.seeds))
    widths = ", ".join(map(str, sorted({trial.width for trial in run.trials})))
    return {
        "job": f"{run.source.job} ({run.source.name}), {run.source.date:%Y-%m-%d %H:%M} UTC",
        "verdict": f"{ladder.verdict}: {ladder.reason}",
        "values": f"{values}. Base values, not scaled to a width; ranges are 90 % intervals.",
        "fit": f"{ladder.method.schedule}, {ladder.method.estimator}" if ladder.method else "",
        "scaling": scaling,
        "trials": f"{len(run.trials)}, with the seeds {seeds}, at the widths {widths}",
        "corpus": (
            f"{mixtures.corpus_label(data.corpus)}, content {data.content}, tokenizer "
            f"{data.tokenizer} with a vocabulary of {data.vocab_size}"
        ),
        "computed": "; ".join(run.numerics),
        "written by": f"telescope {telescope.__version__}",
    }


def value_text(estimate: Hyperparameter) -> str:
    """The base value of a hyperparameter with its status and, if it was fitted, its interval."""
    fitted = estimate.has_interval and estimate.status not in ("swept", "fixed")
    interval = f"{estimate.low:.3g} to {estimate.high:.3g}, " if fitted else ""
    return f"{estimate.value:.6g} ({interval}{estimate.status})"


def one_line(text: str) -> str:
    """The text on one line, without characters that could end or break a docstring."""
    printable = text.encode(errors="replace").decode()
    return " ".join(printable.replace("\\", "\\\\").replace('"', "'").split())


# The code


def warning(text: str) -> str:
    """Code that shows the warning when the file is run or imported."""
    lines = textwrap.wrap(text, WIDTH - 20, drop_whitespace=False, break_on_hyphens=False)
    return "\n".join(
        [
            "warnings.warn(",
            *(f"    {line!r}" for line in lines[:-1]),
            f"    {lines[-1]!r},",
            "    stacklevel=1,",
            ")",
        ]
    )


def model_builder(run: FinalRun) -> str:
    """The source code of the function that builds the copied model."""
    parametrisation = run.spec.optimizer.parametrisation
    return (
        "def build_model() -> nn.Module:\n"
        f'    """The model at width {run.spec.model.width}."""\n'
        f'    return Transformer(SPEC, VOCAB_SIZE, CONTEXT, "{parametrisation}")'
    )


def imports(body: str, model: ModelSource | None) -> str:
    """The imports that the code uses, first from the standard library, then from torch."""
    lines = dict.fromkeys([*IMPORTS, *(model.imports if model else ())])
    names = set(re.findall(r"\w+", body))
    used = [
        line for line in lines if names & set(re.findall(r"\w+", line.rpartition("import ")[2]))
    ]
    torch = [line for line in used if line.split()[1].partition(".")[0] == "torch"]
    return "\n".join([*(line for line in used if line not in torch), "", *torch])


def recipe_source(definition: Any) -> str:
    """The source code of a function or class of `telescope.export.recipe`."""
    return TOOL_COMMENTS.sub("", inspect.getsource(definition)).rstrip()


def decayed_source(decay: str) -> str:
    """The source code of the function `decayed` for this kind of decay."""
    signature, docstring = inspect.getsource(recipe.decayed).splitlines()[:2]
    return "\n".join([signature, docstring, f"    return {schedule.DECAYED[decay]}"])
