"""Mixtures: shares and identity, one tokenizer for all parts, training and held-out windows, and
mixtures that are refused or lost.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from telescope.data import corpora, tokens
from telescope.data.batches import (
    TokenSplit,
    batch,
    check_length,
    open_tokens,
    resolve,
    validation_windows,
)
from telescope.errors import CorpusLost, InvalidInput
from telescope.train.flops import trial_flops
from telescope.train.loop import train_one
from telescope.train.run import TrainingRun
from telescope.trials.data import DataSpec
from telescope.trials.identity import canonical_json
from telescope.trials.mixtures import Part
from telescope.trials.spec import TrialSpec
from tests.telescope.small import HORIZON, MODEL, MUON

WORDS = {
    "code": "while true: break\n",
    "prose": "the sun rose over it\n",
    "verse": "o rose thou art sick\n",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three texts of one file each, in the working directory."""
    for name, line in WORDS.items():
        (tmp_path / f"{name}.txt").write_text(line * 500)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mixed(context: int = 32, tokenizer: str = "bytes", **weights: float) -> DataSpec:
    """A mixture of the texts."""
    parts = tuple(Part(f"./{name}.txt", weight) for name, weight in weights.items())
    return DataSpec(corpus=parts, tokenizer=tokenizer, context=context)


def refusal(spec: DataSpec) -> tuple[str, object, str]:
    with pytest.raises(InvalidInput) as caught:
        resolve(spec)
    (problem,) = caught.value.problems
    return problem.field, problem.value, problem.message


# Shares and identity


def test_weights_become_shares_and_survive_a_round_trip_through_a_document() -> None:
    spec = DataSpec(corpus={"python-stdlib": 7, "python-docs": 3})
    assert [(part.corpus, part.weight) for part in spec.parts] == [
        ("python-docs", 0.3),
        ("python-stdlib", 0.7),
    ]
    assert json.loads(canonical_json(spec))["corpus"] == {"python-docs": 3, "python-stdlib": 7}
    assert DataSpec(**json.loads(canonical_json(spec))) == replace(spec, context=64) == spec
    assert [(part.corpus, part.weight) for part in DataSpec(corpus="a").parts] == [("a", 1.0)]


@given(weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=9))
def test_shares_are_positive_and_sum_to_one(weights: list[float]) -> None:
    shares = [
        part.weight
        for part in DataSpec(corpus={f"c{i}": weight for i, weight in enumerate(weights)}).parts
    ]
    assert min(shares) > 0
    assert math.isclose(sum(shares), 1, rel_tol=1e-9)
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-9)


def test_names_order_and_scale_of_weights_do_not_change_a_mixture(texts: Path) -> None:
    mixture = resolve(mixed(code=7, prose=3))
    (texts / "elsewhere.txt").write_bytes((texts / "code.txt").read_bytes())
    corpora.register("a-lines", texts / "prose.txt")
    corpora.register("z-lines", texts / "elsewhere.txt")
    renamed = resolve(DataSpec(corpus={"a-lines": 0.3, "z-lines": 0.7}, context=32))
    assert renamed.content == mixture.content
    trials = [
        TrialSpec(model=MODEL, optimizer=MUON, data=data, horizon=HORIZON)
        for data in (mixture, renamed)
    ]
    assert trials[0].digest == trials[1].digest
    tokens, renamed_tokens = open_tokens(mixture), open_tokens(renamed)
    assert torch.equal(batch(tokens.train, 0, 0, 9, 32), batch(renamed_tokens.train, 0, 0, 9, 32))
    held_out = zip(
        validation_windows(tokens.validation, 512, 32),
        validation_windows(renamed_tokens.validation, 512, 32),
        strict=True,
    )
    assert all(torch.equal(windows, renamed_windows) for windows, renamed_windows in held_out)


def test_other_shares_or_parts_are_other_data(texts: Path) -> None:
    specs = [
        mixed(code=1, prose=1),
        mixed(code=2, prose=1),
        mixed(code=1, verse=1),
        mixed(code=1, prose=1, verse=1),
    ]
    contents = {resolve(spec).content for spec in (*specs, DataSpec(corpus="./code.txt"))}
    assert len(contents) == 5


