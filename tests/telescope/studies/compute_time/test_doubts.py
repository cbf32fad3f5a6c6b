"""Doubts about a compute-time answer, as the values that a report's text is made from."""

from telescope.studies.compute_time.answer import answer
from telescope.studies.compute_time.reasons import Doubted, OptimizerBatch, Reservation, RunsEarly
from tests.telescope.studies.compute_time.laws import OPTIMA, Trainer, study, trained

BATCHES, HIGH = (128, 2048), 3.0


def test_a_doubt_about_the_values_of_several_batches_is_given_once() -> None:
    given = [
        {"optimizer": "muon", "batch_tokens": batch, "lr": 2.0**-5, "mark": mark}
        for batch, mark in ((128, "of another corpus"), (2048, "of another context"))
    ]
    question = study(optimizer="muon", given=given, batch_tokens=[128, 512, 2048])
    report = answer(question, trained(question, Trainer()))
    assert isinstance(report.because, Doubted)
    marks = [doubt.mark for doubt in report.because.doubts if isinstance(doubt, Reservation)]
    assert marks == ["of another corpus", "of another context"]


def test_runs_below_a_target_at_their_first_point_are_a_doubt_with_their_batches() -> None:
    hyperparameters = [
        {"optimizer": optimizer, "batch_tokens": batch, "lr": 2.0**octaves, "weight_decay": 0.1}
        for optimizer, octaves in OPTIMA.items()
        for batch in BATCHES
    ]
    question = study(
        given=hyperparameters, batch_tokens=BATCHES, target_losses=[HIGH, 2.0], seeds=2
    )
    trials = trained(question, Trainer())
    early = {
        OptimizerBatch(
            optimizer=trial.spec.optimizer.name, batch_tokens=trial.spec.horizon.batch_tokens
        )
        for trial in trials
        if trial.spec.measure != "time" and not trial.spec.branch
        if next(Trainer()(trial.spec)).metrics["loss"] < HIGH
    }
    report = answer(question, trials)
    assert 0 < len(early) < len(OPTIMA) * len(BATCHES)
    assert isinstance(report.because, Doubted)
    (doubt,) = report.because.doubts
    assert isinstance(doubt, RunsEarly)
    assert (doubt.target_loss, set(doubt.batches)) == (HIGH, early)
    assert report.verdict == "unresolved"
