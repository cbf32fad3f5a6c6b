"""Every command of the tutorial runs as printed, and prints what the page shows."""

import re
from pathlib import Path

import pytest

from tests.docs import tutorial
from tests.docs.tutorial import Command, Done

TRAINS = re.compile("telescope (run|watch|result)|python3 train.py")  # commands that print losses
EXPECTED = {"telescope run job.yaml --plot first.png": 1}  # its verdict is unresolved


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_runs_and_prints_what_the_page_shows(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    ran = list(tutorial.run(tutorial.PAGE, folder))
    assert len(ran) >= 10
    exact = tutorial.is_recorded_processor()
    trained = [done for done in ran if TRAINS.match(done.command.text) and not exact]
    for done in trained:  # a verdict may differ, and with it the lines of a report
        assert done.status in (0, 1), "\n".join(done.output)
    other = sum(len(tutorial.unlike_in_form(done)) for done in trained)
    assert other <= sum(len(tutorial.steady(done)) for done in trained) / 2
    for done in ran:
        if done in trained:
            continue
        text = done.command.text
        assert done.status == EXPECTED.get(text, 0), "\n".join(done.output)
        assert not tutorial.unlike(done), (
            f"{text}: run python -m tests.docs.tutorial, and read the page again"
        )
    assert {path.name for path in folder.glob("*.png")} == {
        path.name for path in tutorial.PAGE.with_suffix("").glob("*.png")
    }


def test_output_that_a_page_invents_is_found() -> None:
    command = Command(
        "telescope run job.yaml", ("resolved: lr 0.05", "...", "Bill: 3 trials", "it is good")
    )
    assert tutorial.unlike(Done(command, ("resolved: lr 0.0501", "Bill: 28 trials"), 0)) == [
        "Bill: 3 trials",
        "it is good",
    ]
    assert tutorial.unlike(Done(command, (), 0)) == [
        "resolved: lr 0.05",
        "Bill: 3 trials",
        "it is good",
    ]
