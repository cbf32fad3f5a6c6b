"""Training on the table of an algorithmic task: batches, measurements, milestones, packs."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from telescope.data.algorithmic import open_table, resolve_table, rows_of_step
from telescope.errors import CorpusLost
from telescope.models.losses import LOSSES, probabilities
from telescope.train import flops, pack
from telescope.train.checkpoint import CheckpointFile
from telescope.train.loop import Left, step_runs, train, train_one
from telescope.train.program import choose, stepper
from telescope.train.run import TrainingRun
from telescope.trials.horizon import HorizonSpec
from telescope.trials.milestones import from_metrics, milestones_of
from telescope.trials.model import ModelSpec, ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.outcome import Measurement, completed
from telescope.trials.spec import TrialSpec
from telescope.trials.table import TableSpec
from telescope.trials.types import SoftmaxName
from tests.telescope.small import ADAMW, MUON

# 49 rows, of which 39 are trained on: 4 steps of an epoch, the last of 3 rows
ADD = resolve_table(TableSpec(task="add", modulus=7))
MODEL = ModelSpec(
    width=16, base_width=16, depth=1, head_dim=8, mlp_ratio=2.0, initial_values="torch"
)
HORIZON = HorizonSpec(
    steps=12, batch_tokens=48, decay="constant", evaluate_every=4, sustained_evaluations=2
)
EXACT_MUON = replace(MUON, newton_schulz_dtype="float32")


def trial(
    optimizer: OptimizerSpec = ADAMW, table: TableSpec = ADD, seed: int = 0, **fields: Any
) -> TrialSpec:
    return TrialSpec(
        **{"model": MODEL, "horizon": HORIZON}
        | fields
        | {"optimizer": optimizer, "data": table, "seed": seed}
    )


def values(points: Iterable[Measurement]) -> list[tuple[int, dict[str, float]]]:
    """Steps and metrics, without seconds."""
    return [
        (point.step, {k: v for k, v in point.metrics.items() if not k.endswith("seconds")})
        for point in points
    ]


@cache
def curve(spec: TrialSpec) -> list[Measurement]:
    """The points of a trial that trains alone."""
    return list(train_one(spec))


ROLES = ("embedding", "hidden", "readout", "vector")
EVALUATED = {
    *("loss", "accuracy", "balanced_accuracy", "unmirrored_accuracy", "largest_logit"),
    *("train_loss", "train_rows_loss", "train_accuracy", "train_balanced_accuracy", "saturated"),
    *("singular/hidden", "evaluation/flops", "evaluation/seconds"),
    *(f"{kind}/{role}" for kind in ("norm", "gradient", "cosine") for role in ROLES),
}


@pytest.mark.parametrize("optimizer", [ADAMW, MUON], ids=["adamw", "muon"])
def test_every_evaluation_has_all_metrics_and_the_last_point_the_milestones(
    optimizer: OptimizerSpec,
) -> None:
    points = curve(trial(optimizer))
    evaluations = [point for point in points if "loss" in point.metrics]
    assert [point.step for point in evaluations] == [4, 8, 12]
    for point in points[:-1]:
        assert set(point.metrics) == (EVALUATED if point in evaluations else {"train_loss"})
    milestones = {name for name in points[-1].metrics if name.startswith("milestone/")}
    assert set(points[-1].metrics) == EVALUATED | milestones
    assert from_metrics(points[-1].metrics) == milestones_of(points, 2)
    assert points[-1].metrics["milestone/evaluations"] == 3
    assert evaluations[0].metrics["evaluation/flops"] == flops.evaluation_flops(trial(optimizer))
    assert 0 < evaluations[0].metrics["evaluation/seconds"] < evaluations[0].seconds
    assert all(math.isfinite(value) for point in points for value in point.metrics.values())


def test_the_last_batch_of_an_epoch_is_smaller_and_tokens_and_flops_are_exact() -> None:
    spec = trial(MUON, horizon=replace(HORIZON, record_every=1))
    run = TrainingRun(spec)
    assert [len(run.batch(step)) for step in range(9)] == [12, 12, 12, 3, 12, 12, 12, 3, 12]
    points = curve(spec)
    rows = list(itertools.accumulate([12, 12, 12, 3] * 3))
    assert [point.tokens for point in points] == [4 * n for n in rows]
    per_token = flops.training_flops_per_token(MODEL, 9, 4)
    newton_schulz = flops.newton_schulz_flops(MODEL, 5)
    evaluation = 49 * 4 * per_token / 3
    assert [point.flops for point in points] == pytest.approx(
        [
            4 * n * per_token + step * newton_schulz + step // 4 * evaluation
            for step, n in enumerate(rows, start=1)
        ],
        rel=1e-12,
    )
    assert points[-1].flops == flops.trial_flops(spec)


@pytest.mark.parametrize(
    "optimizer",
    [ADAMW, EXACT_MUON, replace(ADAMW, measure_max_logit=True)],
    ids=["adamw", "muon", "observed logits"],
)
def test_flops_of_training_and_evaluation_agree_with_torchs_count(
    optimizer: OptimizerSpec,
) -> None:
    spec = trial(optimizer)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        points = list(train_one(spec))
    # torch also counts the power iteration for the largest singular value, at 3 evaluations
    matrices = {name: p for name, p in TrainingRun(spec).model.named_parameters() if p.ndim == 2}
    hidden = sum(p.numel() for name, p in matrices.items() if name.startswith("blocks"))
    extra = counter.get_total_flops() - points[-1].flops
    assert extra >= 0
    assert extra % (3 * 2 * hidden) == 0
    assert extra < 0.2 * points[-1].flops


def test_a_run_reads_the_rows_of_its_seed() -> None:
    spec = trial(seed=3)
    table = open_table(ADD)
    for step in (0, 5):
        assert torch.equal(TrainingRun(spec).batch(step), rows_of_step(table, 3, step, 12))


LEARNS = {
    "adamw": trial(replace(ADAMW, lr=0.02, weight_decay=0.0)),
    "muon": trial(replace(MUON, lr=0.05, weight_decay=0.0, adamw_lr_ratio=0.3)),
    "stablemax": trial(replace(ADAMW, lr=0.02, weight_decay=0.0), softmax="stablemax"),
    "sparsemax": trial(replace(ADAMW, lr=0.02, weight_decay=0.0), softmax="sparsemax"),
}


@pytest.mark.parametrize("spec", LEARNS.values(), ids=LEARNS)
def test_a_run_learns_its_training_rows(spec: TrialSpec) -> None:
    horizon = replace(HORIZON, steps=80, evaluate_every=16, record_every=16)
    points = curve(replace(spec, horizon=horizon))
    accuracies = [point.metrics["train_accuracy"] for point in points]
    assert accuracies[0] < 0.5
    assert accuracies[-1] > 0.5
    assert points[-1].metrics["train_rows_loss"] < points[0].metrics["train_rows_loss"] * 0.8


def test_the_variants_of_softmax_train_differently() -> None:
    losses = [curve(trial(softmax=name))[-1].metrics["loss"] for name in get_args(SoftmaxName)]
    assert all(abs(a - b) > 1e-3 for a, b in itertools.combinations(losses, 2))


# the answer is the first token, which generalises within a few epochs
COPY = "\n".join(f"{a},{b},{a}" for a in range(5) for b in range(5))


@pytest.fixture
def easy(tmp_path: Path) -> TrialSpec:
    path = tmp_path / "copy.csv"
    path.write_text(COPY)
    table = resolve_table(TableSpec(task="table", file=str(path), train_share=0.7))
    horizon = HorizonSpec(
        steps=120,
        batch_tokens=34,
        decay="constant",
        evaluate_every=5,
        record_every=5,
        sustained_evaluations=3,
        stop_when_sustained=True,
    )
    return trial(replace(ADAMW, lr=0.02, weight_decay=0.0), table, horizon=horizon)


def test_a_run_ends_once_generalisation_is_sustained(easy: TrialSpec) -> None:
    points = curve(easy)
    last = points[-1]
    accuracies = [point.metrics["accuracy"] for point in points]
    assert last.step < 120
    assert min(accuracies[-3:]) >= 0.95
    assert not any(min(accuracies[i : i + 3]) >= 0.95 for i in range(len(accuracies) - 3))
    milestones = from_metrics(last.metrics)
    assert milestones.sustained is not None
    assert milestones.sustained.step == last.step - 10
    assert milestones.sustained.previous_step == last.step - 15
    assert milestones.evaluations == len(points)
    # the same run, up to its end, without the stop
    longer = curve(replace(easy, horizon=replace(easy.horizon, stop_when_sustained=False)))
    assert values(longer)[: len(points) - 1] == values(points[:-1])
    assert longer[-1].step == 120
    later = from_metrics(longer[-1].metrics).sustained
    assert later is not None
    assert (later.step, later.flops) == (milestones.sustained.step, milestones.sustained.flops)


def test_a_run_whose_file_changed_is_lost(easy: TrialSpec) -> None:
    assert isinstance(easy.data, TableSpec)
    Path(easy.data.file).write_text(COPY.replace("4,4,4", "4,4,0"))
    with pytest.raises(CorpusLost):
        next(train_one(easy))


def test_a_run_that_diverges_ends_with_its_milestones_and_an_infinite_loss() -> None:
    horizon = replace(HORIZON, steps=200, evaluate_every=40)
    spec = trial(replace(ADAMW, lr=1e30), horizon=horizon)
    points = list(train_one(spec))
    assert points[-1].step < 200
    assert completed(spec, points).diverged
    assert from_metrics(points[-1].metrics).sustained is None
    assert not {"accuracy", "gradient/hidden"} & points[-1].metrics.keys()


DROPOUT = replace(MODEL, dropout=0.3)
RESUMED = {
    "adamw with dropout": trial(model=DROPOUT),
    "muon with dropout": trial(MUON, model=DROPOUT),
    "stablemax": trial(softmax="stablemax"),
}


@pytest.mark.parametrize("spec", RESUMED.values(), ids=RESUMED)
def test_a_run_resumed_from_any_checkpoint_yields_the_identical_rest(
    spec: TrialSpec, tmp_path: Path
) -> None:
    spec = replace(spec, horizon=replace(spec.horizon, record_every=3))
    expected = values(curve(spec))
    assert [step for step, _ in expected] == [3, 4, 6, 8, 9, 12]
    for saved_points in (1, 2, 5):  # within an epoch, at its end, at the last point but one
        path = tmp_path / f"{saved_points}.pt"
        first = train_one(spec, CheckpointFile(path, every_seconds=0))
        for _ in range(saved_points + 1):
            next(first)
        first.close()
        file = CheckpointFile(path)
        assert values(train_one(spec, file)) == expected[saved_points:]
        assert file.step == expected[saved_points - 1][0]


def members(spec: TrialSpec) -> tuple[TrialSpec, ...]:
    """Four trials of one shape: other seeds, other splits, other hyperparameters."""
    assert isinstance(spec.data, TableSpec)
    optimizer = replace(spec.optimizer, lr=2 * spec.optimizer.lr, weight_decay=0.0)
    return (
        spec,
        replace(spec, seed=1),
        replace(spec, data=replace(spec.data, split_seed=5)),
        replace(spec, optimizer=optimizer, seed=2),
    )


def together(
    specs: Sequence[TrialSpec], files: Sequence[CheckpointFile | None] | None = None
) -> list[list[Measurement]]:
    """The points of each member of a pack."""
    points: list[list[Measurement]] = [[] for _ in specs]
    for progress in train(specs, files):
        assert not isinstance(progress, Left)
        points[progress.index].append(progress.measurement)
    return points


def assert_same(points: Sequence[Measurement], expected: Sequence[Measurement]) -> None:
    """Assert that two curves are equal to rounding, except for their seconds."""
    for own, other in zip(points, expected, strict=True):
        assert (own.step, own.tokens, own.flops) == (other.step, other.tokens, other.flops)
        ((_, metrics), (_, expected_metrics)) = values([own, other])
        assert metrics == pytest.approx(expected_metrics, rel=2e-5, abs=1e-6)


PACKED = {
    "adamw": trial(),
    "adamw with dropout": trial(model=DROPOUT),
    "muon with dropout": trial(EXACT_MUON, model=DROPOUT),
    "stablemax": trial(softmax="stablemax"),
    "sparsemax": trial(softmax="sparsemax"),
}


@pytest.mark.parametrize("spec", PACKED.values(), ids=PACKED)
def test_each_member_of_a_pack_has_the_curve_that_it_has_alone(spec: TrialSpec) -> None:
    specs = members(spec)
    assert len({pack.shape(member) for member in specs}) == 1
    for member, points in zip(specs, together(specs), strict=True):
        assert_same(points, curve(member))
    finals = [curve(member)[-1].metrics["loss"] for member in specs]
    assert all(abs(a - b) > 1e-4 for a, b in itertools.combinations(finals, 2))


def test_members_at_different_places_of_an_epoch_share_a_pack(tmp_path: Path) -> None:
    first, second, *_ = members(trial(model=DROPOUT))
    early, late = (
        replace(spec, horizon=replace(spec.horizon, record_every=3)) for spec in (first, second)
    )
    file = CheckpointFile(tmp_path / "c.pt", every_seconds=0)
    running = train_one(early, file)
    for _ in range(2):
        next(running)
    running.close()
    resumed, new = together((early, late), (file, None))  # at steps 3 and 0
    assert file.step == 3
    assert_same(resumed, curve(early)[1:])
    assert_same(new, curve(late))


def test_softmaxes_tasks_and_dropouts_do_not_share_a_pack() -> None:
    others = [
        trial(),
        trial(softmax="stablemax"),
        trial(table=resolve_table(TableSpec(task="sub", modulus=7))),
        trial(table=resolve_table(TableSpec(task="add", modulus=7, train_share=0.5))),
        trial(model=DROPOUT),
        trial(model=replace(MODEL, initial_values="scaled")),
    ]
    assert len({pack.shape(spec) for spec in others}) == len(others)


def test_packs_of_few_rows_with_dropout_take_turns_when_they_are_timed() -> None:
    spec = trial(model=DROPOUT)  # 12 rows
    step = stepper(spec, 8, pack.program_of(spec, pack.losses))
    assert all(step(size) > 0 for size in (1, 2, 1, 8, 1, 4))
    program = choose(spec, 8, steps=1e6)
    assert not program.compiled
    assert 1 <= program.members <= 8


class Reads(nn.Module):
    """A user's module that returns logits for the tokens of a question; it has dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(9, width), nn.Dropout(0.1)
        self.mix = nn.Conv1d(width, width, kernel_size=4, padding=3)
        self.head = nn.Linear(width, 9, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        x = self.dropout(torch.relu(x + self.mix(x.mT)[..., : tokens.shape[1]].mT))
        result: torch.Tensor = self.head(x)
        return result


def test_a_users_module_trains_on_a_table(tmp_path: Path) -> None:
    model = ModuleSpec(family="module", factory=f"{__name__}:Reads", width=16, base_width=16)
    horizon = replace(HORIZON, steps=80, evaluate_every=20, record_every=20)
    spec = trial(replace(ADAMW, lr=0.02), model=model, horizon=horizon)
    assert not pack.packable(model)
    points = curve(spec)
    assert set(points[0].metrics) == EVALUATED
    assert points[-1].metrics["train_accuracy"] > 0.3 > points[0].metrics["train_accuracy"]
    file = CheckpointFile(tmp_path / "c.pt", every_seconds=0)
    running = train_one(spec, file)
    for _ in range(3):
        next(running)
    running.close()
    assert values(train_one(spec, file)) == values(points[2:])


def trained(spec: TrialSpec) -> TrainingRun:
    """A run at its 60th step, before its evaluation."""
    run = TrainingRun(spec)
    losses = pack.program_of(spec, pack.losses)
    for _ in range(60):
        step_runs([run], losses)
    return run


GCD = resolve_table(TableSpec(task="gcd", modulus=9))
MEASURED = {
    **{
        name: trial(replace(ADAMW, lr=0.02), softmax=name, model=DROPOUT)  # type: ignore[arg-type]
        for name in get_args(SoftmaxName)
    },
    "gcd": trial(MUON, GCD),
}


@pytest.mark.parametrize("spec", MEASURED.values(), ids=MEASURED)
def test_an_evaluation_agrees_with_a_recomputation_row_by_row(spec: TrialSpec) -> None:
    spec = replace(spec, horizon=replace(HORIZON, steps=200, evaluate_every=60))
    run = trained(spec)
    metrics = run.judge().evaluation
    assert isinstance(spec.data, TableSpec)
    table = open_table(spec.data)
    run.model.eval()  # type: ignore[attr-defined]
    right, losses, logits, saturated = {}, {}, {}, []
    for number, row in enumerate(table.rows.tolist()):
        *question, answer = row
        with torch.no_grad():
            z = run.model(torch.tensor([question]))[:, -1]
        right[number] = int(z.argmax()) == answer
        losses[number] = float(LOSSES[spec.softmax](z, torch.tensor([answer])))
        logits[number] = float(z.max())
        if number in table.train:
            p = probabilities(spec.softmax, z).float()[0, answer]
            saturated.append(float(p) == 1.0)

    def mean(numbers: Iterable[int], of: dict[int, Any]) -> float:
        chosen = [float(of[number]) for number in numbers]
        return sum(chosen) / len(chosen)

    def balanced(numbers: Iterable[int]) -> float:
        by_answer: dict[int, list[int]] = {}
        for number in numbers:
            by_answer.setdefault(int(table.rows[number, -1]), []).append(number)
        return sum(mean(own, right) for own in by_answer.values()) / len(by_answer)

    pairs = {tuple(table.rows[number, [0, 2]].tolist()) for number in table.train}
    unmirrored = [n for n in table.held_out if tuple(table.rows[n, [2, 0]].tolist()) not in pairs]
    expected = {
        "loss": mean(table.held_out, losses),
        "accuracy": mean(table.held_out, right),
        "balanced_accuracy": balanced(table.held_out),
        "unmirrored_accuracy": mean(unmirrored, right),
        "train_rows_loss": mean(table.train, losses),
        "train_accuracy": mean(table.train, right),
        "train_balanced_accuracy": balanced(table.train),
        "largest_logit": max(logits.values()),
        "saturated": sum(saturated) / len(saturated),
    }
    assert 0 < len(unmirrored) < len(table.held_out)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert expected["train_accuracy"] > 0.2


def test_norms_and_the_largest_singular_value_are_those_of_the_parameters() -> None:
    run = trained(trial(MUON, horizon=replace(HORIZON, steps=60, evaluate_every=60)))
    metrics = run.judge().evaluation
    parameters = {name: p.detach() for name, p in run.model.named_parameters()}
    roles = run.model.parameter_roles()
    for role in ROLES:
        own = torch.cat([p.flatten() for name, p in parameters.items() if roles[name] == role])
        assert metrics[f"norm/{role}"] == pytest.approx(float(own.norm()), rel=1e-5)
    hidden = [p for name, p in parameters.items() if roles[name] == "hidden"]
    largest = max(float(torch.linalg.svdvals(p)[0]) for p in hidden)
    assert metrics["singular/hidden"] == pytest.approx(largest, rel=0.03)


def test_gradients_at_an_evaluation_are_those_of_the_last_step() -> None:
    spec = trial(model=DROPOUT, softmax="sparsemax")
    run = TrainingRun(spec)
    losses = pack.program_of(spec, pack.losses)
    for _ in range(3):
        step_runs([run], losses)
    assert run.data.gradients == {}
    run.reseed()
    names = [name for name, _ in run.model.named_parameters()]
    loss = losses([run.model], run.batch(3)[None]).sum()
    gradients = torch.autograd.grad(loss, list(run.model.parameters()))
    weights = [p.detach().clone() for p in run.model.parameters()]
    step_runs([run], losses)
    metrics = run.metrics(run.judge())
    for role in ROLES:
        own = [run.model.parameter_roles()[name] == role for name in names]
        gradient, weight = (
            torch.cat([x.flatten() for x in itertools.compress(tensors, own)])
            for tensors in (gradients, weights)
        )
        assert metrics[f"gradient/{role}"] == pytest.approx(float(gradient.norm()), rel=1e-4)
        cosine = torch.nn.functional.cosine_similarity(gradient, weight, dim=0)
        assert metrics[f"cosine/{role}"] == pytest.approx(float(cosine), abs=1e-5)


def test_a_table_without_mirrors_has_no_unmirrored_accuracy() -> None:
    unordered = resolve_table(TableSpec(task="add", modulus=7, split="unordered"))
    for table in (unordered, resolve_table(TableSpec(task="sub", modulus=7))):
        points = curve(trial(table=table))
        assert set(points[3].metrics) == EVALUATED - {"unmirrored_accuracy"}


def test_a_model_that_is_certain_is_saturated_under_softmax_but_not_under_stablemax() -> None:
    for softmax, expected in (("softmax", 1.0), ("stablemax", 0.0)):
        spec = trial(replace(ADAMW, lr=0.02, weight_decay=0.0), softmax=softmax)
        run = trained(replace(spec, horizon=replace(HORIZON, steps=60, evaluate_every=60)))
        with torch.no_grad():
            run.model.get_parameter("head.weight").mul_(1000)
        metrics = run.judge().evaluation
        assert metrics["saturated"] == pytest.approx(expected * metrics["train_accuracy"])
        assert metrics["train_accuracy"] > 0.3
