"""Documents: what is refused, in which words, and that what is accepted survives a round trip."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from surfaces.bowls import Surface, document, random_surface, study
from telescope.errors import InvalidInput
from telescope.studies.registry import parse, report_document, to_document
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.specs import trial_spec
from telescope.studies.telescoping.forecast.preview import preview
from telescope.studies.telescoping.kind import KIND

QUICKSTART = Path(__file__).parents[3] / "api" / "examples" / "quickstart.yaml"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good document with one field set; dots lead inwards."""
    doc = copy.deepcopy(document())
    *parents, last = path.split(".")
    place = doc
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return doc


REFUSED = [
    # set this, to that: then this field is named, with these words
    ("kind", "telescop", "kind", "did you mean telescope"),
    ("kind", 3, "kind", "one of"),
    ("optimiser", "muon", "optimiser", "did you mean optimizer"),
    ("search.lr.hi", 1.0, "search.lr.hi", "did you mean high"),
    ("search.weight_decay.point", 3, "search.weight_decay.point", "did you mean points"),
    ("model.widht", 3, "model.widht", "unknown key"),
    ("horizon.batch_token", 3, "horizon.batch_token", "did you mean batch_tokens"),
    ("limits.max_trial", 3, "limits.max_trial", "did you mean max_trials"),
    ("model.base_width", "32", "model.base_width", "integer"),
    ("model.base_width", True, "model.base_width", "integer"),
    ("seeds", True, "seeds", "integer"),
    ("seeds", 1.5, "seeds", "integer"),
    ("seeds", 0, "seeds", "greater than or equal to 1"),
    ("seeds", 3, "seeds", "schedule: paper"),
    ("search.lr.low", 0.5, "search.lr.low", "not below high"),
    ("search.lr.low", 2.0, "search.lr.low", "not below high"),
    ("search.lr.low", -0.1, "search.lr.low", "greater than 0"),
    ("search.lr.low", float("nan"), "search.lr.low", "finite"),
    ("search.lr.high", float("inf"), "search.lr.high", "finite"),
    ("search.weight_decay", float("nan"), "search.weight_decay", "finite"),
    ("search.lr.low", 1e-30, "search.lr.low", "choose a range within"),
    ("search.lr.high", 1e30, "search.lr.high", "choose a range within"),
    ("search.lr.points", 10**9, "search.lr.points", "too close"),
    ("model.target_width", 10**9, "model.target_width", "less than or equal to"),
    ("search.lr.points", 0, "search.lr.points", "greater than or equal to 1"),
    ("search.lr.points", 3, "search.lr.points", "at least 4"),
    ("search.lr.points", 300, "search.lr.points", "too close"),
    ("search.lr", 0.1, "search.lr", "must be a mapping with fields such as low, high"),
    ("search.lr", None, "search.lr", "it is empty"),
    ("data", None, "data", "must be a mapping with fields such as corpus"),
    ("model.base_width", 40, "model.base_width", "not divisible by head_dim"),
    ("model.calibration_width", 96, "model.calibration_width", "use 128"),
    ("model.calibration_width", 16, "model.calibration_width", "use 32"),
    ("model.target_width", 128, "model.target_width", "below calibration_width 256"),
    ("model.target_width", 520, "model.target_width", "use a multiple of 16, such as 512"),
    ("model.head_dim", 15, "model.head_dim", "multiple of 2"),
    ("model.family", "mlp", "model.family", "transformer"),
    (
        "model.preset",
        "lama-like",
        "model.preset",
        "there is no such preset; did you mean llama-like?",
    ),
    (
        "model.preset",
        "transformer",
        "model.preset",
        "known are gemma-like, gpt2-like, grokking, llama-like, mla",
    ),
    ("model.preset", ["mla"], "model.preset", "gpt2-like"),
    ("model", {"preset": "mla"}, "model.base_width", "is missing"),
    ("model.rotary_dim", 4, "model.rotary_dim", "use attention: mla"),
    ("model.positions", "absolute", "model.positions", "learned"),
    ("optimizer_options.qk_clip", 0, "optimizer_options.qk_clip", "greater than 0"),
    (
        "optimizer_options.qk_clip_alpha",
        0.2,
        "optimizer_options.qk_clip_alpha",
        "no meaning without qk_clip",
    ),
    ("optimizer_options.qk_clips", 2, "optimizer_options.qk_clips", "did you mean qk_clip"),
    ("horizon.batch_tokens", 32, "horizon.batch_tokens", "smaller than one context"),
    ("horizon.batch_tokens", 500, "horizon.batch_tokens", "use 448 or 512"),
    ("horizon.micro_batch_tokens", 384, "horizon.micro_batch_tokens", "does not divide"),
    (
        "horizon.micro_batch_tokens",
        384,
        "horizon.micro_batch_tokens",
        "that is a multiple of the context",
    ),
    ("horizon.micro_batch_tokens", 32, "horizon.micro_batch_tokens", "smaller than one context"),
    ("horizon.steps", 0, "horizon.steps", "greater than or equal to 1"),
    ("horizon.decay", "liner", "horizon.decay", "linear"),
    ("data.corpus", "", "data.corpus", "at least 1 character"),
    ("data.corpus", 7, "data.corpus", "string"),
    (
        "data.corpus",
        ["a", "b"],
        "data.corpus",
        "a mapping of two or more corpora to weights, such as {python-stdlib: 7",
    ),
    ("data.corpus", {}, "data.corpus", "two parts or more"),
    ("data.corpus", {"a": 1.0}, "data.corpus", "give a single corpus by its name"),
    ("data.corpus", {"a": 1, "": 1}, "data.corpus", "has no name"),
    (
        "data.corpus",
        {"a": 1, "b": 0},
        "data.corpus",
        "b has the weight 0; use a number above 0",
    ),
    ("data.corpus", {"a": 1, "b": -0.5}, "data.corpus", "b has the weight -0.5"),
    (
        "data.corpus",
        {"a": 1, "b": "0.5"},
        "data.corpus",
        "b has the weight '0.5'; use a number",
    ),
    ("data.corpus", {"a": 1, "b": True}, "data.corpus", "b has the weight True"),
    ("data.corpus", {"a": 1, "b": 10**400}, "data.corpus", "up to 1e+09"),
    (
        "data.corpus",
        {"a": 1e6, "b": 0.1},
        "data.corpus",
        "b has less than a millionth of the sum of the weights",
    ),
    ("data.corpus", {"a": 1, "b": float("nan")}, "data.corpus.b", "finite"),
    ("optimizer", ["muon", "muon"], "optimizer", "twice"),
    ("optimizer", [], "optimizer", "empty"),
    ("optimizer", "sgd", "optimizer", "muon"),
    ("optimizer", ["muon", "sgd"], "optimizer.1", "muon"),
    ("limits.max_trials", 23, "limits.max_trials", "24 runs"),
    ("limits.max_base_runs", 20, "limits.max_base_runs", "24 runs"),
    ("schedule", "greedy", "schedule", "robust"),
    ("optimizer_options.lr_convention", "absolute", "optimizer_options.lr_convention", "mup-paper"),
    (
        "optimizer_options.muon_lr_rule",
        "inverse",
        "optimizer_options.muon_lr_rule",
        "use constant, or set force_pairing: true",
    ),
    (
        "optimizer_options.weight_decay_rul",
        "constant",
        "optimizer_options.weight_decay_rul",
        "did you mean weight_decay_rule",
    ),
    ("force_pairing", "yes", "force_pairing", "use true or false"),
    ("name", {1, 2}, "name", "must be text"),
    ("adamw_lr_ratio", 0, "adamw_lr_ratio", "greater than 0"),
    ("sweep_ovr", {}, "sweep_ovr", "did you mean sweep_over"),
    ("sweep_over", {"modl": []}, "sweep_over.modl", "did you mean model"),
    ("sweep_over", {}, "sweep_over", "varies nothing; name two models or data sets"),
    (
        "sweep_over",
        {"model": [{"name": "a"}], "data": [{"name": "b"}]},
        "sweep_over",
        "for both, submit two jobs",
    ),
    ("sweep_over.model", [], "sweep_over.model", "fewer than two"),
    (
        "sweep_over.model",
        [{"name": "a"}],
        "sweep_over.model",
        "add another, or leave sweep_over out",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"mlp": "gelu"}],
        "sweep_over.model.1.name",
        "is missing; give it",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, "b"],
        "sweep_over.model.1",
        "must be a mapping with a name and the fields that differ from model",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "mpl": "gelu"}],
        "sweep_over.model.1.mpl",
        "unknown key; did you mean mlp?",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "mlp": "gel"}],
        "sweep_over.model.1.mlp",
        "gelu",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "depth": "3"}],
        "sweep_over.model.1.depth",
        "integer",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "a", "mlp": "gelu"}],
        "sweep_over.model.1.name",
        "is the name of another variant",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b"}],
        "sweep_over.model.1",
        "b is the same as a",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "[red]", "depth": 1}],
        "sweep_over.model.1.name",
        "letters, digits",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": " b", "depth": 1}],
        "sweep_over.model.1.name",
        "with no space at either end",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b" * 41, "depth": 1}],
        "sweep_over.model.1.name",
        "1 to 40",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "base_width": 64}],
        "sweep_over.model.1.base_width",
        "compared width by width",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "target_depth": 4}],
        "sweep_over.model.1.target_depth",
        "change it here or in model",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "head_dim": 24}],
        "sweep_over.model.1.base_width",
        "not divisible by head_dim",
    ),
    (
        "sweep_over.model",
        [{"name": "a"}, {"name": "b", "tied_embeddings": True, "head_form": "rescaled"}],
        "sweep_over.model.1.head_form",
        "tied_embeddings: false",
    ),
    (
        "sweep_over.data",
        [{"name": "a"}, {"name": "b", "corpus": ""}],
        "sweep_over.data.1.corpus",
        "at least 1 character",
    ),
    (
        "sweep_over.data",
        [{"name": "a"}, {"name": "b", "corpus": None}],
        "sweep_over.data.1.corpus",
        "is missing; give it",
    ),
    (
        "sweep_over.data",
        [{"name": "a"}, {"name": "b", "context": 48}],
        "sweep_over.data.1",
        "batch_tokens 512 is not a multiple of the context",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "field", "words"), REFUSED, ids=[f"{r[0]}={r[1]}"[:60] for r in REFUSED]
)
def test_a_bad_value_is_refused_naming_field_value_and_remedy(
    path: str, value: Any, field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(changed(path, value))
    named = {problem.field: problem for problem in refusal.value.problems}
    assert field in named, list(named)
    assert words in named[field].message
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    "missing",
    [
        "kind",
        "model",
        "data",
        "search",
        "model.base_width",
        "search.lr",
        "data.corpus",
        "search.lr.high",
    ],
)
def test_a_missing_field_is_named(missing: str) -> None:
    doc = copy.deepcopy(document())
    *parents, last = missing.split(".")
    place = doc
    for name in parents:
        place = place[name]
    del place[last]
    with pytest.raises(InvalidInput) as refusal:
        parse(doc)
    assert [problem.field for problem in refusal.value.problems] == [missing]


