"""Pairings: wrong ones are refused, or marked where forced; what an answer takes for granted is
said.
"""

import copy
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from surfaces.bowls import Surface, document, study
from telescope.errors import InvalidInput
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.studies import run_study
from telescope.studies.registry import parse, to_document
from telescope.studies.telescoping.evidence import Pairing
from telescope.studies.telescoping.fold.specs import target_spec
from telescope.studies.telescoping.forecast.preview import preview
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.question import pairing
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import LadderReport
from telescope.trials.types import MuonLrRule, UpdateScale, WeightDecayRule

SURFACE = Surface((-5.5, -3.5), noise=0.1)


def document_with(
    optimizer: str = "muon",
    parametrisation: str = "mup",
    model: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A job with these rules."""
    doc = copy.deepcopy(
        document(optimizer=optimizer, parametrisation=parametrisation, optimizer_options=options)
    )
    return doc | {"model": doc["model"] | dict(model or {})}


def named(doc: dict[str, Any]) -> Pairing:
    """The pairing of a job's only ladder."""
    question: Question = parse(doc).question
    return pairing.pairing(question, question.optimizers[0])


def answered(doc: dict[str, Any]) -> LadderReport:
    """The job's answer on a closed-form surface."""
    (ladder,) = run_study(parse(doc), SURFACE).ladders
    return ladder


def refusal(doc: dict[str, Any]) -> dict[str, str]:
    """What is said of each field of a job that is refused."""
    with pytest.raises(InvalidInput) as error:
        parse(doc)
    return {problem.field: problem.message for problem in error.value.problems}


# Which pairs go together

SOUND = [(scale, "constant") for scale in ("spectral_ratio", "spectral_clamped", "none")] + [
    ("rms_match", "inverse_sqrt")
]


@pytest.mark.parametrize("scale", get_args(UpdateScale))
@pytest.mark.parametrize("rule", get_args(MuonLrRule))
def test_a_muon_pair_that_breaks_the_spectral_condition_is_refused_with_reason_and_remedy(
    scale: UpdateScale, rule: MuonLrRule
) -> None:
    doc = document_with(update_scale=scale, muon_lr_rule=rule)
    if (scale, rule) in SOUND:
        assert (named(doc).sound, named(doc).forced) == (True, False)
        return
    (text,) = (refusal(doc)[field] for field in ["optimizer_options.muon_lr_rule"])
    assert f"update scale {scale} and muon_lr_rule {rule}" in text
    (right,) = (another for of, another in SOUND if of == scale)
    assert f"use {right}" in text
    assert "force_pairing: true" in text
    assert parse(document_with(update_scale=scale, muon_lr_rule=right))


@pytest.mark.parametrize(
    ("rule", "moves"), [("constant", "-0.5 octave"), ("inverse", "+0.5 octave")]
)
def test_a_forced_pair_is_run_and_marked_in_the_result(rule: MuonLrRule, moves: str) -> None:
    ladder = answered(
        document_with(update_scale="rms_match", muon_lr_rule=rule) | {"force_pairing": True}
    )
    rules = ladder.pairing
    assert (rules.update_scale, rules.muon_lr_rule) == ("rms_match", rule)
    assert (rules.sound, rules.forced) == (False, True)
    assert moves in rules.remarks[0]
    (hidden, *_) = [group for group in ladder.parameter_groups if group.role is Role.HIDDEN]
    factor = {"constant": 1, "inverse": 1 / 16}[rule]
    assert hidden.scaled_lr == pytest.approx(ladder.hyperparameters["lr"].value * factor)


def test_forcing_what_needs_no_force_marks_nothing() -> None:
    rules = named(document_with() | {"force_pairing": True})
    assert (rules.sound, rules.forced, rules.remarks) == (True, False, ())


def test_the_default_pairing_of_each_optimizer_is_sound_and_named() -> None:
    assert answered(document_with()).pairing == Pairing(
        "mup",
        "spectral_ratio",
        "constant",
        "fixed_tokens",
        "constant",
        "inverse_sqrt",
        "multiplier",
        True,
        False,
        (),
    )
    assert answered(document_with("adamw")).pairing == Pairing(
        "mup", None, None, "fixed_tokens", "inverse", "inverse_sqrt", "multiplier", True, False, ()
    )
    assert named(document_with(update_scale="rms_match")).muon_lr_rule == "inverse_sqrt"


def test_the_papers_own_pair_is_run_as_printed_and_says_that_later_work_disagrees() -> None:
    ladder = answered(document_with(parametrisation="mup-paper"))
    rules = ladder.pairing
    assert (rules.update_scale, rules.muon_lr_rule, rules.weight_decay_rule) == (
        "rms_match",
        "inverse",
        "constant",
    )
    assert (rules.sound, rules.forced) == (False, False)
    assert "which later work contradicts" in rules.remarks[0]
    assert "2512.05620" in rules.remarks[0]
    assert not any("which pairs" in remark for remark in rules.remarks)
    (hidden, *_) = [group for group in ladder.parameter_groups if group.role is Role.HIDDEN]
    assert hidden.scaled_lr == pytest.approx(ladder.hyperparameters["lr"].value / 16)
    assert hidden.weight_decay == pytest.approx(ladder.hyperparameters["weight_decay"].value)


def test_what_departs_from_the_paper_says_so_and_is_refused_where_it_is_wrong_too() -> None:
    better = named(
        document_with(
            parametrisation="mup-paper",
            muon_lr_rule="inverse_sqrt",
            weight_decay_rule="fixed_tokens",
        )
    )
    assert better.sound
    assert better.remarks[0] == (
        "departs from the paper, "
        "which pairs update scale 0.2 sqrt(max(fan_out, fan_in)) with lr that falls as 1/m "
        "and keeps weight decay constant"
    )
    assert (
        "inverse_sqrt"
        in refusal(document_with(parametrisation="mup-paper", muon_lr_rule="constant"))[
            "optimizer_options.muon_lr_rule"
        ]
    )
    assert (
        "constant"
        in refusal(
            document_with(parametrisation="mup-paper", update_scale="none", muon_lr_rule="inverse")
        )["optimizer_options.muon_lr_rule"]
    )


PAPERS = {"adamw_lr_ratio": 1.0, "optimizer_options": {"beta1": 0.95, "beta2": 0.95}}


def departures(doc: dict[str, Any]) -> list[str]:
    return [
        remark.removeprefix("departs from the paper, ")
        for remark in named(doc).remarks
        if remark.startswith("departs")
    ]


def test_each_default_that_departs_from_the_paper_is_named_and_none_where_all_are_the_papers() -> (
    None
):
    defaults = document_with(parametrisation="mup-paper")
    assert departures(defaults) == [
        "which uses one lr for Muon's and AdamW's groups: here adamw_lr_ratio is 0.5",
        (
            "which states betas of 0.95 and 0.95, for AdamW beside Muon: "
            "here beta1 is 0.9 and beta2 0.95"
        ),
        "whose head is tied to the embedding: here it is a separate matrix",
        (
            "whose table initialises the head with variance 1/fan_in: "
            "here an untied head starts at zero"
        ),
    ]
    as_printed = (
        document_with(parametrisation="mup-paper", model={"tied_embeddings": True}) | PAPERS
    )
    assert departures(as_printed) == []
    assert departures(document_with(model={"tied_embeddings": False})) == [], (
        "only mup-paper claims to be the paper's"
    )
    for name, value in PAPERS.items():
        assert len(departures(as_printed | {name: defaults.get(name, 0.5)})) == 1, value
    assert (
        "beta2 0.999"
        in departures(as_printed | {"optimizer_options": {"beta1": 0.95, "beta2": 0.999}})[0]
    )


def test_what_is_swept_departs_from_the_papers_value() -> None:
    as_printed = (
        document_with(parametrisation="mup-paper", model={"tied_embeddings": True}) | PAPERS
    )
    search = as_printed["search"] | {
        "adamw_lr_ratio": {"low": 0.25, "high": 1, "points": 3},
        "momentum": {"low": 0.8, "high": 0.99, "points": 3},
    }
    assert departures(as_printed | {"search": search}) == [
        "which uses one lr for Muon's and AdamW's groups: here adamw_lr_ratio is swept"
    ]
    del search["adamw_lr_ratio"]
    (betas,) = departures(as_printed | {"search": search, "optimizer": "adamw"})
    assert "here beta1 is swept and beta2 0.95" in betas
    assert departures(as_printed | {"optimizer": "adamw"}) == []


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_control_is_run_unforced_and_marked_unsound(optimizer: str) -> None:
    rules = answered(document_with(optimizer, "standard")).pairing
    assert (rules.sound, rules.forced, rules.head_form) == (False, False, None)
    assert "control" in rules.remarks[0]
    decaying = named(document_with("adamw", "standard", weight_decay_rule="sqrt_width"))
    assert len(decaying.remarks) == 1, "under the control weight decay does not grow"


@pytest.mark.parametrize(
    ("optimizer", "rule", "sound", "words"),
    [
        ("muon", "fixed_tokens", True, ""),
        ("muon", "constant", True, ""),
        ("muon", "sqrt_width", True, ""),
        ("muon", "compute_optimal", False, "+1 octave"),
        ("adamw", "fixed_tokens", True, ""),
        ("adamw", "constant", False, "+1 octave"),
        ("adamw", "compute_optimal", False, "+1 octave"),
        ("adamw", "sqrt_width", True, "2510.15262"),
    ],
)
def test_a_weight_decay_rule_that_does_not_fit_equal_tokens_is_run_and_marked(
    optimizer: str, rule: WeightDecayRule, sound: bool, words: str
) -> None:
    rules = named(document_with(optimizer, weight_decay_rule=rule))
    assert (rules.weight_decay_rule, rules.sound, rules.forced) == (rule, sound, False)
    assert (len(rules.remarks) == 1 and words in rules.remarks[0]) if words else rules.remarks == ()
    undecayed = document_with(optimizer, weight_decay_rule=rule)
    undecayed["search"]["weight_decay"] = 0
    assert named(undecayed).sound, "where nothing decays no rule can be wrong"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        document_with("adamw", muon_lr_rule="constant"),
        "optimizer_options.muon_lr_rule",
        "without muon",
    ),
    (document_with("adamw", update_scale="none"), "optimizer_options.update_scale", "without muon"),
    (document_with(muon_lr_rule="m^-1/2"), "optimizer_options.muon_lr_rule", "inverse_sqrt"),
    (
        document_with(weight_decay_rule="fixed"),
        "optimizer_options.weight_decay_rule",
        "fixed_tokens",
    ),
    (
        document_with(model={"head_form": "rescaled", "tied_embeddings": True}),
        "model.head_form",
        "tied_embeddings: false",
    ),
    (
        document_with(parametrisation="standard", model={"head_form": "rescaled"}),
        "model.head_form",
        "no meaning under standard",
    ),
    (
        document_with(parametrisation="mup-paper", model={"target_depth": 8}),
        "model.target_depth",
        "no depth rule",
    ),
    (
        document_with(update_scale="none", model={"attention": "mla"}),
        "optimizer_options.update_scale",
        "use spectral_ratio, or set force_pairing",
    ),
    (document_with(model={"target_depth": 0}), "model.target_depth", "greater than or equal to 1"),
    (
        document_with(model={"depth_exponent": 0.4}),
        "model.depth_exponent",
        "greater than or equal to 0.5",
    ),
    (document_with(model={"attention_scale": "1/d"}), "model.attention_scale", "inverse"),
]


