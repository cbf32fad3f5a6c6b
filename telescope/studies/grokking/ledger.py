"""The ledger of a grokking study: the tuning and training that each optimizer received, and the
settings of the experiment with their origins.

Parts: `arm_cost` · `assumptions`.
"""

import math
from collections.abc import Iterator, Sequence

from telescope.studies.grokking.assumptions import Assumption, public
from telescope.studies.grokking.fold import StudyProgress
from telescope.studies.grokking.question import Question
from telescope.studies.grokking.report import ArmCost
from telescope.studies.grokking.search import SearchProgress
from telescope.studies.grokking.wording import AXIS_TITLES, cell_title, edge_words
from telescope.trials.lattice import from_octaves
from telescope.trials.types import OptimizerName


def arm_cost(question: Question, study: StudyProgress, optimizer: OptimizerName) -> ArmCost:
    """The ledger's entry for an optimizer."""
    cells = [(cell.cell, arm) for cell in study.cells if (arm := cell.arm(optimizer))]
    searches = [(cell, arm.search) for cell, arm in cells if arm.search]
    used = list({t.digest: t for _, arm in cells for t in arm.trials}.values())
    tried = {
        axis: tuple(sorted({from_octaves(x) for _, s in searches for x in s.axes.get(axis, ())}))
        for axis in ("lr", "weight_decay", "adamw_lr_ratio")
    }
    return ArmCost(
        optimizer=optimizer,
        hyperparameters=source_words([search for _, search in searches]),
        tuning_trials=len({trial.digest for _, search in searches for trial in search.trials}),
        lr_low=min(tried["lr"], default=None),
        lr_high=max(tried["lr"], default=None),
        weight_decays=tried["weight_decay"],
        adamw_lr_ratios=tried["adamw_lr_ratio"],
        edges=tuple(
            f"{cell_title(cell.name)}: {edge_words(edge)}"
            for cell, search in searches
            for edge in search.edges
        ),
        trials=len(used),
        diverged=sum(trial.diverged for trial in used),
        flops=math.fsum(trial.flops for trial in used),
        seconds=math.fsum(trial.seconds for trial in used),
    )


def source_words(searches: Sequence[SearchProgress]) -> str:
    """The source of an optimizer's hyperparameters, as text. After a search, the text names the
    hyperparameters for which the grid has a single value."""
    if not searches:
        return "shared by all optimizers"
    fixed = [AXIS_TITLES[axis] for axis, tried in searches[0].axes.items() if len(tried) == 1]
    return (
        f"tuned in each cell; not searched: {', '.join(fixed)}" if fixed else "tuned in each cell"
    )


def assumptions(question: Question) -> tuple[Assumption, ...]:
    """The settings of the experiment, with their origins. An origin is the paper (arXiv
    2504.16041), the paper's public code, or this study."""
    return (
        *data_assumptions(question),
        *optimizer_assumptions(question),
        *question.model.assumptions(),
    )


def data_assumptions(question: Question) -> Iterator[Assumption]:
    """The settings of the tasks and of the runs, and the definition of generalisation."""
    runs = question.runs
    as_printed = all(
        table.share == table.facts.train_share and table.task not in ("sub", "table")
        for table in question.tables
    )
    shares = ", ".join(f"{table.task} {table.share:g}" for table in question.tables)
    yield Assumption("training share", shares, "paper" if as_printed else "ours")
    yield Assumption("generalised", "95 % of the held-out rows", "paper")
    yield Assumption("sustained", f"{runs.sustained_evaluations} evaluations in a row", "ours")
    yield Assumption("memorised", "99 % of the training rows, twice in a row", "ours")
    yield Assumption("batch", f"at most {runs.batch_rows} rows", public(runs.batch_rows, 512))
    yield Assumption("epochs", f"at most {runs.epochs}", public(runs.epochs, 150))
    yield Assumption("softmax variants", "in the loss alone", "ours")


def optimizer_assumptions(question: Question) -> Iterator[Assumption]:
    """The settings of the optimizers."""
    options = question.optimizer_options
    betas = (options.beta1, options.beta2)
    yield Assumption(
        "AdamW's betas",
        f"{options.beta1:g}, {options.beta2:g}",
        "paper" if betas == (0.9, 0.98) else "ours",
    )
    yield Assumption("weight decay", "decoupled; gains have none", "ours")
    yield Assumption(
        "Muon",
        f"momentum {options.momentum:g}, {options.newton_schulz_steps} Newton-Schulz steps; AdamW "
        "trains embeddings, head and gains",
        "ours",
    )
    if question.protocol == "paper":
        shared = question.shared
        values = f"learning rate {shared.lr:g}, weight decay {shared.weight_decay:g}"
        ratio = f"AdamW's part of a Muon run has {shared.adamw_lr_ratio:g} times this rate"
        origin = public((shared.lr, shared.weight_decay), (1e-3, 1.0))
        yield Assumption("AdamW's hyperparameters", values, origin)
        yield Assumption("Muon's hyperparameters", f"{values}; {ratio}", "ours")
