"""The words of reasons and advice. Nothing decides by them.

Parts: `words`, of a reason · `advice_words`, of advice · `interval_words`.
"""

from collections.abc import Mapping

from telescope.studies.telescoping.reasons import Advice, Code, Reason, Remark, Value


def words(reason: Reason) -> str:
    """A reason as people read it."""
    own = () if reason.code is Code.OF_LADDERS else (own_words(reason),)
    return "; ".join((*own, *reason.parts))


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
            return f"running: {values['stage']} is not finished"
        case Code.SO_FAR:
            half_width = values["half_width"]
            return f"running: so far {interval_words(half_width) if half_width else 'there is no interval of lr'}"
        case Code.AT_BORDER:
            which = f" ({values['borders']})" if values["borders"] else ""
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
        case Code.OF_LADDERS:
            raise ValueError("such a reason has parts alone")


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
            return f"new seeds would do, at about {values['runs']}"
        case Advice.WIDER_OR_LONGER:
            return "more seeds will hardly mend it; add a wider width, or make the runs longer"