@pytest.mark.parametrize(
    ("doc", "field", "words"), REFUSED, ids=[f"{field}: {words}" for _, field, words in REFUSED]
)
def test_rules_that_cannot_apply_are_refused_by_name(
    doc: dict[str, Any], field: str, words: str
) -> None:
    assert words in refusal(doc)[field]


def test_no_force_makes_sense_of_rules_that_cannot_apply() -> None:
    for doc, field, words in REFUSED[:6]:
        assert words in refusal(doc | {"force_pairing": True})[field]


def test_a_wrong_pair_of_two_ladders_is_refused_once() -> None:
    doc = document_with(parametrisation="mup-paper", model={"target_depth": 8}) | {
        "optimizer": ["muon", "adamw"]
    }
    with pytest.raises(InvalidInput) as error:
        parse(doc)
    assert [problem.field for problem in error.value.problems] == ["model.target_depth"]


def test_rules_survive_the_journey_through_a_document() -> None:
    doc = document_with(
        update_scale="rms_match", muon_lr_rule="constant", weight_decay_rule="constant"
    ) | {"force_pairing": True}
    doc["model"] |= {
        "target_depth": 8,
        "depth_exponent": 0.5,
        "attention_scale": "inverse",
        "head_form": "rescaled",
    }
    first = parse(doc).question
    assert parse(to_document(KIND.of(first))).question == first
    spec = KIND.of(first).plan([]).start[0]
    assert (spec.optimizer.muon_lr_rule, spec.optimizer.weight_decay_rule) == (
        "constant",
        "constant",
    )
    assert (spec.model.attention_scale, spec.model.head_form) == ("inverse", "rescaled")


