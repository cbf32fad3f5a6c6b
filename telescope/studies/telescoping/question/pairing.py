"""Which scaling rules go together, and what does an answer take for granted?

A *pairing* is what a ladder's rules amount to: Muon's update scale with its lr rule, the weight-decay rule, the scale of attention, the
form of the head. Theory has objections to some of them: it expects the optimum to move with width. A pair that nobody should want by
accident is refused, unless the study says `force_pairing`; one that is a control, or is what a paper states, is run and marked unsound.
The coordinate check then says what it finds, and refuses neither.

*Assumptions* carry the answer to a final run that differs from the trials in more than width. None is applied silently: they are printed.

Parts: `Objection`, `objections` · `problems`, what is refused · `pairing`, `as_checked` · `assumptions`.
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
    """A ladder is refused for its pairing; what to do instead."""

    remedy: str


@dataclass(frozen=True)
class Objection:
    """Why theory expects the optimum to move."""

    field: str
    value: str | int
    reason: str
    refusal: Refusal | None = None  # such a ladder is refused, unless it is forced


def rules(question: Question, optimizer: OptimizerName) -> OptimizerSpec:
    """The optimizer of a study as far as rules go: its base values say nothing."""
    options = {name: getattr(question.optimizer_options, name) for name in OptimizerOptions.__dataclass_fields__}
    return OptimizerSpec(name=optimizer, lr=1.0, weight_decay=0.0, parametrisation=question.parametrisation, **options)


def objections(question: Question, optimizer: OptimizerName) -> tuple[Objection, ...]:
    """All that theory has against a ladder's pairing."""
    spec = rules(question, optimizer)
    found = list(_depth(question))
    if question.parametrisation == "standard":
        reason = "standard is a control: it does not scale learning rates with width, so their best values are expected to fall"
        return (Objection("parametrisation", "standard", reason), *found)
    if optimizer == "muon":
        found += [*_update(spec), *_shared_key(question, spec)]
    if question.search.weight_decay != 0:
        found += _decay(spec)
    return tuple(found)


def _update(spec: OptimizerSpec) -> Iterator[Objection]:
    """Muon's lr rule must cancel the growth of its update scale."""
    scale, rule, exponent = mup.chosen_update_scale(spec), mup.chosen_muon_lr_rule(spec), mup.spectral_exponent(spec)
    if exponent == 0:
        return
    reason = (
        f"with update scale {scale} and muon_lr_rule {rule} the spectral norm of an update goes as m^{exponent:g}, so the best lr is "
        f"expected to move by {-exponent:+g} octave per doubling of the width (arXiv 2512.05620, app. G)"
    )
    as_published = spec.parametrisation == "mup-paper" and rule == mup.OWN_MUON_LR_RULE["mup-paper"][scale]
    if as_published:
        yield Objection("parametrisation", "mup-paper", f"the paper's own pair, with which later work disagrees: {reason}")
    else:
        yield Objection("optimizer_options.muon_lr_rule", rule, reason, Refusal(f"use {mup.SPECTRAL[scale]}"))


def _shared_key(question: Question, spec: OptimizerSpec) -> Iterator[Objection]:
    """The rotary key that mla's heads share keeps its fan-out as its fan-in grows: it has no aspect ratio to be taken for granted."""
    scale = mup.chosen_update_scale(spec)
    if not shares_rotary_key(question) or scale == "spectral_ratio":
        return
    reason = f"with update scale {scale}, updates of mla's shared rotary key, of fixed fan-out, grow as m^0.5 beside those of the rest"
    yield Objection(
        "optimizer_options.update_scale", scale, reason, Refusal("use spectral_ratio") if spec.parametrisation == "mup" else None
    )


def shares_rotary_key(question: Question) -> bool:
    """Whether all heads are known to share one rotary key, as mla's do."""
    attention = question.model.known_attention()
    return attention is not None and attention.shares_rotary_key


def _decay(spec: OptimizerSpec) -> Iterator[Objection]:
    """At equal tokens, lr x weight decay of the hidden matrices should not depend on width; `sqrt_width` has a source of its own."""
    rule = mup.chosen_weight_decay_rule(spec)
    exponent = mup.decay_product_exponent(spec)
    if exponent == 0 or rule == "sqrt_width":
        return
    reason = (
        f"with weight_decay_rule {rule}, lr x weight decay of hidden matrices goes as m^{exponent:g} while every width trains on the same "
        f"tokens, so the best weight decay is expected to move by {-exponent:+g} octave per doubling of the width (arXiv 2405.13698)"
    )
    yield Objection("optimizer_options.weight_decay_rule", rule, reason)


def _depth(question: Question) -> Iterator[Objection]:
    """The depth rule has been derived beside mup's width rules."""
    change = question.model.depth_change
    if change is None or question.parametrisation == "mup":
        return
    reason = f"{question.parametrisation} has no depth rule; CompleteP's is applied"
    yield Objection("model.target_depth", change.target, reason, Refusal("leave it out, or use parametrisation: mup"))


def problems(question: Question) -> tuple[Problem, ...]:
    """What is refused: rules that cannot apply, and pairs with an objection unless they are forced."""
    found = list(_meaningless(question))
    if not question.force_pairing:
        against = [one for optimizer in question.optimizers for one in objections(question, optimizer)]
        found += [
            Problem(one.field, f"{one.reason}; {one.refusal.remedy}, or set force_pairing: true", one.value)
            for one in against
            if one.refusal
        ]
    return tuple(dict.fromkeys(found))


