"""One job over architectures or texts: are its ladders those of single jobs, and does their
comparison say what is so?
"""

import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from surfaces.bowls import LOWS, Surface, document, random_surface, study
from telescope.studies import run_study
from telescope.studies.forecast.pace import Machine
from telescope.studies.registry import parse, report_document, to_document
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.forecast.preview import preview
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.question.documents import collapse, expand
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import texts, variant_of, variants
from telescope.studies.telescoping.report import Difference, Report
from telescope.train.flops import parameters
from telescope.trials.outcome import Trial, completed
from telescope.trials.spec import TrialSpec

EXAMPLES = Path(__file__).parents[5] / "api" / "examples"
MIDDLE = tuple(low + 3.3 for low in LOWS)
PLAIN, TIED, SQUARED = (
    {"name": "plain"},
    {"name": "tied", "tied_embeddings": True},
    {"name": "squared", "mlp": "relu2"},
)
ARCHITECTURES = {"model": [PLAIN, TIED, SQUARED]}
CODE, PROSE = (
    {"name": name, "corpus": of, "content": of, "vocab_size": 256}
    for name, of in (("code", "a"), ("prose", "b"))
)
TEXTS = {"data": [CODE, PROSE]}


def architecture(spec: TrialSpec) -> str:
    """Which of the three a run is of."""
    return (
        "squared"
        if spec.model.mlp == "relu2"
        else "tied"
        if spec.model.tied_embeddings
        else "plain"
    )


def text(spec: TrialSpec) -> str:
    """Which of the two a run reads."""
    return {"a": "code", "b": "prose"}[spec.data.content]


def on(of: Any, **surfaces: Surface) -> Any:
    """A `train_one` with a surface for each variant."""
    return lambda spec: surfaces[of(spec)](spec)


def question_with(over: dict[str, Any] = ARCHITECTURES, axes: int = 1, **changes: Any) -> Question:
    return study(axes, sweep_over=over, **changes)


def apart(report: Report, *variants: str, name: str = "lr") -> Difference:
    """How far the optima of two variants lie from each other."""
    assert report.comparison is not None
    (match,) = [
        difference
        for difference in report.comparison.differences
        if {difference.first, difference.second} == set(variants)
        and difference.hyperparameter == name
    ]
    return match


def all_trials(question: Question, train: Any) -> list[Trial]:
    """What a question trains until it is answered."""
    trials: list[Trial] = []
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, train(spec)) for spec in plan.start]
    return trials


# Ladders


@pytest.mark.parametrize(
    ("over", "of", "alone"),
    [
        (
            ARCHITECTURES,
            architecture,
            [
                {"model": document()["model"] | ladder_report}
                for ladder_report in ({}, {"tied_embeddings": True}, {"mlp": "relu2"})
            ],
        ),
        (
            TEXTS,
            text,
            [
                {"data": document()["data"] | {"corpus": ladder_report, "content": ladder_report}}
                for ladder_report in "ab"
            ],
        ),
    ],
)
def test_every_variant_trains_and_answers_what_a_job_of_it_alone_does(
    over: Any, of: Any, alone: list[dict[str, Any]]
) -> None:
    names = [ladder_report["name"] for (entries,) in [over.values()] for ladder_report in entries]
    train = on(of, **{name: random_surface(i, 1, noise=0.2) for i, name in enumerate(names)})
    together = question_with(over, coordinates="check")
    trials = all_trials(together, train)
    report = KIND.of(together).report(trials)
    assert [variant.name for variant in variants(together)] == names
    for name, changes in zip(names, alone, strict=True):
        single = study(1, coordinates="check", **changes)
        own = all_trials(single, train)
        assert {trial.digest for trial in own} == {
            trial.digest for trial in trials if variant_of(together, trial.spec) == name
        }
        (ladder,) = [
            ladder_report for ladder_report in report.ladders if ladder_report.variant == name
        ]
        assert (replace(ladder, variant="", differs={}),) == KIND.of(single).report(own).ladders
    assert report.final


