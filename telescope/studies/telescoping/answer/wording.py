"""The texts of reasons, advice, edges and ends of climbs (`reasons`). No decision depends on these
texts.

A *ladder* is the search of one optimizer over growing widths. It *climbs* from each width to the
next. An *edge* says on which side of the values tried an optimum lies: at their low end, at their
high end, or outside the last block. A *block* is a set of runs with one seed.
"""

from collections.abc import Mapping, Sequence

from telescope.studies.kind import end_text
from telescope.studies.telescoping.reasons import (
    Advice,
    ClimbEnd,
    Code,
    Edge,
    Reason,
    ReasonPart,
    Remark,
    SeedBlocks,
    Side,
    Value,
)

STAGES = {"coordinates": "the coordinate check", "grid": "the base grid"}
SIDES = {Side.LOW: "low", Side.HIGH: "high", Side.OUTSIDE_LAST_BLOCK: "outside its last block"}


def words(reason: Reason) -> str:
    """The text of a reason, followed by the texts of its parts. A reason with the code OF_LADDERS
    consists of its parts only.
    """
    own = () if reason.code is Code.OF_LADDERS else (own_words(reason),)
    return "; ".join((*own, *map(part_words, reason.parts)))


def part_words(part: ReasonPart) -> str:
    """The text of a part of a reason. It begins with the part's width or variant, if any."""
    about = part.variant if part.width is None else f"width {part.width}"
    return f"{about}: {words(part.reason)}" if about else words(part.reason)


def own_words(reason: Reason) -> str:
    """The text of a reason without its parts."""
    values = dict(reason.values)
    match reason.code:
        case Code.COORDINATES_FAIL:
            cause = f"Likely cause: {values['cause']}"
            remedy = "Fix the cause, or set `coordinates: skip`"
            return f"the coordinate check fails: {values['check']}. {cause}. {remedy}"
        case Code.ALL_DIVERGED:
            return f"every run diverged; add lr below {values['lr']:.3g}"
        case Code.ALL_DIVERGED_SO_FAR:
            remedy = "wait" if values["by"] is None else f"add lr below {values['lr']:.3g}"
            return f"{end_words(values)}; every run so far diverged; {remedy}"
        case Code.STOPPED:
            return end_words(values)
        case Code.STAGE_UNFINISHED:
            return f"running: {STAGES[str(values['stage'])]} is not finished"
        case Code.SO_FAR:
            half_width = values["half_width"]
            interval = interval_words(half_width) if half_width else "lr has no interval"
            return f"running: so far {interval}"
        case Code.AT_BORDER:
            return border_words(reason)
        case Code.NO_NOISE_MODEL:
            return (
                "no noise model: fewer than 3 learning rates, or no finite loss at the base width"
            )
        case Code.INTERVAL_TOO_WIDE:
            interval = f"{interval_words(values['half_width'])}, wider than +-{values['most']}"
            return f"interval: {interval}; {advice_words(reason.advice)}"
        case Code.DRIFTING:
            shift = f"the optimum of lr shifted by {move_words(values)}"
            return f"drifting: {shift}; check the parametrisation, or {advice_words(reason.advice)}"
        case Code.RESOLVED:
            shift = f"its optimum shifted by {move_words(values)}"
            return f"{interval_words(values['half_width'])}; {shift}"
        case Code.CONTRADICTED:
            return contradiction_words(values)
        case Code.NOTHING_FINISHED:
            return "no level is finished yet"
        case _:
            return level_words(reason)


def border_words(reason: Reason) -> str:
    """The text of the reason that an optimum lies at a border. It names the learning rate and, if
    they are known, the widths and edges.
    """
    borders = [f"width {border.width}, {edges_words(border.edges)}" for border in reason.borders]
    details = f" ({'; '.join(borders)})" if borders else ""
    place = f"about {dict(reason.values)['lr']:.3g}{details}"
    return f"the optimum of lr lies at the border of the range tried or allowed: {place}"


def level_words(reason: Reason) -> str:
    """The text of a reason for the verdict on a single width, followed by the advice, if any. Also
    the text of a reason that an older report stored as text. Raises ValueError for any other code.
    """
    values = dict(reason.values)
    match reason.code:
        case Code.TOO_FEW_RATES:
            plural = "s" if values["finite"] != 1 else ""
            basis = "; the fit relies on the bowl of other widths" if values["fitted"] else ""
            text = f"{values['finite']} learning rate{plural} with a finite loss{basis}"
        case Code.AT_END_OF_RATES:
            text = f"the optimum lies at the {values['side']}est lr tried"
        case Code.BASE_DIVERGED:
            remedy = "leave it out, or add runs that converge"
            text = f"the narrowest width has no finite loss to fit; {remedy}"
        case Code.KNOWN_LOOSELY:
            text = f"the optimum is known only to +-{values['half_width']:.2f} octave"
        case Code.KNOWN:
            text = f"the optimum is known to +-{values['half_width']:.2f} octave"
        case Code.IN_WORDS:
            text = str(values["text"])
        case _:
            raise ValueError(f"{reason.code} has no wording")
    return f"{text}; {advice_words(reason.advice)}" if reason.advice else text


def end_words(values: Mapping[str, Value]) -> str:
    """The text of the cause that ended a study early, or `running` if the study has not ended."""
    detail = None if values["detail"] is None else str(values["detail"])
    return end_text(str(values["by"] or "running"), detail)


def interval_words(half_width: Value) -> str:
    """The text of the half-width of the learning rate's interval, which is in octaves."""
    return f"lr at the target is known to +-{half_width:.2f} octave (90 %)"


