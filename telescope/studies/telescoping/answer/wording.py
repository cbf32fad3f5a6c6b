"""The words of reasons, advice, edges and ends of climbs. Nothing decides by them.

Parts: `words`, of a reason · `advice_words`, of advice · `edges_words` · `climb_words`.
"""

from collections.abc import Mapping, Sequence

from telescope.studies.telescoping.reasons import Advice, ClimbEnd, Code, Edge, Part, Reason, Remark, SeedBlocks, Side, Value

STAGES = {"coordinates": "the coordinate check", "grid": "the base grid"}
SIDES = {Side.LOW: "low", Side.HIGH: "high", Side.OUTSIDE_LAST_BLOCK: "outside its last block"}


def words(reason: Reason) -> str:
    """A reason as people read it."""
    own = () if reason.code is Code.OF_LADDERS else (own_words(reason),)
    return "; ".join((*own, *map(part_words, reason.parts)))


def part_words(part: Part) -> str:
    """A part of a reason, after what it is about."""
    about = part.variant if part.width is None else f"width {part.width}"
    return f"{about}: {words(part.reason)}" if about else words(part.reason)


def own_words(reason: Reason) -> str:
    """A reason without its parts."""
    values = dict(reason.values)
    match reason.code:
        case Code.COORDINATES_FAIL:
            remedy = "Mend the rule, or set coordinates: skip"
            return f"the coordinate check fails: {values['check']}. Likely cause: {values['cause']}. {remedy}"
        case Code.ALL_DIVERGED:
            return f"every run diverged; add lr below {values['lr']:.3g}"
        case Code.ALL_DIVERGED_SO_FAR:
            return f"{end_words(values)}; so far every run diverged; add lr below {values['lr']:.3g}"
        case Code.STOPPED:
            return end_words(values)
        case Code.STAGE_UNFINISHED:
            return f"running: {STAGES[str(values['stage'])]} is not finished"
        case Code.SO_FAR:
            half_width = values["half_width"]
            return f"running: so far {interval_words(half_width) if half_width else 'there is no interval of lr'}"
        case Code.AT_BORDER:
            named = "; ".join(f"width {border.width}, {edges_words(border.edges)}" for border in reason.borders)
            which = f" ({named})" if named else ""
            return f"the optimum of lr lies at the border of what was, or may be, tried: about {values['lr']:.3g}{which}"
        case Code.NO_NOISE_MODEL:
            return "no noise model: fewer than 3 learning rates, or no finite loss at the base width"
        case Code.INTERVAL_TOO_WIDE:
            return f"interval: {interval_words(values['half_width'])}, wider than +-{values['most']}; {advice_words(reason.advice)}"
        case Code.DRIFTING:
            moved = f"the optimum of lr moved {values['move']:+.2f} octave {span_words(values)}"
            return f"drifting: {moved}; check the parametrisation, or {advice_words(reason.advice)}"
        case Code.RESOLVED:
            moved = f"its optimum moved {values['move']:+.2f} octave {span_words(values)}"
            return f"{interval_words(values['half_width'])}, and {moved}"
        case Code.CONTRADICTED:
            return contradiction_words(values)
        case Code.NOTHING_FINISHED:
            return "no level is finished yet"
        case _:
            return level_words(reason)


def level_words(reason: Reason) -> str:
    """A reason of one width by itself, what to do about it last."""
    values = dict(reason.values)
    match reason.code:
        case Code.TOO_FEW_RATES:
            several = "s" if values["finite"] != 1 else ""
            leaning = ", which lean on the bowl of other widths" if values["fitted"] else ""
            said = f"{values['finite']} learning rate{several} with a loss{leaning}"
        case Code.AT_END_OF_RATES:
            said = f"the optimum lies at the {values['side']}est lr run"
        case Code.BASE_DIVERGED:
            said = "the narrowest width has no finite loss to fit; leave it out, or give it some"
        case Code.KNOWN_LOOSELY:
            said = f"the optimum is known to +-{values['half_width']:.2f} octave only"
        case Code.KNOWN:
            said = f"the optimum is known to +-{values['half_width']:.2f} octave"
        case Code.IN_WORDS:
            said = str(values["text"])
        case _:
            raise ValueError(f"{reason.code} has no words of its own")
    return f"{said}; {advice_words(reason.advice)}" if reason.advice else said


def end_words(values: Mapping[str, Value]) -> str:
    """What ended a study, if anything did."""
    by, detail = values["by"] or "running", values["detail"]
    return f"{by}: {detail}" if detail else str(by)


def interval_words(half_width: Value) -> str:
    """The width of the interval of the learning rate."""
    return f"the 90 % interval of lr at the target is +-{half_width:.2f} octave"