def test_resolving_makes_the_paths_of_all_parts_absolute_and_keeps_names_and_weights(
    texts: Path,
) -> None:
    corpora.register("lines", texts / "prose.txt")
    spec = resolve(DataSpec(corpus={"./code.txt": 7, "lines": 3}))
    assert spec.corpus == (Part(str(texts / "code.txt"), 7.0), Part("lines", 3.0))
    assert resolve(spec) == spec


def test_no_built_in_corpus_trains_on_documents_that_the_other_holds_out() -> None:
    names = {
        corpus: [document.name for document in corpora.find(corpus).documents()]
        for corpus in corpora.BUILT_IN
    }
    code, prose = (tokens.held_out_names(names[corpus], 0.1) for corpus in corpora.BUILT_IN)
    assert prose == code & set(names["python-docs"])


# One tokenizer


def vocabulary(home: Path, content: str) -> dict[str, int]:
    file = home / "tokens" / content / "tokenizer.json"
    entries: dict[str, int] = json.loads(file.read_text())["model"]["vocab"]
    return entries


def test_a_bpe_is_trained_on_all_parts_whatever_their_weights(texts: Path, home: Path) -> None:
    spec = mixed(tokenizer="bpe-300", code=9, prose=1)
    code, prose = tokens.prepare_tokens(spec)
    assert vocabulary(home, code.content) == vocabulary(home, prose.content)
    assert {"while", "rose"} <= {word.strip("Ġ") for word in vocabulary(home, code.content)}
    assert tokens.prepare_tokens(mixed(tokenizer="bpe-300", code=1, prose=9)) == (code, prose)
    assert tokens.prepare_tokens(DataSpec(corpus="./code.txt", tokenizer="bpe-300"))[0] != code
    assert resolve(spec).vocab_size == code.vocab_size == prose.vocab_size


def test_a_bpe_is_trained_again_when_any_part_changes(texts: Path) -> None:
    spec = resolve(mixed(tokenizer="bpe-300", code=1, prose=1))
    code, _ = tokens.prepare_tokens(spec)
    (texts / "prose.txt").write_text("zebras zigzag by the zoo\n" * 500)
    assert tokens.prepare_tokens(spec)[0] != code


def test_all_parts_are_read_by_a_tokenizer_from_a_file(texts: Path) -> None:
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "rose": 1}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save("own.json")
    spec = resolve(mixed(tokenizer="own.json", code=1, prose=1))
    assert spec.vocab_size == 2
    assert sorted(int(part.max()) for part in open_tokens(spec).train.parts) == [0, 1]


def test_token_files_mix_where_their_vocabularies_agree(texts: Path) -> None:
    for name, largest in (("a", 1000), ("b", 1010), ("c", 1100)):
        (np.arange(2000) % (largest + 1)).astype("<u2").tofile(f"{name}.bin")
    assert resolve(DataSpec(corpus={"./a.bin": 1, "./b.bin": 1})).vocab_size == 1024
    field, _, message = refusal(DataSpec(corpus={"./a.bin": 1, "./c.bin": 1}))
    assert field == "data.corpus"
    assert "./a.bin needs a vocabulary of 1024" in message
    assert "./c.bin needs 1152" in message
    assert "with one tokenizer" in message
    assert "vocabulary of" in refusal(DataSpec(corpus={"./a.bin": 1, "./code.txt": 1}))[2]
    assert refusal(DataSpec(corpus={"./code.txt": 1, "./a.bin": 1}, tokenizer="bpe-300")) == (
        "data.tokenizer",
        "bpe-300",
        "corpus ./a.bin already holds tokens; give text for all parts of the mixture",
    )


# Training windows

# token ids of three parts; they do not overlap, so the tokens of a window tell its part
RANGES = ((0, 1000), (1000, 1300), (5000, 9000))


def split(*shares: float) -> TokenSplit:
    parts = (np.arange(*bounds, dtype=np.uint16) for bounds in RANGES[: len(shares)])
    return TokenSplit(tuple(parts), shares)


def part_of(windows: torch.Tensor) -> torch.Tensor:
    """The index of the part that each window was read from."""
    inside = [((windows >= low) & (windows < high)).all(dim=1) for low, high in RANGES]
    assert (torch.stack(inside).sum(dim=0) == 1).all()
    return torch.stack(inside).int().argmax(dim=0)