def move_words(values: Mapping[str, Value]) -> str:
    """The text of the shift of an optimum between widths."""
    return f"{values['move']:+.2f} octave {span_words(values)}"


def span_words(values: Mapping[str, Value]) -> str:
    """The text of the distance in width over which a shift is measured."""
    match values["span"]:
        case "several":
            return f"over the last {values['doublings']:.2g} doublings of width"
        case "part":
            return (
                f"per doubling of width, measured over the last {values['doublings']:.2g} doublings"
            )
        case _:
            return "over the last doubling of width"


def contradiction_words(values: Mapping[str, Value]) -> str:
    """The text of a contradiction between a ladder's answer and the runs at the target."""
    measured = f"{values['optimum']:.3g} ({values['low']:.3g} to {values['high']:.3g})"
    interval = f"{values['stated_low']:.3g} to {values['stated_high']:.3g}"
    stated = f"the ladder's {values['lr']:.3g} ({interval})"
    cost = f"which costs {values['regret']:.2g} % of the loss"
    reported = (
        "the measured value is reported"
        if values["settled"]
        else (
            "the ladder's value is still reported: the runs at the target do not settle the optimum"
        )
    )
    runs = f"runs at width {values['width']}"
    optimum = f"{runs} put the optimum of lr at {measured}, not at {stated}"
    return f"contradicted: {optimum}, {cost}; {reported}"


def advice_words(remark: Remark | None) -> str:
    """The text of a piece of advice, which ends the text of a reason."""
    assert remark is not None, "reasons with this code have advice"
    values = dict(remark.values)
    match remark.advice:
        case Advice.RAISE_CALIBRATION_WIDTH:
            remedy = "raise calibration_width, or lower base_width"
            return f"a single width cannot bound the drift; {remedy}"
        case Advice.GRID_EXHAUSTED:
            better = "which adds runs where they reduce the uncertainty most"
            return f"the published grid is complete; add seeds, or use schedule: robust, {better}"
        case Advice.CALIBRATE_WIDER:
            return "calibrate on wider models"
        case Advice.TRAIN_LONGER:
            batches = "use larger batches (up to the final run's)"
            remedy = f"train longer, {batches}, or calibrate on wider models"
            return f"more seeds are unlikely to help; {remedy}"
        case Advice.MORE_BLOCKS:
            plural = "s" if (values["blocks"] or 0) != 1 else ""
            blocks = f"about {values['blocks']} more block{plural} of runs should suffice"
            return f"{blocks}: set limits.max_base_runs to {values['max_base_runs']}"
        case Advice.BLOCK_AT_WIDTH:
            block = f"add a block of runs at width {values['width']}"
            return f"{block}: set limits.max_base_runs to {values['max_base_runs']}"
        case Advice.SECOND_WIDTH:
            return f"a single width cannot bound the drift; run a second, such as {values['width']}"
        case Advice.SWEEP_WIDTH:
            return f"sweep width {values['width']} too"
        case Advice.NEW_SEEDS:
            return f"add new seeds: {'; '.join(map(runs_words, remark.runs))}"
        case Advice.WIDER_OR_LONGER:
            return "more seeds are unlikely to help; add a wider width, or make the runs longer"
        case Advice.ADD_RATES:
            return f"add lr {' and '.join(f'{rate:.3g}' for rate in remark.rates)}"
        case Advice.ADD_SEEDS:
            return "add seeds"


def runs_words(runs: SeedBlocks) -> str:
    """The text of the runs to add at a width: the number of blocks, and the two approximate values
    of each hyperparameter in a block.
    """
    grid = ", ".join(
        f"{corners.axis.replace('_', ' ')} about {corners.low:.3g} and {corners.high:.3g}"
        for corners in runs.corners
    )
    return f"{runs.blocks} at width {runs.width}, with {grid}"


def edges_words(edges: Sequence[Edge]) -> str:
    """The text of the edges at which an optimum lies. Empty if there are no edges."""
    return ", ".join(f"{edge.axis}: {SIDES[edge.side]}" for edge in edges)


def climb_words(width: int, why: ClimbEnd, values: Mapping[str, Value]) -> str:
    """The text of the end of a climb, which continues the words `the ladder`. It states the width
    that the ladder has reached and, in most cases, why the ladder stopped there.
    """
    match why:
        case ClimbEnd.RUNNING:
            return f"has reached width {width} so far"
        case ClimbEnd.LIMIT:
            return f"stopped at width {width}: {end_text(str(values['limit']))}"
        case ClimbEnd.CALIBRATION_WIDTH:
            return f"reached calibration_width {width}"
    stopped = f"stopped at width {width}, below calibration_width {values['calibration_width']}"
    match why:
        case ClimbEnd.RULE:
            return f"{stopped}, by paper.edge: fail or paper.nc: stop_when_flat"
        case ClimbEnd.NO_FIT:
            return f"{stopped}: no statistical model could be fitted there"
        case ClimbEnd.WALL:
            return f"{stopped}: the optimum of lr lies at or beyond a limit of the values allowed"
        case ClimbEnd.TOLERANCE:
            likely = (
                f"{values['octaves']:+.2f} octave ({values['low']:+.2f} to {values['high']:+.2f})"
            )
            shift = f"the optimum of lr is expected to shift by {likely} from there to the target"
            unchanged = "a wider level would not change the answer beyond the tolerance"
            return f"{stopped}: {shift}, and {unchanged}"
        case ClimbEnd.BUDGET:
            cost = (
                f"a block at width {values['next_width']} costs {values['next_cost']:.0f} base runs"
            )
            left = f"{values['left']:.0f} of {values['max_base_runs']:.0f} are left"
            return f"{stopped}: {cost}, and {left}"
