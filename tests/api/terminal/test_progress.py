"""Progress on a terminal and in plain lines."""

import io
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from rich.console import Console

from api.terminal.follow import COLUMNS, changed_lines, follow
from api.terminal.progress import job_progress, live_view

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Job:
    id: str = "job-1"
    name: str = "quickstart"
    state: str = "RUNNING"
    waiting_for: str | None = None
    reason: str | None = None
    started_at: datetime | None = NOW - timedelta(seconds=30)


@dataclass(frozen=True)
class Trial:
    width: int
    lr: float
    state: str = "COMPLETED"
    loss: float | None = None
    flops: float = 100.0
    ended_at: datetime | None = NOW - timedelta(seconds=5)
    optimizer: str = "muon"
    variant: str = ""
    weight_decay: float = 0.1
    seed: int = 0
    measure: str = "loss"
    diverged: bool = False
    batch_tokens: int | None = 512


PENDING = {"state": "PENDING", "flops": 0.0, "ended_at": None}
TRIALS = (
    Trial(64, 0.03, loss=2.0),
    Trial(32, 0.01, loss=2.5),
    Trial(32, 0.02, diverged=True),
    Trial(32, 0.04, **PENDING),
)


def printed(progress, **options):
    stream = io.StringIO()
    Console(file=stream, width=100, **options).print(live_view(progress))
    return stream.getvalue()


def line_of(progress, before=None):
    (line,) = changed_lines(progress, before)
    assert len(line) <= COLUMNS
    return line


def test_a_level_counts_its_trials_and_has_a_best_loss():
    narrow, wide = job_progress(Job(), TRIALS, NOW, None).levels
    assert (narrow.width, narrow.done, narrow.total) == (32, 2, 3)
    assert (narrow.best_loss, narrow.best_lr) == (2.5, 0.01)
    assert (wide.width, wide.done, wide.total, wide.best_loss) == (64, 1, 1, 2.0)


def test_the_coordinate_check_has_its_own_line_and_no_best_loss():
    checks = [Trial(width, 0.02, loss=1.0, measure="coordinates") for width in (16, 32, 64)]
    check, narrow, _ = job_progress(Job(), [*TRIALS, *checks], NOW, None).levels
    assert (check.width, check.done, check.total, check.best_loss) == (None, 3, 3, None)
    assert (narrow.total, narrow.best_loss) == (3, 2.5)
    assert "coordinate check: 3/3" in line_of(job_progress(Job(), [*TRIALS, *checks], NOW, None))


def test_trials_that_measure_step_times_have_their_own_line_at_the_end():
    times = [Trial(width, 0.02, loss=1.0, measure="time") for width in (32, 64)]
    progress = job_progress(Job(), [*times, *TRIALS], NOW, None)
    assert [(level.name, level.total, level.best_loss) for level in progress.levels] == [
        ("width 32", 3, 2.5), ("width 64", 1, 2.0), ("step times", 2, None),
    ]  # fmt: skip
    assert "step times: 2/2" in line_of(progress, job_progress(Job(), TRIALS, NOW, None))
    assert "times" in printed(progress)


def test_levels_name_the_batch_if_the_job_has_several():
    trials = [
        Trial(32, 0.01, loss=2.5),
        Trial(32, 0.01, loss=2.4, batch_tokens=1024),
        Trial(32, 0.02, loss=2.3, batch_tokens=1024),
    ]
    progress = job_progress(Job(), trials, NOW, None)
    assert [(level.name, level.total) for level in progress.levels] == [
        ("width 32, batch 512", 1),
        ("width 32, batch 1024", 2),
    ]
    assert "batch" in printed(progress)
    assert "batch" not in printed(job_progress(Job(), TRIALS, NOW, None))


