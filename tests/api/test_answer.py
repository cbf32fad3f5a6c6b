"""How an answer reads: its rules and what it takes for granted are on the page."""

from io import StringIO

from rich.console import Console

from api.answer import show, typed
from telescope.studies import run
from telescope.studies.registry import report_document
from tests.surfaces import Surface, study


def printed(**changes: object) -> str:
    page = StringIO()
    report = typed(report_document(run(study(**changes), Surface((-5.5, -3.5), noise=0.1))))  # type: ignore[arg-type]
    show(report, 512, Console(file=page, width=400))
    return page.getvalue()


def test_a_sound_pairing_is_one_line_and_every_assumption_another() -> None:
    page = printed()
    rules = "update scale spectral_ratio, lr constant, weight decay fixed_tokens, eps constant, attention inverse_sqrt, head multiplier"
    assert f"Rules of mup: {rules} (sound).\nTaken for granted:\n- tokens: every width trains on the same 61,440" in page
    assert [line.split(":")[0] for line in page.splitlines() if line.startswith("- ")] == [
        f"- {topic}" for topic in ("tokens", "batch", "ratio", "attention", "depth")
    ]


def test_a_forced_pairing_is_marked_with_its_reason() -> None:
    page = printed(optimizer_options={"update_scale": "rms_match", "muon_lr_rule": "constant"}, force_pairing=True)
    assert "update scale rms_match, lr constant" in page
    assert (
        "(unsound, forced).\n- with update scale rms_match and muon_lr_rule constant the spectral norm of an update goes as m^0.5" in page
    )


def test_the_rules_of_adamw_name_its_eps_and_no_update_scale() -> None:
    assert "Rules of mup: weight decay fixed_tokens, hidden eps / m, attention inverse_sqrt, head multiplier (sound)." in printed(
        optimizer="adamw"
    )
    assert "head unscaled (unsound)." in printed(optimizer="adamw", parametrisation="standard")
