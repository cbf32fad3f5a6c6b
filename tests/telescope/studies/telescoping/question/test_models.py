"""A document with a user's model is refused by field and remedy, or resolved with its hash."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional

from surfaces.bowls import document
from telescope.errors import InvalidInput
from telescope.models import factory
from telescope.studies import registry
from tests.telescope.user_models import Mixture

HERE, AWKWARD = __name__, "tests.telescope.awkward"
WIDTHS = {"base_width": 16, "calibration_width": 32, "target_width": 64}
THEIRS = {"family": "module", "factory": "tests.telescope.user_models:mixture"}
OURS = {"factory": "tests.telescope.user_models:ours", "head_form": "rescaled"}  # heads of 8


class FewLogits(Mixture):
    """Takes more tokens than it gives logits for."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens)[..., :100]


class Losses(Mixture):
    """Gives the loss of each token instead of their mean."""

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        logits = super().forward(tokens)
        return functional.cross_entropy(logits.mT, targets, reduction="none")


def few_logits(width: int) -> nn.Module:
    return FewLogits(width)


def losses(width: int) -> nn.Module:
    return Losses(width)


def document_with(model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A job of a user's model on a text of 256 symbols."""
    return document(data={"corpus": "python-stdlib"}, model=WIDTHS | THEIRS | model, **changes)


def beside_ours(**as_printed: Any) -> dict[str, Any]:
    """The same with our own model, and a user's as its second variant."""
    variants = [{"name": "ours"}, {"name": "theirs"} | THEIRS | as_printed]
    return document_with({}, sweep_over={"model": variants}) | {"model": WIDTHS | {"head_dim": 8}}


def options(**changes: Any) -> dict[str, Any]:
    """The same of a user's model with options of the optimizer."""
    return document_with({}, optimizer_options=changes)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "changed code": (document_with({"content": "0" * 32}), "model.content", "restore the old"),
    "muon by heads": (options(muon_split="heads"), "optimizer_options.muon_split", "model.splits"),
    "qk_clip": (options(qk_clip=100), "optimizer_options.qk_clip", "leave it out"),
    "logits": (
        options(measure_max_logit=True),
        "optimizer_options.measure_max_logit",
        "leave it out",
    ),
    "width": (document_with(OURS | {"target_width": 68}), "model.target_width", "choose a width"),
    "hook": (
        document_with({"factory": f"{AWKWARD}:tied_by_hand"}),
        "model.calibration_width",
        "nn.Linear",
    ),
    "vocabulary": (document_with({"factory": f"{AWKWARD}:plain"}), "model.factory", "vocabulary"),
    "few logits": (
        document_with({"factory": f"{HERE}:few_logits"}),
        "model.factory",
        "256 or more",
    ),
    "losses": (
        document_with({"factory": f"{HERE}:losses", "output": "loss"}),
        "model.output",
        "one mean loss",
    ),
    "variant's code": (
        beside_ours(content="0" * 32),
        "sweep_over.model.1.content",
        "restore the old",
    ),
    "variant's vocabulary": (
        beside_ours(factory=f"{AWKWARD}:plain"),
        "sweep_over.model.1.factory",
        "vocabulary",
    ),
}


@pytest.mark.parametrize(("job", "field", "words"), REFUSED.values(), ids=REFUSED)
def test_a_users_model_is_refused_naming_field_and_remedy(
    job: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        registry.resolved(registry.parse(job))
    named = {problem.field: problem.message for problem in refusal.value.problems}
    assert words in named.get(field, ""), named


@pytest.mark.parametrize("job", [document_with({}), beside_ours()], ids=["alone", "as a variant"])
def test_a_users_model_that_fits_is_accepted_with_the_hash_of_its_code(job: dict[str, Any]) -> None:
    question = registry.resolved(registry.parse(job)).question
    variants = question.sweep_over.model if question.sweep_over else ()
    as_printed = variants[1].model if variants else question.model
    assert as_printed.content == factory.content(THEIRS["factory"])


def test_code_that_changed_since_it_was_imported_asks_for_a_new_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "changing_models.py"
    file.write_text("from tests.telescope.user_models import mixture\n")
    monkeypatch.syspath_prepend(tmp_path)
    study = registry.parse(document_with({"factory": "changing_models:mixture"}))
    assert registry.resolved(study).question.model.content
    file.write_text(file.read_text() + "# edited\n")
    with pytest.raises(InvalidInput) as refusal:
        registry.resolved(study)
    (problem,) = refusal.value.problems
    assert (problem.field, "restart telescope" in problem.message) == ("model.factory", True)
