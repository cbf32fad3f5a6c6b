"""Each version of a job is analysed once; the analyses of the last few jobs are cached."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from api.jobs.analyses import Analyses


def job(name: str = "a", version: int = 1) -> Any:
    return SimpleNamespace(id=name, version=version)


class Recorder:
    """The names of the analyses made so far, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> Any:
        def make() -> str:
            self.names.append(name)
            return name

        return make


def test_one_version_of_a_job_is_analysed_once() -> None:
    analyses, made = Analyses(), Recorder()
    assert analyses.of(job(), made("first")) == "first"
    assert analyses.of(job(), made("again")) == "first"
    assert made.names == ["first"]


def test_a_new_version_is_analysed_and_also_answers_for_older_ones() -> None:
    analyses, made = Analyses(), Recorder()
    analyses.of(job(version=1), made("one"))
    assert analyses.of(job(version=2), made("two")) == "two"
    assert analyses.of(job(version=1), made("late")) == "two", (
        "what was read later holds all that was there before"
    )
    assert made.names == ["one", "two"]


def test_the_least_recently_used_analysis_is_dropped() -> None:
    analyses, made = Analyses(capacity=2), Recorder()
    for name in ("a", "b", "a", "c"):
        analyses.of(job(name), made(name))
    assert made.names == ["a", "b", "c"]
    analyses.of(job("a"), made("a again"))
    assert made.names == ["a", "b", "c"], "it was asked for after b"
    analyses.of(job("b"), made("b again"))
    assert made.names[-1] == "b again"


def test_the_versions_of_one_job_occupy_one_place_in_the_cache() -> None:
    analyses, made = Analyses(capacity=2), Recorder()
    analyses.of(job("a"), made("a"))
    for version in range(5):
        analyses.of(job("b", version), made("b"))
    analyses.of(job("a"), made("a again"))
    assert "a again" not in made.names


def test_simultaneous_requests_wait_for_one_analysis() -> None:
    analyses, made = Analyses(), list[int]()

    def slow() -> Any:
        made.append(1)
        time.sleep(0.05)
        return "made"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: analyses.of(job(), slow), range(8))) == ["made"] * 8
    assert made == [1]


def test_requests_for_other_jobs_do_not_wait_for_a_slow_analysis() -> None:
    analyses, begun, ended = Analyses(), threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        assert ended.wait(20)
        return "slow"

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(analyses.of, job("slow"), slow)
        assert begun.wait(20)
        assert pool.submit(analyses.of, job("other"), lambda: "other").result(timeout=10) == "other"
        ended.set()
        assert waiting.result(timeout=10) == "slow"


def test_a_failed_analysis_is_made_again() -> None:
    analyses = Analyses()

    def fail() -> Any:
        raise ValueError("the database was away")

    with pytest.raises(ValueError, match="away"):
        analyses.of(job(), fail)
    assert analyses.of(job(), lambda: "made") == "made"