@given(
    seed=st.integers(-(2**63), 2**64 - 1),
    step=st.integers(0, 2**40),
    windows=st.integers(1, 40),
    context=st.integers(1, 99),
)
def test_a_window_is_of_one_part_and_a_function_of_seed_and_step(
    seed: int, step: int, windows: int, context: int
) -> None:
    text = split(0.2, 0.5, 0.3)
    drawn = batch(text, seed, step, windows, context)
    assert (drawn.shape, drawn.dtype) == ((windows, context + 1), torch.int64)
    assert (drawn[:, 1:] - drawn[:, :-1] == 1).all()  # consecutive
    assert len(part_of(drawn)) == windows
    batch(text, seed + 1, step, windows, context)  # another read changes nothing
    assert torch.equal(batch(text, seed, step, windows, context), drawn)


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.02, 0.9, 0.08)])
def test_windows_come_from_each_part_by_its_share_and_from_everywhere_in_it(
    shares: tuple[float, ...],
) -> None:
    steps, windows, context = 200, 100, 30
    drawn = torch.cat([batch(split(*shares), 3, step, windows, context) for step in range(steps)])
    counts = torch.bincount(part_of(drawn), minlength=len(shares))
    n = steps * windows
    for count, share in zip(counts.tolist(), shares, strict=True):
        assert abs(count - n * share) < 4 * math.sqrt(n * share * (1 - share))
    low, high = RANGES[1]
    starts = drawn[part_of(drawn) == 1, 0] - low
    assert starts.min() >= 0
    assert starts.max() < high - low - context
    halves = (starts < (high - low - context) / 2).float().mean()
    assert abs(halves - 0.5) < 2 / math.sqrt(len(starts))


def test_windows_of_a_mixture_start_where_those_of_a_single_corpus_do() -> None:
    plain, mixture = (batch(split(*shares), 7, 3, 40, 30) for shares in ((1.0,), (0.6, 0.4)))
    from_first = part_of(mixture) == 0
    assert 0 < from_first.sum() < 40
    assert torch.equal(mixture[from_first], plain[from_first])


def test_batches_of_a_mixture_are_the_same_on_every_machine_and_version() -> None:
    starts = batch(split(0.5, 0.3, 0.2), 7, 3, 8, 2)[:, 0]
    assert starts.tolist() == [1212, 237, 7816, 1083, 1271, 5388, 1071, 982]


# Held-out windows


def held_out_counts(shares: tuple[float, ...], evaluation_tokens: int) -> list[int]:
    parts = validation_windows(split(*shares), evaluation_tokens, 10)
    return [len(windows) for windows in parts]


def test_each_part_has_its_share_of_the_held_out_windows_and_at_least_one() -> None:
    assert held_out_counts((0.7, 0.2, 0.1), 640) == [45, 13, 6]
    assert held_out_counts((0.998, 0.001, 0.001), 640) == [64, 1, 1]
    assert held_out_counts((0.2, 0.7, 0.1), 10_000) == [99, 29, 100]  # the second part is short
    parts = validation_windows(split(0.4, 0.5, 0.1), 640, 10)
    for windows, (low, high) in zip(parts, RANGES, strict=True):
        targets = windows[:, 1:].flatten()
        assert len(targets.unique()) == len(targets)
        assert windows[0, 0] == low
        assert windows.max() < high


@given(shares=st.lists(st.integers(1, 50), min_size=2, max_size=3), windows=st.integers(3, 60))
@example(shares=[7, 2, 5], windows=7)
def test_held_out_windows_add_up_to_the_evaluation_tokens(shares: list[int], windows: int) -> None:
    exact = [share / sum(shares) for share in shares]
    counts = [len(part) for part in validation_windows(split(*exact), windows * 4, 4)]
    assert all(
        count == max(1, count) and abs(count - windows * share) <= 1
        for count, share in zip(counts, exact, strict=True)
    )
    # cumulative shares are rounded, so that a part of up to one window may get none, then one
    assert sum(counts) == windows or min(exact) * windows <= 1


def trial_on(data: DataSpec, evaluation_tokens: int) -> TrialSpec:
    horizon = replace(HORIZON, evaluation_tokens=evaluation_tokens)
    return TrialSpec(model=MODEL, optimizer=MUON, data=data, horizon=horizon)