# Depth


def test_trials_run_at_the_depth_given_and_the_answer_is_for_the_target_depth() -> None:
    shallow, deep = document_with(), document_with(model={"target_depth": 8, "depth_exponent": 0.5})
    assert {spec.model.depth for spec in parse(deep).plan([]).start} == {2}
    assert {spec.model.base_depth for spec in parse(deep).plan([]).start} == {None}
    shallow_answer, deep_answer = answered(shallow), answered(deep)
    assert deep_answer.hyperparameters == shallow_answer.hyperparameters
    count = {
        name: sum(group.parameters for group in answer.parameter_groups)
        for name, answer in (("here", shallow_answer), ("there", deep_answer))
    }
    assert count["there"] > 3 * count["here"]
    lr = deep_answer.hyperparameters["lr"].value
    (hidden, *_) = [group for group in deep_answer.parameter_groups if group.role is Role.HIDDEN]
    assert hidden.scaled_lr == pytest.approx(lr * 4**-0.5)
    assert deep_answer.cost.flops == shallow_answer.cost.flops
    assert deep_answer.cost.final_run_flops > 3 * shallow_answer.cost.final_run_flops
    assert preview(parse(deep).question).final_run_flops == deep_answer.cost.final_run_flops


def test_a_target_depth_that_is_the_depth_changes_nothing() -> None:
    same, none = (
        parse(document_with(model={"target_depth": 2})).question,
        parse(document_with()).question,
    )
    assert same.model.target == none.model.target
    assert "depth: 2 blocks at every width and at the target" in pairing.assumptions(same, "muon")