def test_a_document_that_nests_without_end_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(20_000):
        nested = [nested]
    with pytest.raises(InvalidInput, match="too deeply"):
        parse(document() | {"name": nested})


@pytest.mark.parametrize("doc", [None, [], "kind: telescope", 3, {}, {1: 2}])
def test_what_is_no_document_at_all_is_refused(doc: Any) -> None:
    with pytest.raises(InvalidInput):
        parse(doc)


def test_what_is_wrong_with_a_block_is_said_once_whatever_varies() -> None:
    doc = document(sweep_over={"model": [{"name": "a"}, {"name": "b", "mlp": "gelu"}]})
    for wrong in ({"depth": "3"}, {"base_width": 40}, {"mpl": "gelu"}):
        with pytest.raises(InvalidInput) as refusal:
            parse(doc | {"model": doc["model"] | wrong})
        fields = [problem.field for problem in refusal.value.problems]
        assert fields[0] == f"model.{next(iter(wrong))}"
        assert not any(field.startswith("sweep_over") for field in fields)


def test_the_limits_of_all_variants_ladders_are_shares() -> None:
    doc = document(
        optimizer=["muon", "adamw"],
        sweep_over={
            "model": [{"name": "a"}, {"name": "b", "mlp": "gelu"}, {"name": "c", "depth": 1}]
        },
    )
    with pytest.raises(InvalidInput, match="for each of 6 ladders; raise it to 144"):
        parse(doc | {"limits": {"max_trials": 143}})
    parse(doc | {"limits": {"max_trials": 144}})


