"""An analysis is made once per version of a job, cached for the last few jobs, never twice."""

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
    """The analyses made so far, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> Any:
        def make() -> str:
            self.names.append(name)
            return name

        return make


def test_one_version_of_a_job_is_analysed_once() -> None:
    analyses, made = Analyses(), Recorder()
    assert [analyses.of(job(), made("first")), analyses.of(job(), made("again"))] == [
        "first",
        "first",
    ]
    assert made.names == ["first"]


def test_a_new_version_is_analysed_anew_and_an_older_one_is_answered_by_it() -> None:
    analyses, made = Analyses(), Recorder()
    analyses.of(job(version=1), made("one"))
    assert analyses.of(job(version=2), made("two")) == "two"
    assert analyses.of(job(version=1), made("late")) == "two", (
        "what was read later holds all that was there before"
    )
    assert made.names == ["one", "two"]


def test_the_job_asked_for_longest_ago_is_forgotten() -> None:
    analyses, made = Analyses(most=2), Recorder()
    for name in ("a", "b", "a", "c"):
        analyses.of(job(name), made(name))
    assert made.names == ["a", "b", "c"]
    analyses.of(job("a"), made("a again"))
    assert made.names == ["a", "b", "c"], "it was asked for after b"
    analyses.of(job("b"), made("b again"))
    assert made.names[-1] == "b again"


def test_versions_of_one_job_take_the_place_of_one() -> None:
    analyses, made = Analyses(most=2), Recorder()
    analyses.of(job("a"), made("a"))
    for version in range(5):
        analyses.of(job("b", version), made("b"))
    analyses.of(job("a"), made("a again"))
    assert "a again" not in made.names


def test_many_who_ask_at_once_wait_for_one() -> None:
    analyses, made = Analyses(), list[int]()

    def slow() -> Any:
        made.append(1)
        time.sleep(0.05)
        return "made"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: analyses.of(job(), slow), range(8))) == ["made"] * 8
    assert made == [1]


def test_others_do_not_wait_for_a_slow_one() -> None:
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


def test_what_failed_is_made_again() -> None:
    analyses = Analyses()

    def fail() -> Any:
        raise ValueError("the database was away")

    with pytest.raises(ValueError, match="away"):
        analyses.of(job(), fail)
    assert analyses.of(job(), lambda: "made") == "made"