def test_a_forced_depth_rule_outside_mup_is_marked() -> None:
    rules = named(
        document_with(parametrisation="standard", model={"target_depth": 8})
        | {"force_pairing": True}
    )
    assert rules.forced
    assert "CompleteP's rule was derived for mup" in rules.remarks[1]


# Assumptions


def test_an_answer_says_what_it_takes_for_granted() -> None:
    doc = document_with(model={"target_depth": 8})
    text = answered(doc).assumptions
    by_topic = {line.split(":")[0]: line for line in text}
    assert list(by_topic) == ["tokens", "batch", "ratio", "attention", "depth"]
    assert "61,440" in by_topic["tokens"]
    assert "kappa^-0.5" in by_topic["tokens"]
    assert "weight decay x 1/kappa" in by_topic["tokens"]
    assert "512 tokens" in by_topic["batch"]
    assert "(1 - beta) x kappa" in by_topic["batch"]
    assert "0.5, and was not tuned" in by_topic["ratio"]
    assert "1/sqrt(head size)" in by_topic["attention"]
    assert "trained at 2 blocks, transferred to 8" in by_topic["depth"]
    assert "tested by no trial" in by_topic["depth"]


def test_the_depth_rule_is_no_untested_assumption_where_the_target_is_trained() -> None:
    text = pairing.assumptions(
        parse(document_with(model={"target_depth": 8}) | {"validate_at_target": True}).question,
        "muon",
    )
    assert "tested by no trial" not in text[-1]
    assert "tested only by the runs at the target" in text[-1]


def test_assumptions_are_those_of_the_ladder() -> None:
    adamw = pairing.assumptions(
        parse(document_with("adamw", model={"attention_scale": "inverse"})).question, "adamw"
    )
    assert [line.split(":")[0] for line in adamw] == ["tokens", "batch", "attention", "depth"]
    assert not any("Muon" in line for line in adamw)
    assert "8/head size" in adamw[2]
    tuned = pairing.assumptions(study(3), "muon")
    assert "ratio: AdamW's lr divided by Muon's is the same at every width" in tuned


def test_nothing_assumed_is_applied() -> None:
    """Groups at the target are the base values times the factors of width alone."""
    question = parse(document_with("adamw")).question
    target = target_spec(question, "adamw", {"lr": 0.01, "weight_decay": 0.1})
    assert (target.model, target.horizon) == (question.model.at(512), question.horizon)
    factors = mup.factors(
        target.model, target.optimizer, Role.HIDDEN, "adamw", mup.depth_factors(target.model)
    )
    assert (factors.lr, factors.weight_decay, factors.eps) == (1 / 16, 16.0, 1 / 16)