def span_words(values: Mapping[str, Value]) -> str:
    """Between which widths an optimum moved."""
    match values["span"]:
        case "several":
            return f"over the last {values['doublings']:.2g} doublings of the width"
        case "part":
            return f"per doubling of the width, going by its last {values['doublings']:.2g} doublings"
        case _:
            return "between the two widest levels"


def contradiction_words(values: Mapping[str, Value]) -> str:
    """Why a ladder's answer does not stand."""
    theirs = f"{values['optimum']:.3g} ({values['low']:.3g} to {values['high']:.3g})"
    stated = f"the ladder's {values['lr']:.3g} ({values['stated_low']:.3g} to {values['stated_high']:.3g})"
    ours = f"{stated}, which costs {values['regret']:.2g} % of the loss"
    settled = "the former is handed out" if values["settled"] else "the latter is still handed out: the runs there do not settle it"
    return f"contradicted: runs at width {values['width']} put the optimum of lr at {theirs}, not at {ours}; {settled}"


def advice_words(remark: Remark | None) -> str:
    """Advice as the end of a reason."""
    assert remark is not None, "such a reason comes with advice"
    values = dict(remark.values)
    match remark.advice:
        case Advice.RAISE_CALIBRATION_WIDTH:
            return "one width cannot bound the drift; raise calibration_width"
        case Advice.GRID_EXHAUSTED:
            return "a published grid has no more to give: add seeds, or use schedule: robust, which buys runs where they remove most doubt"
        case Advice.CALIBRATE_WIDER:
            return "calibrate on wider models"
        case Advice.TRAIN_LONGER:
            return "more seeds will hardly mend it; train longer, with larger batches, or calibrate on wider models"
        case Advice.MORE_BLOCKS:
            several = "s" if (values["blocks"] or 0) != 1 else ""
            return f"about {values['blocks']} more block{several} of runs would do: set limits.max_base_runs to {values['max_base_runs']}"
        case Advice.BLOCK_AT_WIDTH:
            return f"a block at width {values['width']} would tell: set limits.max_base_runs to {values['max_base_runs']}"
        case Advice.SECOND_WIDTH:
            return f"one width cannot bound the drift; run a second one, such as {values['width']}"
        case Advice.SWEEP_WIDTH:
            return f"sweep width {values['width']} too"
        case Advice.NEW_SEEDS:
            return f"new seeds would do, at about {'; '.join(map(runs_words, remark.runs))}"
        case Advice.WIDER_OR_LONGER:
            return "more seeds will hardly mend it; add a wider width, or make the runs longer"
        case Advice.ADD_RATES:
            return f"add lr {' and '.join(f'{rate:.3g}' for rate in remark.rates)}"
        case Advice.ADD_SEEDS:
            return "add seeds"


def runs_words(runs: SeedBlocks) -> str:
    """Blocks of runs at a width."""
    grid = " with ".join(f"{corners.axis.replace('_', ' ')} {corners.low:.3g} and {corners.high:.3g}" for corners in runs.corners)
    return f"{runs.blocks} x width {runs.width}, {grid}"


def edges_words(edges: Sequence[Edge]) -> str:
    """The borders that an optimum lies at; empty where there are none."""
    return ", ".join(f"{edge.axis}: {SIDES[edge.side]}" for edge in edges)


def climb_words(width: int, why: ClimbEnd, values: Mapping[str, Value]) -> str:
    """Where a ladder stopped rising, and why."""
    match why:
        case ClimbEnd.RUNNING:
            return f"at width {width} so far"
        case ClimbEnd.LIMIT:
            return f"stopped at width {width} by {values['limit']}"
        case ClimbEnd.CALIBRATION_WIDTH:
            return f"rose to calibration_width {width}"
    stopped = f"stopped at width {width}, below calibration_width {values['calibration_width']}"
    match why:
        case ClimbEnd.RULE:
            return f"{stopped}, by paper.edge: fail or paper.nc: stop_when_flat"
        case ClimbEnd.NO_FIT:
            return f"{stopped}: nothing there could be fitted"
        case ClimbEnd.TOLERANCE:
            likely = f"{values['octaves']:+.2f} octave from there to the target ({values['low']:+.2f} to {values['high']:+.2f})"
            move = f"lr is expected to move {likely}"
            return f"{stopped}: {move}, and a wider level would not change the answer beyond the tolerance"
        case ClimbEnd.BUDGET:
            next_one = f"a block at width {values['next_width']} costs {values['next_cost']:.0f} base runs"
            return f"{stopped}: {next_one}, and {values['left']:.0f} of {values['max_base_runs']:.0f} are left"