def test_all_problems_are_reported_together() -> None:
    doc = changed("search.lr.low", 2.0)
    doc["model"] |= {"target_width": 100, "calibration_width": 96}
    with pytest.raises(InvalidInput) as refusal:
        parse(doc)
    fields = {problem.field for problem in refusal.value.problems}
    assert fields == {"search.lr.low", "model.target_width", "model.calibration_width"}


def test_the_ratio_of_adamw_cannot_be_swept_without_muon() -> None:
    doc = changed("search.adamw_lr_ratio", {"low": 0.1, "high": 1.0, "points": 3}) | {
        "optimizer": "adamw"
    }
    with pytest.raises(InvalidInput, match="without muon"):
        parse(doc)


def test_sustained_generalisation_is_refused_for_text() -> None:
    doc = changed("horizon.evaluate_every", 10)
    doc["horizon"]["sustained_evaluations"] = 3
    with pytest.raises(InvalidInput, match=r"horizon\.sustained_evaluations: applies to tables"):
        parse(doc)


def test_runs_that_would_all_end_at_one_loss_are_refused() -> None:
    doc = changed("horizon.evaluate_every", 10)
    parse(doc)
    doc["horizon"]["stop_below_loss"] = 3.0
    with pytest.raises(
        InvalidInput, match="would end all runs at the same loss; leave it out"
    ) as refusal:
        parse(doc)
    assert [(problem.field, problem.value) for problem in refusal.value.problems] == [
        ("horizon.stop_below_loss", 3.0)
    ]


