"""The JSON document of an answer, and which answers can be exported."""

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


def exported_document(**changes: Any) -> dict[str, Any]:
    """The document of a small study's answer."""
    result: dict[str, Any] = json.loads(
        exported(*answered(document(**changes)), ExportRequest("json"))
    )
    return result


def test_groups_are_those_of_the_target_with_the_answers_values() -> None:
    run, result = run_of(), exported_document()
    spec = run.spec
    expected = describe_groups(spec.model, spec.data.vocab_size, spec.optimizer)
    assert result["parameter_groups"] == json.loads(
        json.dumps([asdict(group) for group in expected])
    )
    assert result["parameter_groups"] == json.loads(
        json.dumps([asdict(group) for group in run.ladder.parameter_groups])
    )
    assert (result["model"]["width"], result["vocab_size"], result["context"]) == (64, 256, 32)


def test_every_matrix_of_muons_has_its_shape_and_factor_and_no_others_do() -> None:
    result = exported_document()
    matrices = {matrix["name"]: matrix for matrix in result["muon"]["matrices"]}
    groups = [group for group in result["parameter_groups"] if group["optimizer"] == "muon"]
    assert set(matrices) == {name for group in groups for name in group["names"]}
    down = matrices["blocks.0.feed_forward.down.weight"]
    assert (down["shape"], down["update_scale"]) == ([64, 256], 0.5)
    optimizer = run_of().spec.optimizer
    assert all(
        matrix["update_scale"] == mup.update_scale(optimizer, *matrix["shape"])
        for matrix in matrices.values()
    )
    assert exported_document(optimizer="adamw")["muon"] is None


def test_the_schedule_has_its_numbers_and_a_formula() -> None:
    run, result = run_of(), exported_document()["schedule"]
    assert (result["steps"], result["batch_tokens"], result["tokens"], result["warmup_steps"]) == (
        24,
        128,
        24 * 128,
        3,
    )
    factors = [eval(result["factor"], {"step": step}) for step in range(24)]
    assert factors == [lr_factor(run.spec.horizon, step) for step in range(24)]


def test_a_document_states_its_provenance() -> None:
    run, provenance = run_of(), exported_document()["provenance"]
    assert (provenance["job"], provenance["name"], provenance["date"]) == (
        "job-1",
        "small",
        "2030-01-02T03:04:05+00:00",
    )
    assert (provenance["corpus"], provenance["corpus_content"]) == (
        "python-stdlib",
        run.spec.data.content,
    )
    assert provenance["verdict"] == run.ladder.verdict == "resolved"
    assert (
        provenance["hyperparameters"]["lr"]["low"]
        < provenance["hyperparameters"]["lr"]["value"]
        < provenance["hyperparameters"]["lr"]["high"]
    )
    assert (provenance["method"]["estimator"], provenance["numerics"]) == (
        "pooled",
        ["torch on cpu"],
    )
    assert sorted(trial.digest for trial in run.trials) == provenance["trials"]
    assert sum(level["trials"] for level in provenance["levels"]) == len(provenance["trials"])
    assert provenance["seeds"] == sorted(
        {seed for level in provenance["levels"] for seed in level["seeds"]}
    )


def test_the_best_ladder_is_exported_unless_another_is_requested() -> None:
    study, report, source = answered(document(["muon", "adamw"]))
    optimizer = next(
        ladder.optimizer for ladder in report.ladders if ladder.optimizer != report.best
    )
    assert (
        json.loads(exported(study, report, source, ExportRequest("json")))["optimizer"]
        == report.best
    )
    result = json.loads(exported(study, report, source, ExportRequest("json", optimizer)))
    assert result["optimizer"] == optimizer
    used = [trial.digest for trial in source.trials if trial.optimizer == optimizer]
    assert result["provenance"]["trials"] == sorted(used)


@pytest.mark.parametrize("to", FORMATS)
def test_a_refused_answer_is_exported_in_no_form(to: Any) -> None:
    study, report, source = answered(document())
    ladder = replace(report.ladders[0], verdict="refused", reason="the coordinate check fails")
    refused = replace(report, verdict="refused", best=None, ladders=(ladder,))
    with pytest.raises(NotExportable, match=r"refused.*the coordinate check fails"):
        exported(study, refused, source, ExportRequest(to))


def test_an_answer_without_hyperparameters_is_not_exported() -> None:
    study, _, source = answered(document())
    with pytest.raises(NotExportable, match="wait for the first level"):
        exported(study, KIND.of(study).report(()), source, ExportRequest("json"))
    with pytest.raises(NotExportable, match=r"limits\.max_seconds is used up.*run the job again"):
        exported(
            study,
            KIND.of(study).report((), Ended(EndCause.OUT_OF_TIME)),
            source,
            ExportRequest("json"),
        )


def test_an_unknown_ladder_is_refused_with_the_ladders_that_exist() -> None:
    study, report, source = answered(document())
    with pytest.raises(
        InvalidInput, match="optimizer: the job has no ladder of this optimizer; choose muon"
    ):
        exported(study, report, source, ExportRequest("json", "adamw"))


def test_an_answer_that_is_not_resolved_says_so_first() -> None:
    result = exported_document(
        search={"lr": {"low": 0.002, "high": 0.008, "points": 4, "extend": False}}
    )
    assert result["warning"].startswith("UNBRACKETED")
    assert list(result)[1] == "warning"
    assert exported_document()["warning"] is None