def test_variants_do_not_wait_for_each_other() -> None:
    question, surface = question_with(), Surface(MIDDLE[:1])
    trials: list[Trial] = []
    for _ in range(50):
        mine = [
            spec for spec in KIND.of(question).plan(trials).start if architecture(spec) == "tied"
        ]
        trials += [completed(spec, surface(spec)) for spec in mine]
    plain, tied, squared = KIND.of(question).report(trials).ladders
    assert tied.verdict == "resolved"
    assert not plain.levels
    assert not squared.levels
    report = KIND.of(question).report(trials)
    assert (report.final, report.verdict) == (False, "unresolved")
    assert report.reason.startswith("plain: ")
    assert "; squared: " in report.reason
    assert report.comparison is not None
    assert [row.loss is None for row in report.comparison.rows] == [True, False, True]
    assert not report.comparison.differences


def test_all_completion_orders_give_one_set_of_trials_and_one_report() -> None:
    train = on(
        architecture,
        plain=random_surface(1, 1, noise=0.2),
        tied=random_surface(2, 1, noise=0.2),
        squared=random_surface(3, 1, noise=0.2),
    )
    doc = document(1, sweep_over=ARCHITECTURES)

    def life(seed: int) -> tuple[set[str], Report]:
        rng, question, ended = random.Random(seed), parse(doc).question, dict[str, Trial]()
        while not (
            plan := KIND.of(question).plan(rng.sample(list(ended.values()), len(ended)))
        ).done:
            assert not ended.keys() & {spec.digest for spec in plan.start}
            for spec in rng.sample(plan.start, rng.randint(1, len(plan.start))):
                ended[spec.digest] = completed(spec, train(spec))
            if rng.random() < 0.2:
                question = parse(to_document(KIND.of(question))).question
        return set(ended), KIND.of(question).report(rng.sample(list(ended.values()), len(ended)))

    first = life(0)
    assert all(life(seed) == first for seed in range(1, 4))


def test_limits_are_shared_out_over_optimizers_and_variants_and_never_exceeded() -> None:
    many = question_with(optimizer=["muon", "adamw"], limits={"max_trials": 6 * 12})
    trials = all_trials(many, random_surface(3, 1, noise=0.2))
    report = KIND.of(many).report(trials)
    assert len(report.ladders) == len(all_ladders(many)) == 6
    assert {ladder.reason for ladder in report.ladders} == {"limits.max_trials is used up"}
    assert all(8 <= ladder.cost.trials <= 12 for ladder in report.ladders)
    base = all_ladders(many)[0].base_flops
    costly = question_with(limits={"max_flops": 3 * 60 * base})
    assert all(
        ladder.cost.flops <= 60 * base
        for ladder in run_study(KIND.of(costly), random_surface(3, 1, noise=0.2)).ladders
    )


def test_a_preview_counts_all_ladders() -> None:
    together = preview(question_with())
    single = [
        preview(study(1, model=document()["model"] | ladder))
        for ladder in ({}, {"tied_embeddings": True}, {"mlp": "relu2"})
    ]
    assert [(ladder.optimizer, ladder.variant) for ladder in together.ladders] == [
        ("muon", "plain"),
        ("muon", "tied"),
        ("muon", "squared"),
    ]
    assert together.trials.least == sum(ladder.trials.least for ladder in single)
    assert together.flops.least == pytest.approx(sum(ladder.flops.least for ladder in single))
    assert together.disk.checkpoint_bytes == max(ladder.disk.checkpoint_bytes for ladder in single)
    assert together.final_run_flops == max(ladder.final_run_flops for ladder in single)


def test_what_a_preview_advises_some_variants_alone_names_them() -> None:
    over = {"model": [PLAIN, {"name": "one head", "head_dim": 32}]}
    model = document()["model"] | {"base_width": 32, "calibration_width": 64, "target_width": 64}
    text = preview(question_with(over, model=model)).advice
    assert any("fewer than three widths" in advice and "plain" not in advice for advice in text)
    assert len(text) == len(set(text))


# Comparison


