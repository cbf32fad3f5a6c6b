"""The document of an answer, and the answers that can be exported."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from telescope.errors import InvalidInput, NotExportable
from telescope.export import FORMATS, ExportRequest, exported
from telescope.optim.groups import describe_groups
from telescope.optim.schedule import lr_factor
from telescope.parametrisation import mup
from telescope.studies.kind import EndCause, Ended
from telescope.studies.telescoping.kind import KIND
from tests.telescope.export.answers import answered, document, run_of


def told(**changes: Any) -> dict[str, Any]:
    """The document of a small study's answer."""
    found: dict[str, Any] = json.loads(
        exported(*answered(document(**changes)), ExportRequest("json"))
    )
    return found


def test_groups_are_those_of_the_target_with_the_values_found() -> None:
    run, found = run_of(), told()
    spec = run.spec
    expected = describe_groups(spec.model, spec.data.vocab_size, spec.optimizer)
    assert found["parameter_groups"] == json.loads(
        json.dumps([asdict(group) for group in expected])
    )
    assert found["parameter_groups"] == json.loads(
        json.dumps([asdict(group) for group in run.ladder.parameter_groups])
    )
    assert (found["model"]["width"], found["vocab_size"], found["context"]) == (64, 256, 32)


def test_every_matrix_of_muons_has_its_shape_and_factor_and_no_others_do() -> None:
    found = told()
    matrices = {matrix["name"]: matrix for matrix in found["muon"]["matrices"]}
    groups = [group for group in found["parameter_groups"] if group["optimizer"] == "muon"]
    assert set(matrices) == {name for group in groups for name in group["names"]}
    down = matrices["blocks.0.feed_forward.down.weight"]
    assert (down["shape"], down["update_scale"]) == ([64, 256], 0.5)
    optimizer = run_of().spec.optimizer
    assert all(
        matrix["update_scale"] == mup.update_scale(optimizer, *matrix["shape"])
        for matrix in matrices.values()
    )
    assert told(optimizer="adamw")["muon"] is None


def test_the_schedule_has_its_numbers_and_a_formula() -> None:
    run, found = run_of(), told()["schedule"]
    assert (found["steps"], found["batch_tokens"], found["tokens"], found["warmup_steps"]) == (
        24,
        128,
        24 * 128,
        3,
    )
    factors = [eval(found["factor"], {"step": step}) for step in range(24)]
    assert factors == [lr_factor(run.spec.horizon, step) for step in range(24)]


def test_it_says_where_everything_comes_from() -> None:
    run, said = run_of(), told()["provenance"]
    assert (said["job"], said["name"], said["date"]) == (
        "job-1",
        "small",
        "2030-01-02T03:04:05+00:00",
    )
    assert (said["corpus"], said["corpus_content"]) == ("python-stdlib", run.spec.data.content)
    assert said["verdict"] == run.ladder.verdict == "resolved"
    assert (
        said["hyperparameters"]["lr"]["low"]
        < said["hyperparameters"]["lr"]["value"]
        < said["hyperparameters"]["lr"]["high"]
    )
    assert (said["method"]["estimator"], said["numerics"]) == ("pooled", ["torch on cpu"])
    assert sorted(trial.digest for trial in run.trials) == said["trials"]
    assert sum(level["trials"] for level in said["levels"]) == len(said["trials"])
    assert said["seeds"] == sorted({seed for level in said["levels"] for seed in level["seeds"]})


def test_of_several_ladders_the_better_one_is_exported_or_the_one_asked_for() -> None:
    study, report, source = answered(document(["muon", "adamw"]))
    other = next(ladder.optimizer for ladder in report.ladders if ladder.optimizer != report.best)
    assert (
        json.loads(exported(study, report, source, ExportRequest("json")))["optimizer"]
        == report.best
    )
    found = json.loads(exported(study, report, source, ExportRequest("json", other)))
    assert found["optimizer"] == other
    used = [trial.digest for trial in source.trials if trial.optimizer == other]
    assert found["provenance"]["trials"] == sorted(used)


@pytest.mark.parametrize("to", FORMATS)
def test_a_refused_answer_is_exported_in_no_form(to: Any) -> None:
    study, report, source = answered(document())
    ladder = replace(report.ladders[0], verdict="refused", reason="the coordinate check fails")
    refused = replace(report, verdict="refused", best=None, ladders=(ladder,))
    with pytest.raises(NotExportable, match=r"refused.*the coordinate check fails"):
        exported(study, refused, source, ExportRequest(to))


def test_what_has_no_hyperparameters_yet_is_not_exported() -> None:
    study, _, source = answered(document())
    with pytest.raises(NotExportable, match="wait for the first level"):
        exported(study, KIND.of(study).report(()), source, ExportRequest("json"))
    with pytest.raises(NotExportable, match="limit:max_seconds"):
        exported(
            study,
            KIND.of(study).report((), Ended(EndCause.OUT_OF_TIME)),
            source,
            ExportRequest("json"),
        )


def test_a_ladder_that_there_is_not_is_refused_naming_those_that_are() -> None:
    study, report, source = answered(document())
    with pytest.raises(InvalidInput, match="optimizer: the job has no ladder of it; it has muon"):
        exported(study, report, source, ExportRequest("json", "adamw"))


def test_an_answer_that_is_not_resolved_says_so_first() -> None:
    found = told(search={"lr": {"low": 0.002, "high": 0.008, "points": 4, "extend": False}})
    assert found["warning"].startswith("UNBRACKETED")
    assert list(found)[1] == "warning"
    assert told()["warning"] is None