def test_the_budget_of_robust_is_refused_under_the_paper() -> None:
    doc = changed("limits.max_base_runs", 100)
    parse(doc)
    with pytest.raises(InvalidInput, match=r"set limits\.max_trials") as refusal:
        parse(doc | {"schedule": "paper"})
    assert [problem.field for problem in refusal.value.problems] == ["limits.max_base_runs"]


@pytest.mark.parametrize("sampler", ["auto", "qmc", "gp", "tpe"])
def test_two_points_are_refused_where_a_sampler_would_scatter_values(sampler: str) -> None:
    doc = document(3, (8, 8, 2), schedule="paper", paper={"sampler": sampler})
    with pytest.raises(
        InvalidInput, match=r"3 points or more, or use paper\.sampler: grid"
    ) as refusal:
        parse(doc)
    assert [problem.field for problem in refusal.value.problems] == ["search.adamw_lr_ratio.points"]
    parse(doc | {"paper": {"sampler": "grid"}})
    parse(document(3, (8, 8, 3), schedule="paper", paper={"sampler": sampler}))
    parse(document(3, (8, 8, 2)))


def test_absolute_learning_rates_are_accepted_under_the_paper_s_parametrisation() -> None:
    parse(changed("optimizer_options.lr_convention", "absolute") | {"parametrisation": "mup-paper"})


def test_only_the_width_changes_along_the_ladder() -> None:
    question = study(
        model=document()["model"]
        | {"depth": 3, "query_heads_per_kv": 2, "mlp": "relu2", "tied_embeddings": True}
    )
    assert question.model.widths == (32, 64, 128, 256)
    base, *wider = (
        trial_spec(question, "muon", width, {"lr": 0.01, "weight_decay": 0.1})
        for width in (*question.model.widths, question.model.target_width)
    )
    assert (base.model.depth, base.model.head_dim, base.model.tied_embeddings) == (3, 16, True)
    assert [spec.model.width for spec in wider] == [64, 128, 256, 512]
    assert all(replace(spec, model=replace(spec.model, width=32)) == base for spec in wider)


