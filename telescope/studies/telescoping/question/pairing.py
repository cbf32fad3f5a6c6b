"""The compatibility of scaling rules, and the assumptions of an answer.

A *ladder* searches the hyperparameters of one optimizer at increasing widths, for a final run at
the *target* width. The *pairing* of a ladder is its combination of scaling rules, such as the rules
for the learning rate (lr) and the weight decay, the scale of attention scores, and Muon's *update
scale*, a factor on each orthogonalised update. An *objection* to a pairing is a reason from theory
to doubt that the optimum transfers to the target. In the texts of objections, m is the width
divided by the base width.

A pairing that is most likely a mistake is refused, unless the study sets `force_pairing`. A pairing
with an objection is reported as unsound. The *coordinate check* tests in short runs whether updates
keep their size as width grows. If it fails, a ladder with a sound pairing ends; a ladder with an
unsound pairing continues.

The *assumptions* of an answer state what the answer takes for granted about the final run, such as
its number of tokens, its batch size and its depth. They are printed with the answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from telescope.errors import Problem
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.studies.coordinates.check import CoordinateReport
from telescope.studies.ranges import Range
from telescope.studies.telescoping.evidence import Pairing
from telescope.studies.telescoping.question.question import Question
from telescope.trials.optimizer import OptimizerOptions, OptimizerSpec
from telescope.trials.types import OptimizerName


@dataclass(frozen=True)
class Refusal:
    """The refusal to run a ladder, because of its pairing."""

    remedy: str  # what to change, such as `use spectral_ratio`


@dataclass(frozen=True)
class Objection:
    """A reason from theory to doubt that the optimum transfers to the target."""

    field: str  # the field of the document that causes the objection
    value: str | int  # the value of that field
    reason: str
    refusal: Refusal | None = None  # None if the pairing is not refused


def optimizer_with_rules(question: Question, optimizer: OptimizerName) -> OptimizerSpec:
    """An optimizer with the study's rules. Its learning rate and weight decay are placeholders."""
    options = {
        name: getattr(question.optimizer_options, name)
        for name in OptimizerOptions.__dataclass_fields__
    }
    return OptimizerSpec(
        name=optimizer,
        lr=1.0,
        weight_decay=0.0,
        parametrisation=question.parametrisation,
        **options,
    )


def objections(question: Question, optimizer: OptimizerName) -> tuple[Objection, ...]:
    """The objections to a ladder's pairing."""
    spec = optimizer_with_rules(question, optimizer)
    found = list(_depth(question))
    if question.parametrisation == "standard":
        reason = (
            "standard is a control: it does not scale learning rates with width, "
            "so the best values are expected to fall as width grows"
        )
        return (Objection("parametrisation", "standard", reason), *found)
    if optimizer == "muon":
        found += [*_update(spec), *_shared_key(question, spec)]
    if question.search.weight_decay != 0:
        found += _decay(spec)
    return tuple(found)


def _update(spec: OptimizerSpec) -> Iterator[Objection]:
    """The objection to an lr rule under which the size of Muon's updates changes with width."""
    scale, rule, exponent = (
        mup.chosen_update_scale(spec),
        mup.chosen_muon_lr_rule(spec),
        mup.spectral_exponent(spec),
    )
    if exponent == 0:
        return
    reason = (
        f"with update scale {scale} and muon_lr_rule {rule} the spectral norm of an update scales "
        f"as m^{exponent:g}, so the best lr is expected to shift by {-exponent:+g} octave per "
        "doubling of width (arXiv 2512.05620, app. G)"
    )
    as_published = (
        spec.parametrisation == "mup-paper" and rule == mup.DEFAULT_MUON_LR_RULE["mup-paper"][scale]
    )
    if as_published:
        yield Objection(
            "parametrisation",
            "mup-paper",
            f"the paper's own pair, which later work contradicts: {reason}",
        )
    else:
        remedy = Refusal(f"use {mup.SPECTRAL_LR_RULE[scale]}")
        yield Objection("optimizer_options.muon_lr_rule", rule, reason, remedy)


def _shared_key(question: Question, spec: OptimizerSpec) -> Iterator[Objection]:
    """The objection to an update scale that assumes matrices of a fixed aspect ratio. The objection
    concerns only mla (multi-head latent attention). In mla, all heads share one rotary key. The
    fan-in of this key's matrix grows with width, but its fan-out does not.
    """
    scale = mup.chosen_update_scale(spec)
    if not shares_rotary_key(question) or scale == "spectral_ratio":
        return
    reason = (
        f"with update scale {scale}, updates of mla's shared rotary key, whose fan-out is fixed, "
        "grow as m^0.5 relative to the other updates"
    )
    yield Objection(
        "optimizer_options.update_scale",
        scale,
        reason,
        Refusal("use spectral_ratio") if spec.parametrisation == "mup" else None,
    )