def test_variants_with_different_optima_are_told_apart_and_equal_ones_are_not() -> None:
    held, consistent, distinct = [], [], []
    for number in range(6):
        surface = random_surface(number, 1, noise=0.2)
        moved = replace(surface, target=(surface.target[0] + 1.5,), number=100 + number)
        report = run_study(
            KIND.of(question_with()),
            on(
                architecture,
                plain=surface,
                tied=replace(surface, number=200 + number),
                squared=moved,
            ),
        )
        same, different = apart(report, "plain", "tied"), apart(report, "plain", "squared")
        assert (same.first, same.second, different.second) == ("plain", "tied", "squared")
        consistent.append(same.consistent)
        distinct.append(not different.consistent and different.octaves > 0)
        held += [same.low <= 0 <= same.high, different.low <= 1.5 <= different.high]
        lr = {
            ladder.variant: math.log2(ladder.hyperparameters["lr"].value)
            for ladder in report.ladders
        }
        assert different.octaves == pytest.approx(lr["squared"] - lr["plain"], abs=1e-5)
    assert sum(consistent) >= 5
    assert sum(distinct) >= 5
    assert sum(held) >= 10


def test_of_architectures_the_lowest_loss_is_the_best_beside_its_size_and_cost() -> None:
    surface = Surface(MIDDLE[:2])
    better = replace(surface, scale=(0.97,) * 8)
    question = question_with(axes=2, optimizer=["muon", "adamw"])
    report = run_study(
        KIND.of(question),
        lambda spec: (
            better if (architecture(spec), spec.optimizer.name) == ("tied", "adamw") else surface
        )(spec),
    )
    assert (report.best_variant, report.best) == ("tied", "adamw")
    assert [(entry.name, entry.verdict) for entry in report.variants] == [
        ("plain", "resolved"),
        ("tied", "resolved"),
        ("squared", "resolved"),
    ]
    assert report.variants[1].best == "adamw"
    comparison = report.comparison
    assert comparison is not None
    assert (comparison.over, comparison.width) == (
        "model",
        min(ladder.levels[-1].width for ladder in report.ladders),
    )
    rows = {(row.variant, row.optimizer): row for row in comparison.rows}
    assert rows["tied", "adamw"].loss == min(
        row.loss for row in comparison.rows if row.loss is not None
    )
    for variant in variants(question):
        row = rows[variant.name, "muon"]
        assert row.parameters == parameters(
            variant.question.model.at(comparison.width or 0), 256, variant.question.data.context
        )
        level = variant.question.model.widths.index(comparison.width or 0)
        assert (
            row.flops
            == all_ladders(variant.question)[0].base_flops
            * all_ladders(variant.question)[0].costs[level]
        )
    assert {entry.optimizer for entry in comparison.differences} == {"muon", "adamw"}
    assert len(comparison.differences) == 2 * 3 * 2  # optimizers, pairs, hyperparameters


def test_of_texts_none_is_called_the_best_and_each_has_a_best_optimizer_of_its_own() -> None:
    surface = Surface(MIDDLE[:1])

    def train(spec: TrialSpec) -> Any:
        scale = {
            ("code", "muon"): 0.4,
            ("code", "adamw"): 0.41,
            ("prose", "muon"): 1.02,
            ("prose", "adamw"): 1.0,
        }[text(spec), spec.optimizer.name]
        return replace(surface, scale=(scale,) * 8)(spec)

    report = run_study(KIND.of(question_with(TEXTS, optimizer=["muon", "adamw"])), train)
    assert (report.best, report.best_variant) == (None, "")
    assert [(variant.name, variant.best) for variant in report.variants] == [
        ("code", "muon"),
        ("prose", "adamw"),
    ]
    assert report.comparison is not None
    assert report.comparison.remark.startswith("losses of different texts are not comparable")
    assert [ladder.differs for ladder in report.ladders[::2]] == [{"corpus": "a"}, {"corpus": "b"}]


def test_the_verdict_is_the_worst_of_the_variants_and_names_it() -> None:
    search = {name: entry | {"extend": False} for name, entry in document(1)["search"].items()}
    inside, outside = Surface(MIDDLE[:1]), Surface((LOWS[0] - 3,), scale=(1.1,) * 8)
    report = run_study(
        KIND.of(question_with(search=search)),
        on(architecture, plain=inside, tied=inside, squared=outside),
    )
    assert (report.final, report.verdict, report.best_variant) == (True, "unbracketed", "plain")
    assert report.reason.startswith("squared: the optimum of lr lies at the border")
    assert report.comparison is not None
    assert {(entry.first, entry.second) for entry in report.comparison.differences} == {
        ("plain", "tied")
    }
    refusing = run_study(
        KIND.of(question_with(coordinates="check", search=search)),
        on(architecture, plain=inside, tied=replace(inside, growth=0.5), squared=outside),
    )
    assert (refusing.final, refusing.verdict) == (True, "refused")
    assert refusing.reason.startswith("tied: the coordinate check fails")
    all_well = run_study(KIND.of(question_with()), inside)
    assert all_well.verdict == "resolved"
    assert re.findall(r"(\w+): ", all_well.reason) == [
        "plain",
        "tied",
        "squared",
    ]


