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


class Made:
    """The analyses made so far, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> Any:
        def make() -> str:
            self.names.append(name)
            return name

        return make


def test_one_version_of_a_job_is_analysed_once() -> None:
    kept, made = Analyses(), Made()
    assert [kept.of(job(), made("first")), kept.of(job(), made("again"))] == ["first", "first"]
    assert made.names == ["first"]


def test_a_new_version_is_analysed_anew_and_an_older_one_is_answered_by_it() -> None:
    kept, made = Analyses(), Made()
    kept.of(job(version=1), made("one"))
    assert kept.of(job(version=2), made("two")) == "two"
    assert kept.of(job(version=1), made("late")) == "two", (
        "what was read later holds all that was there before"
    )
    assert made.names == ["one", "two"]


def test_the_job_asked_for_longest_ago_is_forgotten() -> None:
    kept, made = Analyses(most=2), Made()
    for name in ("a", "b", "a", "c"):
        kept.of(job(name), made(name))
    assert made.names == ["a", "b", "c"]
    kept.of(job("a"), made("a again"))
    assert made.names == ["a", "b", "c"], "it was asked for after b"
    kept.of(job("b"), made("b again"))
    assert made.names[-1] == "b again"


def test_versions_of_one_job_take_the_place_of_one() -> None:
    kept, made = Analyses(most=2), Made()
    kept.of(job("a"), made("a"))
    for version in range(5):
        kept.of(job("b", version), made("b"))
    kept.of(job("a"), made("a again"))
    assert "a again" not in made.names


def test_many_who_ask_at_once_wait_for_one() -> None:
    kept, made = Analyses(), list[int]()

    def slow() -> Any:
        made.append(1)
        time.sleep(0.05)
        return "made"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: kept.of(job(), slow), range(8))) == ["made"] * 8
    assert made == [1]


def test_others_do_not_wait_for_a_slow_one() -> None:
    kept, begun, ended = Analyses(), threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        assert ended.wait(20)
        return "slow"

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(kept.of, job("slow"), slow)
        assert begun.wait(20)
        assert pool.submit(kept.of, job("other"), lambda: "other").result(timeout=10) == "other"
        ended.set()
        assert waiting.result(timeout=10) == "slow"


def test_what_failed_is_made_again() -> None:
    kept = Analyses()

    def fail() -> Any:
        raise ValueError("the database was away")

    with pytest.raises(ValueError, match="away"):
        kept.of(job(), fail)
    assert kept.of(job(), lambda: "made") == "made"