def shares_rotary_key(question: Question) -> bool:
    """Whether all heads of the attention share one rotary key, as in mla. False for a user's model,
    whose attention is unknown.
    """
    attention = question.model.known_attention()
    return attention is not None and attention.shares_rotary_key


def _decay(spec: OptimizerSpec) -> Iterator[Objection]:
    """The objection to a weight-decay rule under which lr x weight decay of the hidden matrices
    changes with width. The rule `sqrt_width` is exempt, since arXiv 2510.15262 derives it.
    """
    rule = mup.chosen_weight_decay_rule(spec)
    exponent = mup.decay_product_exponent(spec)
    if exponent == 0 or rule == "sqrt_width":
        return
    reason = (
        f"with weight_decay_rule {rule}, lr x weight decay of hidden matrices scales as "
        f"m^{exponent:g} while every width trains on the same tokens, so the best weight decay is "
        f"expected to shift by {-exponent:+g} octave per doubling of width (arXiv 2405.13698)"
    )
    yield Objection("optimizer_options.weight_decay_rule", rule, reason)


def _depth(question: Question) -> Iterator[Objection]:
    """The objection to a change of depth. Under `mup`, there is none."""
    change = question.model.depth_change
    if change is None or question.parametrisation == "mup":
        return
    reason = f"{question.parametrisation} has no depth rule; CompleteP's rule was derived for mup"
    refusal = Refusal("leave target_depth out, or use parametrisation: mup")
    yield Objection("model.target_depth", change.target, reason, refusal)


def pairing_problems(question: Question) -> tuple[Problem, ...]:
    """The problems of options without effect and, unless `force_pairing` is set, of refused
    pairings.
    """
    problems = list(_options_without_effect(question))
    if not question.force_pairing:
        for optimizer in question.optimizers:
            for objection in objections(question, optimizer):
                if objection.refusal:
                    remedy = f"{objection.refusal.remedy}, or set force_pairing: true"
                    message = f"{objection.reason}; {remedy}"
                    problems.append(Problem(objection.field, message, objection.value))
    return tuple(dict.fromkeys(problems))


def _options_without_effect(question: Question) -> Iterator[Problem]:
    """Problems of options that have no effect in this study."""
    for name in ("update_scale", "muon_lr_rule", "muon_split"):
        value = getattr(question.optimizer_options, name)
        if value not in (None, "whole") and "muon" not in question.optimizers:
            yield Problem(
                f"optimizer_options.{name}",
                "has no meaning without muon; leave it out or add muon to optimizer",
                value,
            )
    if (
        question.model.known_attention() is None
        and question.optimizer_options.muon_split == "heads"
    ):
        remedy = "leave muon_split out, and set the rows of a head in model.splits"
        message = f"telescope does not know the heads of a user's model; {remedy}"
        yield Problem("optimizer_options.muon_split", message, "heads")
    if question.model.head_form == "rescaled" and question.parametrisation != "mup":
        message = f"rescaled has no meaning under {question.parametrisation}"
        remedy = "leave it out, or use parametrisation: mup"
        yield Problem("model.head_form", f"{message}; {remedy}", question.model.head_form)


def pairing(question: Question, optimizer: OptimizerName) -> Pairing:
    """The pairing of a ladder. Its remarks are the objections and other notes."""
    spec, found = optimizer_with_rules(question, optimizer), objections(question, optimizer)
    is_muon, attention = optimizer == "muon", question.model.known_attention()
    eps = mup.TABLE[spec.parametrisation, Role.HIDDEN, "adamw"].eps
    return Pairing(
        parametrisation=spec.parametrisation,
        update_scale=mup.chosen_update_scale(spec) if is_muon else None,
        muon_lr_rule=mup.chosen_muon_lr_rule(spec) if is_muon else None,
        weight_decay_rule=mup.chosen_weight_decay_rule(spec),
        eps_rule="inverse" if eps == -1.0 and not is_muon else "constant",
        attention_scale=attention.scale if attention else None,
        head_form=None if spec.parametrisation == "standard" else question.model.head_form,
        sound=not found,
        forced=any(objection.refusal for objection in found),
        remarks=(*(objection.reason for objection in found), *_notes(question, spec)),
    )


