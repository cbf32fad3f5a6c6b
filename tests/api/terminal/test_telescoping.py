"""Terminal output of a telescoping report: rules and assumptions included."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from api.terminal import evidence
from api.terminal.telescoping import parse_report, show, show_result
from surfaces.bowls import Surface, study
from telescope.studies import run_study
from telescope.studies.registry import report_document
from telescope.studies.telescoping.kind import KIND


def printed(**changes: object) -> str:
    output = StringIO()
    report = run_study(KIND.of(study(**changes)), Surface((-5.5, -3.5), noise=0.1))
    show(parse_report(report_document(report)), 512, Console(file=output, width=400))
    return output.getvalue()


def test_a_sound_pairing_has_one_line_and_every_assumption_has_one() -> None:
    output = printed()
    rules = (
        "update scale spectral_ratio, lr constant, weight decay fixed_tokens, eps constant, "
        "attention inverse_sqrt, head multiplier"
    )
    assert (
        f"Rules of mup: {rules} (sound).\n"
        "Assumptions:\n- tokens: every width trains on the same 61,440"
    ) in output
    assert [line.split(":")[0] for line in output.splitlines() if line.startswith("- ")] == [
        f"- {topic}" for topic in ("tokens", "batch", "ratio", "attention", "depth")
    ]


def test_importance_comes_from_the_fitted_model_if_there_is_one() -> None:
    (line,) = [line for line in printed().splitlines() if line.startswith("Importance")]
    assert "as shares of the variance of the loss in the fitted model:" in line
    assert "PED-ANOVA" not in line


def test_groups_of_one_role_are_distinguished_by_their_layers() -> None:
    hidden = [line.rstrip() for line in printed().splitlines() if line.startswith("hidden  ")]
    assert [line.rpartition("  ")[2] for line in hidden] == [
        "query, key, value, up, gate",
        "output",
        "down",
    ]


@pytest.mark.parametrize(
    "changes",
    [{}, {"schedule": "paper"}, {"optimizer": ["adamw", "muon"]}, {"validate_at_target": True}],
)
def test_a_job_whose_runs_all_diverged_prints_no_hyperparameters(
    changes: dict[str, Any],
) -> None:
    report = parse_report(
        report_document(run_study(KIND.of(study(**changes)), Surface((-5.5, -3.5), cliff=-40.0)))
    )
    output = StringIO()
    show(report, 512, Console(file=output, width=400))
    assert report.verdict == "unbracketed"
    assert report.reason.startswith("every run diverged; add lr below ")
    assert output.getvalue().count(f"No hyperparameters: {report.reason}.") == len(report.ladders)
    assert not any(
        ladder.hyperparameters or level.optimum
        for ladder in report.ladders
        for level in ladder.levels
    )
    assert "interval 0" not in output.getvalue()


def test_brackets_in_a_reason_are_printed_as_they_are() -> None:
    (ladder,) = run_study(KIND.of(study()), Surface((-5.5, -3.5), noise=0.1)).ladders
    reason, output = "failed: OSError: [Errno 28] no space left in [/tmp]", StringIO()
    failed = replace(ladder, verdict="unbracketed", reason=reason, hyperparameters={})
    show_result(failed, 512, "", Console(file=output, width=400))
    assert output.getvalue().count(reason) == 2


def test_a_law_that_does_not_fit_the_losses_is_not_stated() -> None:
    (ladder,) = run_study(KIND.of(study()), Surface((-5.5, -3.5), noise=0.1)).ladders
    assert ladder.scaling_fit is not None
    for r_squared, beginning in (
        (0.95, "The loss at the optimum falls as"),
        (0.07, "The loss at the optimum follows no power law of the number of parameters"),
    ):
        changed = replace(ladder, scaling_fit=replace(ladder.scaling_fit, r_squared=r_squared))
        assert [
            sentence for sentence in evidence.sentences(changed) if sentence.startswith(beginning)
        ]


def test_a_forced_pairing_is_marked_with_its_reason() -> None:
    output = printed(
        optimizer_options={"update_scale": "rms_match", "muon_lr_rule": "constant"},
        force_pairing=True,
    )
    assert "update scale rms_match, lr constant" in output
    assert (
        "(unsound, forced).\n"
        "- with update scale rms_match and muon_lr_rule constant "
        "the spectral norm of an update scales as m^0.5"
    ) in output


def test_the_rules_of_adamw_name_its_eps_and_no_update_scale() -> None:
    assert (
        "Rules of mup: weight decay fixed_tokens, hidden eps as 1/width, attention inverse_sqrt, "
        "head multiplier (sound)."
    ) in printed(optimizer="adamw")
    assert "head unscaled (unsound)." in printed(optimizer="adamw", parametrisation="standard")