def test_the_limits_of_two_ladders_are_halves() -> None:
    with pytest.raises(InvalidInput, match="raise it to 48"):
        parse(changed("limits.max_trials", 47) | {"optimizer": ["muon", "adamw"]})
    parse(changed("limits.max_trials", 48) | {"optimizer": ["muon", "adamw"]})


def test_the_limit_to_raise_suffices_for_the_largest_grid() -> None:
    search = document()["search"] | {"adamw_lr_ratio": {"low": 0.1, "high": 1.0, "points": 2}}
    doc = document(optimizer=["adamw", "muon"], search=search)
    with pytest.raises(InvalidInput, match="raise it to 96"):
        parse(doc | {"limits": {"max_trials": 40}})
    parse(doc | {"limits": {"max_trials": 96}})


def test_the_calibration_width_to_use_is_at_most_the_target_width() -> None:
    doc = document()
    doc["model"] |= {"calibration_width": 96, "target_width": 112}
    with pytest.raises(InvalidInput, match="use 64"):
        parse(doc)


def test_the_quick_start_is_a_valid_document_that_fits_its_own_limits() -> None:
    question = parse(YAML(typ="safe").load(QUICKSTART.read_text())).question
    (ladder,) = all_ladders(question)
    assert ladder.widths == (32, 64, 128)
    assert [spec.measure for spec in KIND.of(question).plan([]).start] == ["coordinates"] * 12
    assert len(KIND.of(replace(question, coordinates="skip")).plan([]).start) == 24
    assert preview(question).trials.most <= question.limits.max_trials


powers = st.integers(0, 3)
names = st.text(min_size=1, max_size=5)
ranges = st.builds(
    lambda low, octaves, points, extend: {
        "low": 2.0**low,
        "high": 2.0 ** (low + octaves),
        "points": points,
        "extend": extend,
    },
    st.floats(-12, -3),
    st.floats(2, 10),
    st.integers(4, 9),
    st.booleans(),
)


momenta = st.none() | st.builds(
    lambda low, points: {"low": low, "high": 0.99, "points": points},
    st.floats(0.01, 0.8),
    st.integers(3, 5),
)


sweeps = st.builds(
    lambda names, block, values: {
        block: [{"name": name} | value for name, value in zip(names, values, strict=True)]
    },
    st.lists(
        st.text("abc -_.", min_size=1, max_size=4).filter(lambda name: name == name.strip()),
        min_size=2,
        max_size=2,
        unique=True,
    ),
    st.just("model"),
    st.permutations(
        [{}, {"mlp": "gelu"}, {"tied_embeddings": True, "depth": 3}, {"qk_norm": True}]
    ).map(lambda values: values[:2]),
) | st.builds(
    lambda corpora, fraction: {
        "data": [
            {"name": f"text {i}", "corpus": corpus} | fraction for i, corpus in enumerate(corpora)
        ]
    },
    st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=3, unique=True),
    st.sampled_from([{}, {"validation_fraction": 0.2}]),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    head_dim, doublings, base = 2 * draw(st.integers(1, 8)), draw(powers), draw(st.integers(1, 4))
    widths = [
        head_dim * base,
        head_dim * base * 2**doublings,
        head_dim * (base * 2**doublings + draw(st.integers(0, 9))),
    ]
    context = draw(st.integers(2, 64))
    return {
        "kind": "telescope",
        "name": draw(st.text(max_size=8)),
        "optimizer": draw(st.sampled_from(["muon", "adamw", ["muon"], ["adamw", "muon"]])),
        "model": dict(zip(("base_width", "calibration_width", "target_width"), widths, strict=True))
        | {"head_dim": head_dim},
        "data": {
            "corpus": draw(
                names | st.dictionaries(names, st.floats(0.01, 9), min_size=2, max_size=4)
            ),
            "context": context,
        },
        "horizon": {
            "steps": draw(st.integers(1, 99)),
            "batch_tokens": context * draw(st.integers(1, 9)),
        },
        "search": {
            "lr": draw(ranges),
            "weight_decay": draw(ranges | st.floats(0, 1) | st.just(0)),
            "momentum": draw(momenta),
        },
        "schedule": draw(st.sampled_from(["robust", "paper"])),
        "estimator": draw(st.sampled_from([None, "pooled", "per_level", "argmin"])),
        "limits": {"max_flops": draw(st.none() | st.floats(1.0, 1e20)), "max_trials": 4000},
        "sweep_over": draw(st.none() | sweeps),
    }


