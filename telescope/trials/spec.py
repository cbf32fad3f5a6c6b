"""The specification that fully determines one training run.

A `TrialSpec` holds model, optimizer, data, horizon and seed, all frozen and validated, and is
identified by the digest of its canonical JSON. Two trials with the same digest are the same trial,
whichever job planned them. The parts of a spec have modules of their own, `model`, `optimizer`,
`data` and `horizon`; `identity` computes digests.
"""

from dataclasses import field
from functools import cached_property
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from telescope.trials.data import ORIGIN, DataSpec
from telescope.trials.horizon import UNTIMED_STEPS, Branch, HorizonSpec, batch_problem
from telescope.trials.identity import LATER_FIELDS, digest_of, plain_json
from telescope.trials.model import AnyModel
from telescope.trials.optimizer import OptimizerSpec, clip_problems
from telescope.trials.types import STRICT, Count, require_none


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialSpec:
    """One training run, fully determined; its identity is `digest`."""

    model: AnyModel
    optimizer: OptimizerSpec
    data: DataSpec
    horizon: HorizonSpec
    seed: int = field(default=0)
    """Seed of the initial values, the order of the data, and dropout in a user's model."""
    measure: Literal["loss", "coordinates", "time"] = "loss"
    """What the run measures. loss: its final held-out loss; coordinates: how far each layer's
    output moves in the first steps (telescope.studies.coordinates.check); time: the seconds of a
    step, alone on a worker."""
    branch: Branch | None = None
    """The trunk and the step from whose saved state the run continues; without this state, the run
    takes all its steps itself."""
    kept_steps: tuple[Count, ...] = ()
    """Steps at which the run saves its state for its branches; the states are kept until the job
    ends."""

    @model_validator(mode="after")
    def _require_consistent(self) -> "TrialSpec":
        problem = batch_problem(self.data, self.horizon)
        if problem:
            raise ValueError(problem.message)
        if (attention := self.model.known_attention()) is not None:
            require_none(clip_problems(attention, self.optimizer))
        elif self.optimizer.watches_logits:
            raise ValueError(
                "telescope cannot see the attention logits of a user's model; leave out qk_clip "
                "and measure_max_logit"
            )
        steps = self.horizon.steps
        if self.branch and self.branch.step >= steps:
            raise ValueError(
                f"branch.step {self.branch.step} leaves no step of {steps}; branch off earlier"
            )
        if self.measure == "time" and steps < UNTIMED_STEPS + 2:
            raise ValueError(
                f"{steps} steps are too few to time a step; give {UNTIMED_STEPS + 2} or more"
            )
        return self

    @property
    def branch_step(self) -> int:
        """Number of steps that the run shares with its trunk, 0 without one; the run's curve and
        costs begin after these steps."""
        return self.branch.step if self.branch else 0

    @property
    def own_steps(self) -> int:
        """Number of steps after `branch_step`."""
        return self.horizon.steps - self.branch_step

    @cached_property
    def digest(self) -> str:
        """Identity of the run: the first 128 bits, in hex, of the SHA-256 of its canonical JSON.

        If `data.content` is filled in, the digest omits the names of the corpus and the tokenizer,
        since `content` is the hash of the tokens themselves. Fields that specs have not always had
        (`LATER_FIELDS`) are omitted at their defaults, so that older runs keep their identity.
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