def _meaningless(question: Question) -> Iterator[Problem]:
    for name in ("update_scale", "muon_lr_rule", "muon_split"):
        value = getattr(question.optimizer_options, name)
        if value not in (None, "whole") and "muon" not in question.optimizers:
            yield Problem(f"optimizer_options.{name}", "has no meaning without muon; leave it out or add muon to optimizer", value)
    if question.model.known_attention() is None and question.optimizer_options.muon_split == "heads":
        message = "telescope does not know the heads of a user's model; leave it out, and say in model.splits how many rows a head has"
        yield Problem("optimizer_options.muon_split", message, "heads")
    if question.model.head_form == "rescaled" and question.parametrisation != "mup":
        message = f"rescaled has no meaning under {question.parametrisation}; leave it out, or use parametrisation: mup"
        yield Problem("model.head_form", message, question.model.head_form)


def pairing(question: Question, optimizer: OptimizerName) -> Pairing:
    """What a ladder's rules are, named, and what there is to say about them."""
    spec, against = rules(question, optimizer), objections(question, optimizer)
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
        sound=not against,
        forced=any(one.refusal for one in against),
        remarks=(*(one.reason for one in against), *_notes(question, spec)),
    )


def as_checked(found: Pairing, check: CoordinateReport | None) -> Pairing:
    """With a remark where the coordinate check fails an unsound pairing; a sound one is refused, and the verdict says why."""
    if found.sound or check is None or check.verdict != "fail":
        return found
    said = f"the coordinate check fails, and the ladder is run all the same, since its pairing is known to be unsound: {check.reason}"
    return replace(found, remarks=(*found.remarks, said))


def _notes(question: Question, spec: OptimizerSpec) -> Iterator[str]:
    """What is worth knowing about a pairing and no objection to it."""
    if spec.name == "muon" and mup.chosen_update_scale(spec) == "none" and not shares_rotary_key(question):
        yield "update scale none needs matrices that keep their aspect ratios from width to width, as those of this ladder do"
    if spec.name == "adamw" and mup.chosen_weight_decay_rule(spec) == "sqrt_width":
        yield "weight decay as sqrt(m) keeps top singular values equal (arXiv 2510.15262); lr x weight decay constant would ask for m"
    if spec.parametrisation == "mup-paper":
        yield from (f"departs from the paper, {how}" for how in _departures(question, spec))


def _departures(question: Question, spec: OptimizerSpec) -> Iterator[str]:
    """What a ladder of `mup-paper` does otherwise than the paper, whether by choice or by our defaults."""
    as_printed = OptimizerSpec(name=spec.name, lr=1.0, weight_decay=0.0, parametrisation="mup-paper")
    chosen = (mup.chosen_update_scale, mup.chosen_muon_lr_rule) if spec.name == "muon" else ()
    if any(rule(spec) != rule(as_printed) for rule in (*chosen, mup.chosen_weight_decay_rule)):
        yield "which pairs 0.2 sqrt(max) with lr as 1/m and leaves weight decay alone"
    if spec.name == "muon" and (question.search.adamw_lr_ratio or question.adamw_lr_ratio != 1):
        ratio = "swept" if question.search.adamw_lr_ratio else f"{question.adamw_lr_ratio:g}"
        yield f"which has one lr for Muon's and AdamW's groups: adamw_lr_ratio is {ratio} here"
    beta1 = "swept" if spec.name == "adamw" and question.search.momentum else f"{spec.beta1:g}"
    if (beta1, spec.beta2) != ("0.95", 0.95):
        yield f"which states betas of 0.95 and 0.95, for AdamW beside Muon: beta1 is {beta1} and beta2 {spec.beta2:g} here"
    yield from question.model.departures()


def assumptions(question: Question, optimizer: OptimizerName) -> tuple[str, ...]:
    """What carries the answer beyond width, in words; nothing of it is applied but the depth rule, where the study asks for it."""
    return tuple(_assumptions(question, optimizer))


def _assumptions(question: Question, optimizer: OptimizerName) -> Iterator[str]:
    horizon = question.horizon
    guess = ", a guess for Muon" if optimizer == "muon" else ""
    yield (
        f"tokens: every width trains on the same {horizon.tokens:,}; for kappa times as many, lr x kappa^-0.5 (arXiv 2512.22382; "
        f"fits range from kappa^-0.3 to kappa^-0.7, and Step Law's has the opposite sign) and weight decay x 1/kappa{guess}"
    )
    yield (
        f"batch: {horizon.batch_tokens:,} tokens; for kappa times as many, in AdamW's groups: lr x sqrt(kappa), "
        f"weight decay x sqrt(kappa), 1 - beta x kappa, eps / sqrt(kappa)"
        + ("; for Muon no rule is agreed on" if optimizer == "muon" else "")
    )
    if optimizer == "muon":
        swept = isinstance(question.search.adamw_lr_ratio, Range)
        held = "" if swept else f", {question.adamw_lr_ratio:g}, and was not tuned"
        yield f"ratio: AdamW's lr over Muon's is the same at every width{held}"
    yield from question.model.assumptions(tested=question.validate_at_target)