@settings(max_examples=60, deadline=None)
@given(documents())
def test_a_study_survives_the_journey_through_its_document(doc: dict[str, Any]) -> None:
    first = parse(doc).question
    travelled = json.loads(json.dumps(to_document(KIND.of(first))))
    again = parse(travelled).question
    assert again == first
    assert to_document(KIND.of(again)) == travelled
    assert [s.digest for s in KIND.of(again).plan([]).start] == [
        s.digest for s in KIND.of(first).plan([]).start
    ]


def test_a_report_travels_as_plain_json() -> None:
    from telescope.studies import run_study

    report = report_document(run_study(KIND.of(study()), random_surface(1, noise=0.2)))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {"final", "verdict", "reason", "best", "ladders"} <= report.keys()
    assert {"value", "low", "high", "resolved"} <= report["ladders"][0]["hyperparameters"][
        "lr"
    ].keys()


def test_a_grid_too_large_to_build_is_refused_without_building_it() -> None:
    wide = {"low": 1e-9, "high": 1e9, "points": 900}
    with pytest.raises(InvalidInput, match="810000 runs"):
        parse(changed("search", {"lr": wide, "weight_decay": wide}))


# The bill beforehand


def test_the_preview_of_the_paper_is_exact() -> None:
    from telescope.studies import run_study

    question = study(2, (8, 5), schedule="paper", seeds=2)
    bill = run_study(KIND.of(question), Surface((-6.0, -4.0))).ladders[0].cost
    forecast = preview(question)
    assert forecast.trials.least == forecast.trials.expected == forecast.trials.most == bill.trials
    assert forecast.flops.most == pytest.approx(bill.flops)
    assert forecast.tokens.most == bill.tokens
    assert [level.trials for level in forecast.ladders[0].levels] == [
        level.trials for level in bill.levels
    ]
    assert forecast.share == pytest.approx(bill.share)


@pytest.mark.parametrize("limits", [{"max_trials": 70}, {"max_flops": 2e12}])
def test_the_preview_of_a_limited_paper_is_exact_too(limits: dict[str, Any]) -> None:
    from telescope.studies import run_study

    question = study(2, (8, 8), schedule="paper", limits=limits)
    bill = run_study(KIND.of(question), Surface((-6.0, -4.0))).ladders[0].cost
    assert preview(question).trials.most == bill.trials == 64
    assert preview(question).flops.most == pytest.approx(bill.flops)


@pytest.mark.parametrize(
    "limits", [{"max_trials": 45}, {"max_base_runs": 60}, {"max_base_runs": 1000}]
)
def test_the_preview_of_a_limited_robust_study_holds(limits: dict[str, Any]) -> None:
    from telescope.studies import run_study

    question = study(limits=limits)
    bill, forecast = (
        run_study(KIND.of(question), random_surface(2, noise=0.5, cliff=math.inf)).ladders[0].cost,
        preview(question),
    )
    assert forecast.trials.least <= bill.trials <= forecast.trials.most
    assert forecast.flops.least * (1 - 1e-9) <= bill.flops <= forecast.flops.most * (1 + 1e-9)


@pytest.mark.parametrize("number", range(6))
def test_the_bill_of_robust_lies_between_the_least_and_the_most_of_its_preview(number: int) -> None:
    from telescope.studies import run_study

    question = study()
    bill, forecast = (
        run_study(KIND.of(question), random_surface(number, noise=0.3, cliff=math.inf))
        .ladders[0]
        .cost,
        preview(question),
    )
    assert forecast.trials.least <= bill.trials <= forecast.trials.most
    assert forecast.flops.least * (1 - 1e-9) <= bill.flops <= forecast.flops.most * (1 + 1e-9)