def test_levels_name_the_variant_and_each_variant_has_its_best_loss(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    trials = [replace(trial, variant=variant, loss=trial.loss and trial.loss * factor)
              for variant, factor in (("code", 1), ("prose", 2))
              for trial in TRIALS]  # fmt: skip
    progress = job_progress(Job(), trials, NOW, None)
    assert [(level.variant, level.name, level.best_loss) for level in progress.levels] == [
        ("code", "width 32", 2.5), ("code", "width 64", 2.0),
        ("prose", "width 32", 5.0), ("prose", "width 64", 4.0),
    ]  # fmt: skip
    assert "code width 32: 2/3, best 2.5000 at lr 0.01 | 3 more levels" in line_of(progress)
    assert "variant" in printed(progress)
    assert "variant" not in printed(job_progress(Job(), TRIALS, NOW, None))
    assert re.findall(r"\x1b\[1m *(\d\.\d+)", printed(progress, force_terminal=True)) == [
        "2.0000",
        "4.0000",
    ]


def test_the_pace_is_of_the_last_minute_and_the_time_left_follows_the_forecast():
    progress = job_progress(Job(), TRIALS, NOW, forecast_flops=900.0)
    assert progress.trials_per_minute == pytest.approx(3 / 0.5)
    assert progress.seconds_left == pytest.approx(600 / (300 / 30))
    long_ago = [replace(trial, ended_at=NOW - timedelta(minutes=5)) for trial in TRIALS]
    assert job_progress(Job(), long_ago, NOW, 900.0).seconds_left is None


def test_the_line_and_the_live_view_have_levels_best_loss_pace_and_the_missing_resource():
    progress = job_progress(Job(waiting_for="a GPU"), TRIALS, NOW, 900.0)
    assert line_of(progress) == (
        "quickstart: running | width 32: 2/3, best 2.5000 at lr 0.01 | 1 more level | 3/4 trials "
        "· waiting for: a GPU"
    )
    for word in (
        "quickstart",
        "running",
        "2/3",
        "2.5000",
        "64",
        "6 trials/min",
        "waiting for: a GPU",
    ):
        assert word in printed(progress)


@dataclass(frozen=True)
class Steps:
    """A compute_time job of many batches, as its trials end one by one."""

    batches: int = 12
    trials_each: int = 4

    def at(self, ended, **job):
        numbers = range(self.batches * self.trials_each)
        trials = [
            self.trial(i) if i < ended else replace(self.trial(i), **PENDING, loss=None)
            for i in numbers
        ]
        return job_progress(
            Job(name="muon-against-adamw-on-the-standard-library", **job), trials, NOW, 1e6
        )

    def trial(self, number):
        batch = 256 << number % self.batches
        return Trial(
            1024,
            0.01 + number / 1000,
            loss=3 - number / 100,
            optimizer=OPTIMIZERS[number % 2],
            batch_tokens=batch,
        )


OPTIMIZERS = ("muon", "adamw")


def test_plain_lines_have_the_changes_and_at_most_120_columns():
    job = Steps()
    states = [
        job.at(ended, waiting_for="a free GPU" if ended == 30 else None) for ended in range(49)
    ]
    for before, progress in pairwise(states):
        line, *further = changed_lines(progress, before)
        assert line.count("width 1024, batch") == 1, "one trial ended, of one level"
        assert "more level" not in line
        assert max(map(len, (line, *further))) <= COLUMNS
    assert "muon width 1024, batch 256: 2/4, best 2.8800 at lr 0.022" in line_of(
        states[13], states[12]
    )
    assert "waiting for: a free GPU" in "".join(changed_lines(states[30], states[29]))
    assert "no longer waiting" in "".join(changed_lines(states[31], states[30]))
    assert "waiting" not in "".join(changed_lines(states[32], states[31]))
    line = line_of(states[24])
    assert "adamw width 1024, batch 512: 2/4" in line
    assert re.search(r"\| \d+ more levels", line)


def test_a_best_loss_is_printed_only_if_it_changed():
    progress = job_progress(Job(), [*TRIALS[:3], Trial(32, 0.04, loss=2.7)], NOW, None)
    assert line_of(progress, job_progress(Job(), TRIALS, NOW, None)).startswith(
        "quickstart: running | width 32: 3/3 | 4/4"
    )


@pytest.mark.parametrize(
    "job", [Job(waiting_for="word " * 90), Job(state="FAILED", reason="x" * 400)]
)
def test_a_long_text_continues_on_further_lines_completely(job):
    first, *further = changed_lines(job_progress(job, TRIALS, NOW, None))
    assert max(map(len, (first, *further))) <= COLUMNS
    text = job.waiting_for or job.reason
    assert "".join("".join(further).split()).endswith("".join(text.split()))


def test_a_long_name_is_cut():
    assert line_of(job_progress(Job(name="n" * 200), TRIALS, NOW, None)).startswith(
        "n" * 31 + "…: running | width 32"
    )


def test_piped_output_has_one_line_per_change_and_no_colour():
    states = [
        job_progress(Job(state="QUEUED"), (), NOW, None),
        job_progress(Job(), TRIALS[:1], NOW, None),
        job_progress(Job(), TRIALS[:1], NOW + timedelta(seconds=9), None),  # only the clock moved
        job_progress(Job(state="FAILED", reason="no such corpus"), TRIALS[:2], NOW, None),
    ]
    stream = io.StringIO()
    assert follow(states, Console(file=stream, width=60)) == states[-1]
    assert [line.partition(" | ")[0] for line in stream.getvalue().splitlines()] == [
        "quickstart: queued", "quickstart: running", "quickstart: failed",
    ]  # fmt: skip
    assert stream.getvalue().rstrip().endswith("no such corpus")


def test_on_a_terminal_the_last_live_view_stays(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal cannot redraw the live view
    stream = io.StringIO()
    states = [
        job_progress(Job(), TRIALS[:1], NOW, None),
        job_progress(Job(state="SUCCEEDED"), TRIALS, NOW, None),
    ]
    follow(states, Console(file=stream, width=100, force_terminal=True))
    assert "succeeded" in stream.getvalue()
    assert stream.getvalue().rfind("2/3") > stream.getvalue().find("1/1")