def test_the_held_out_loss_is_the_mean_of_the_parts_losses_by_their_shares(texts: Path) -> None:
    mixture = TrainingRun(trial_on(resolve(mixed(code=0.97, prose=0.03)), 320))
    code, prose = (
        TrainingRun(trial_on(resolve(DataSpec(corpus=f"./{name}.txt", context=32)), n))
        for name, n in (("code", 320), ("prose", 32))
    )
    assert code.evaluate()["loss"] != prose.evaluate()["loss"]
    assert mixture.evaluate()["loss"] == pytest.approx(
        0.97 * code.evaluate()["loss"] + 0.03 * prose.evaluate()["loss"],
        rel=1e-6,
    )


def test_a_trial_on_a_mixture_learns_all_parts_and_costs_as_forecast(texts: Path) -> None:
    spec = trial_on(resolve(mixed(code=1, prose=1)), 512)
    spec = replace(spec, horizon=replace(spec.horizon, steps=30))
    curve = list(train_one(spec))
    assert curve[-1].flops == trial_flops(spec)
    code = resolve(DataSpec(corpus="./code.txt", context=32))
    code_curve = list(train_one(replace(spec, data=code)))
    before = TrainingRun(spec).evaluate()["loss"]
    assert code_curve[-1].metrics["loss"] < curve[-1].metrics["loss"] < before - 0.5
    assert [point.metrics for point in train_one(spec)] == [point.metrics for point in curve]


# Mixtures that are refused or lost


def test_an_unknown_part_is_refused_with_the_nearest_name() -> None:
    field, value, message = refusal(DataSpec(corpus={"python-stdlib": 1, "python-doc": 1}))
    assert (field, value) == ("data.corpus", "python-doc")
    assert "did you mean python-docs" in message


def test_one_text_under_two_names_is_refused(texts: Path) -> None:
    (texts / "copy.txt").write_bytes((texts / "code.txt").read_bytes())
    for copy in ("./copy.txt", str(texts / "code.txt")):
        field, _, message = refusal(DataSpec(corpus={"./code.txt": 1, "./prose.txt": 1, copy: 1}))
        assert field == "data.corpus"
        assert "name only one of them, with the sum of both weights" in message
    *_, message = refusal(DataSpec(corpus={"./code.txt": 1, "./copy.txt": 1}))
    assert "name only one of them, with no weight" in message


def test_each_part_must_fill_a_window_and_its_share_of_a_batch(texts: Path) -> None:
    (texts / "short.txt").write_text("x" * 100)
    field, value, message = refusal(mixed(context=11, code=1, short=1))
    assert (field, value) == ("data.corpus", "./short.txt")
    assert "11 validation tokens, but one window needs 11 + 1" in message
    spec = resolve(mixed(context=10, code=9, short=1))
    check_length(spec, 900)
    words = r"91 training tokens, but its share of one batch of 1000 needs 100 \+ 1.*lower batch"
    with pytest.raises(InvalidInput, match=words) as caught:
        check_length(spec, 1000)
    assert caught.value.problems[0].value == str(texts / "short.txt")


def test_a_part_that_changed_or_disappeared_is_lost(texts: Path) -> None:
    spec = resolve(mixed(code=3, prose=1))
    open_tokens(spec)
    (texts / "prose.txt").write_text("another text\n" * 500)
    changed = r"mixture of .*code\.txt \(75 %\), .*prose\.txt \(25 %\) has changed since its job"
    with pytest.raises(CorpusLost, match=changed):
        open_tokens(spec)
    (texts / "prose.txt").unlink()
    missing = r"mixture of .* cannot be read any more: .*prose\.txt does not exist"
    with pytest.raises(CorpusLost, match=missing):
        open_tokens(spec)


def test_a_spec_with_an_invalid_part_cannot_be_made() -> None:
    for weights in (
        {"a": 1},
        {"a": 1, "": 1},
        {"a": 1, "b": 0},
        {"a": 1, "b": True},
        {"a": 1, "b": 1e-9},
        {"a": 1, "b": 10**400},
    ):
        with pytest.raises(ValueError, match="corpus"):
            DataSpec(corpus=weights)