def as_checked(rules: Pairing, check: CoordinateReport | None) -> Pairing:
    """The pairing, with another remark if it is unsound and the coordinate check fails. If the
    pairing is sound, a failed check ends the ladder, and the verdict gives the reason.
    """
    if rules.sound or check is None or check.verdict != "fail":
        return rules
    cause = "the ladder runs anyway, since a failed check stops only ladders with a sound pairing"
    remark = f"the coordinate check fails ({check.reason}); {cause}"
    return replace(rules, remarks=(*rules.remarks, remark))


def _notes(question: Question, spec: OptimizerSpec) -> Iterator[str]:
    """Remarks on a pairing, other than objections."""
    if (
        spec.name == "muon"
        and mup.chosen_update_scale(spec) == "none"
        and not shares_rotary_key(question)
    ):
        yield "update scale none needs matrices with the same aspect ratio at every width"
    rule, exponent = mup.chosen_weight_decay_rule(spec), mup.decay_product_exponent(spec)
    if spec.name == "adamw" and rule == "sqrt_width" and exponent != 0:
        yield (
            "weight decay grows as sqrt(m), which keeps top singular values equal (arXiv "
            "2510.15262); a constant lr x weight decay needs weight decay that grows as m"
        )
    if spec.parametrisation == "mup-paper":
        yield from (
            f"departs from the paper, {departure}" for departure in _departures(question, spec)
        )


def _departures(question: Question, spec: OptimizerSpec) -> Iterator[str]:
    """Departures of a `mup-paper` ladder from arXiv 2505.02222. Each departure is a clause that
    begins with `which` or `whose`.
    """
    as_printed = OptimizerSpec(
        name=spec.name, lr=1.0, weight_decay=0.0, parametrisation="mup-paper"
    )
    muon_rules = (mup.chosen_update_scale, mup.chosen_muon_lr_rule) if spec.name == "muon" else ()
    if any(rule(spec) != rule(as_printed) for rule in (*muon_rules, mup.chosen_weight_decay_rule)):
        yield (
            "which pairs update scale 0.2 sqrt(max(fan_out, fan_in)) with lr that falls as 1/m "
            "and keeps weight decay constant"
        )
    if spec.name == "muon" and (question.search.adamw_lr_ratio or question.adamw_lr_ratio != 1):
        ratio = "swept" if question.search.adamw_lr_ratio else f"{question.adamw_lr_ratio:g}"
        yield f"which uses one lr for Muon's and AdamW's groups: here adamw_lr_ratio is {ratio}"
    beta1 = "swept" if spec.name == "adamw" and question.search.momentum else f"{spec.beta1:g}"
    if (beta1, spec.beta2) != ("0.95", 0.95):
        betas = f"here beta1 is {beta1} and beta2 {spec.beta2:g}"
        yield f"which states betas of 0.95 and 0.95, for AdamW beside Muon: {betas}"
    yield from question.model.departures()


def assumptions(question: Question, optimizer: OptimizerName) -> tuple[str, ...]:
    """The assumptions of an answer, as texts. Some texts name rules for another number of tokens or
    another batch size; telescope does not apply these rules.
    """
    return tuple(_assumptions(question, optimizer))


def _assumptions(question: Question, optimizer: OptimizerName) -> Iterator[str]:
    horizon = question.horizon
    guess = ", a guess for Muon" if optimizer == "muon" else ""
    yield (
        f"tokens: every width trains on the same {horizon.tokens:,} tokens; for kappa times as "
        "many, lr x kappa^-0.5 (arXiv 2512.22382; fits range from kappa^-0.3 to kappa^-0.7, and "
        f"Step Law's exponent has the opposite sign) and weight decay x 1/kappa{guess}"
    )
    yield (
        f"batch: {horizon.batch_tokens:,} tokens; for kappa times as many, in AdamW's groups: "
        "lr x sqrt(kappa), weight decay x sqrt(kappa), (1 - beta) x kappa, eps / sqrt(kappa)"
        + ("; for Muon there is no agreed rule" if optimizer == "muon" else "")
    )
    if optimizer == "muon":
        swept = isinstance(question.search.adamw_lr_ratio, Range)
        held = "" if swept else f", {question.adamw_lr_ratio:g}, and was not tuned"
        yield f"ratio: AdamW's lr divided by Muon's is the same at every width{held}"
    yield from question.model.assumptions(validated=question.validate_at_target)
