"""The specification of a *trial*, which is one training run.

A `TrialSpec` holds the model, the optimizer, the data, the horizon (length, batch size and
learning-rate schedule), the seed and further options. All parts are frozen and validated. The
digest of the specification identifies the trial: trials with the same digest are the same trial,
even if different jobs plan them. The files `model`, `optimizer`, `data` and `horizon` define the
parts.
"""

from dataclasses import field
from functools import cached_property
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from telescope.trials.data import ORIGIN, AnyData
from telescope.trials.horizon import UNTIMED_STEPS, Branch, HorizonSpec, batch_problem
from telescope.trials.identity import LATER_FIELDS, digest_of, plain_json
from telescope.trials.model import AnyModel
from telescope.trials.optimizer import OptimizerSpec, clip_problems
from telescope.trials.types import STRICT, Count, SoftmaxName, require_none


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialSpec:
    """The specification of one training run. Its identity is `digest`."""

    model: AnyModel
    optimizer: OptimizerSpec
    data: AnyData
    horizon: HorizonSpec
    seed: int = field(default=0)
    """Seed of the initial values, of the order of the data, and of dropout."""
    measure: Literal["loss", "coordinates", "time"] = "loss"
    """What the run measures. loss: the held-out loss. coordinates: how far the outputs of hidden
    layers and the logits move in the first steps (telescope.studies.coordinates.check). time: the
    seconds that a step takes while the run has a worker to itself."""
    branch: Branch | None = None
    """The run's *trunk*, which is another trial, and the step at which the run continues from the
    trunk's saved state. If this state is missing, the run takes all steps itself. None if the run
    has no trunk."""
    softmax: SoftmaxName = "softmax"
    """Kind of softmax in the loss (telescope.models.losses). On a text, only softmax is
    allowed."""
    kept_steps: tuple[Count, ...] = ()
    """Steps at which the run saves its state for its *branches*, which are other trials that
    continue from these states. The states are kept until the job ends."""

    @model_validator(mode="after")
    def _require_consistent(self) -> "TrialSpec":
        if not self.data.context:
            raise ValueError(
                "data is a table whose file has not been read; pass "
                "telescope.data.algorithmic.resolve_table(table)"
            )
        problem = batch_problem(self.data, self.horizon)
        if problem:
            raise ValueError(problem.message)
        require_none(clip_problems(self.model.known_attention(), self.optimizer))
        self._require_options_of_data()
        steps = self.horizon.steps
        if self.branch and self.branch.step >= steps:
            raise ValueError(
                f"branch.step {self.branch.step} leaves none of the {steps} steps; branch off "
                "earlier, or give more steps"
            )
        if self.measure == "time" and steps < UNTIMED_STEPS + 2:
            raise ValueError(
                f"{steps} steps are too few to time a step; give {UNTIMED_STEPS + 2} or more"
            )
        return self

    def _require_options_of_data(self) -> None:
        """Raise ValueError if an option is set that is only for texts although the data is a table,
        or only for tables although the data is a text."""
        if self.data.has_answers:
            if self.horizon.micro_batch_tokens is not None:
                # micro-batches have equal weights, but those of the last batch of an epoch could
                # have different sizes
                raise ValueError("micro_batch_tokens is for text only; leave it out")
            if self.horizon.stop_below_loss is not None:
                raise ValueError("stop_below_loss is for text only; leave it out")
        elif self.softmax != "softmax":
            raise ValueError(f"softmax {self.softmax} is for tables only; leave it out")
        elif self.horizon.sustained_evaluations is not None:
            raise ValueError("sustained_evaluations is for tables only; leave it out")

    @property
    def windows(self) -> int:
        """Number of windows, or rows of a table, per step. The last step of an epoch over a table
        may have fewer rows."""
        return self.data.windows(self.horizon.batch_tokens)

    def tokens_until(self, step: int) -> int:
        """Number of tokens that the first `step` steps are trained on."""
        return self.data.tokens_until(step, self.horizon.batch_tokens)

    @property
    def measures_ending(self) -> bool:
        """True if the run measures its weights and the effect of its last step at its end
        (telescope.train.probes). Runs on tables do not, since each of their evaluations measures
        the weights."""
        return self.measure == "loss" and not self.data.has_answers

    @property
    def branch_step(self) -> int:
        """Number of steps that the run shares with its trunk; 0 if the run has no trunk. The run's
        curve and costs begin after these steps."""
        return self.branch.step if self.branch else 0

    @property
    def own_steps(self) -> int:
        """Number of steps that the run does not share with its trunk."""
        return self.horizon.steps - self.branch_step

    @cached_property
    def digest(self) -> str:
        """The identity of the run: 128 bits in hex (`digest_of`).

        The digest leaves out some fields. If `data.content` is filled in, the names of the corpora
        and of the tokenizer are left out, since `content` is a hash of the tokens. Fields that were
        added later (`LATER_FIELDS`) are left out if they have their defaults, so that older runs
        keep their identity.
        """
        plain = plain_json(self)
        for part, name, default in LATER_FIELDS:
            values = plain[part] if part else plain
            # the spec of a user's model does not have all of these fields
            if name in values and values[name] == default:
                del values[name]
        if self.data.content:
            plain["data"] = {
                name: value for name, value in plain["data"].items() if name not in ORIGIN
            }
        return digest_of(plain)