def test_a_report_over_variants_travels_as_plain_json() -> None:
    as_json = report_document(
        run_study(KIND.of(question_with(TEXTS)), random_surface(1, 1, noise=0.2))
    )
    assert json.loads(json.dumps(as_json, allow_nan=False)) == as_json


# Documents


def test_an_entry_says_what_differs_and_the_study_says_it_again() -> None:
    question = question_with()
    assert to_document(KIND.of(question))["sweep_over"] == {
        "model": [PLAIN, TIED, SQUARED],
        "data": None,
    }
    assert parse(to_document(KIND.of(question))).question == question
    plain, tied, _ = variants(question)
    assert plain.question.model == question.model
    assert tied.question.model == replace(question.model, tied_embeddings=True)
    assert (plain.differing_fields, tied.differing_fields) == ({}, {"tied_embeddings": True})


def test_what_an_entry_leaves_out_follows_the_block_but_for_what_was_found_in_its_text() -> None:
    of = to_document(KIND.of(question_with(TEXTS)))
    assert of["sweep_over"] == {"model": None, "data": [CODE, PROSE]}
    longer = parse(of | {"data": of["data"] | {"context": 32}}).question
    assert {data.context for data in texts(longer).values()} == {32}
    assert [data.content for data in texts(longer).values()] == ["a", "b"]


@pytest.mark.parametrize(("file", "ladders"), [("architectures", 3), ("mixtures", 3)])
def test_the_examples_fit_their_limits_and_take_minutes(file: str, ladders: int) -> None:
    question = parse(YAML(typ="safe").load((EXAMPLES / f"{file}.yaml").read_text())).question
    assert len(all_ladders(question)) == ladders
    forecast = preview(question, Machine(slots=2))
    assert forecast.trials.expected < question.limits.max_trials
    assert forecast.seconds.expected < 360


def test_null_in_an_entry_goes_back_to_the_default() -> None:
    model = document()["model"] | {"mlp": "gelu"}
    question = question_with({"model": [PLAIN, {"name": "gated", "mlp": None}]}, model=model)
    assert [variant.question.model.mlp for variant in variants(question)] == ["gelu", "gated"]


@pytest.mark.parametrize(
    "entry",
    [
        {"preset": "gpt2-like", "head_dim": 8},
        {"preset": "llama-like", "depth": 3},
        {"family": "module", "factory": "tests.telescope.user_models:mixture"},
    ],
    ids=["preset", "preset and a field", "a user's"],
)
def test_entries_of_other_presets_and_families_come_back_from_their_documents(
    entry: dict[str, Any],
) -> None:
    model = {
        "base_width": 16,
        "calibration_width": 32,
        "target_width": 64,
        "depth": 1,
        "head_dim": 8,
    }
    job = {
        "kind": "telescope",
        "model": model,
        "data": {"corpus": "python-stdlib", "context": 32},
        "search": {"lr": {"low": 0.01, "high": 0.1, "points": 5}},
        "sweep_over": {"model": [{"name": "own"}, {"name": "other"} | entry]},
    }
    asking = parse(job).question
    assert parse(to_document(KIND.of(asking))).question == asking
    another = variants(asking)[1].question.model
    assert entry.items() <= {name: getattr(another, name, None) for name in entry}.items()
    if entry.get("preset") == "gpt2-like":
        assert (another.positions, another.norm, another.mlp) == ("learned", "layer", "gelu")


def test_documents_without_variants_stay_as_they_are() -> None:
    for job in (
        document(),
        document(sweep_over=None),
        document(sweep_over="model"),
        document(sweep_over={"model": 3}),
    ):
        assert expand(job) == job
    assert collapse(document(sweep_over=None)) == document(sweep_over=None)
