"""Data: the split, the token cache, resolved specs, lost corpora, batches and held-out windows."""

import json
import os
import shutil
import subprocess
import sys
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
from telescope.trials.data import DataSpec


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def stdlib_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stdlib-home")


@pytest.fixture
def stdlib(stdlib_home: Path, monkeypatch: pytest.MonkeyPatch) -> DataSpec:
    monkeypatch.setenv("TELESCOPE_HOME", str(stdlib_home))
    return resolve(DataSpec(corpus="python-stdlib"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty text files that differ in every line."""
    path = tmp_path / "corpus"
    path.mkdir()
    for i in range(20):
        lines = (f"file {i} line {j}: the sun rose\n" for j in range(20 + i))
        (path / f"{i:02}.txt").write_text("".join(lines))
    return path


def single(tokens: np.ndarray) -> TokenSplit:
    """A split of a single corpus."""
    return TokenSplit((tokens,), (1.0,))


def tokens_of(split: TokenSplit) -> np.ndarray:
    """Tokens of a single corpus."""
    (tokens,) = split.parts
    return tokens


def text_of(split: TokenSplit) -> list[str]:
    """Documents of a single corpus that is tokenized as bytes."""
    return bytes(tokens_of(split).astype(np.uint8)).decode().split("\0")[:-1]


def refusal(spec: DataSpec) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as caught:
        resolve(spec)
    (problem,) = caught.value.problems
    return problem.field, problem.message


# The split


def test_the_library_is_split_by_file_and_nothing_is_lost(stdlib: DataSpec) -> None:
    opened = open_tokens(stdlib)
    train, validation = text_of(opened.train), text_of(opened.validation)
    documents = list(corpora.find("python-stdlib").documents())
    assert sorted(train + validation) == sorted(str(document.content) for document in documents)
    held_out = tokens.held_out_names([document.name for document in documents], 0.1)
    assert len(validation) == len(held_out)
    sizes = len(tokens_of(opened.train)), len(tokens_of(opened.validation))
    assert 0.05 < sizes[1] / sum(sizes) < 0.25
    assert stdlib.vocab_size == opened.vocab_size == 256


@given(names=st.sets(st.text(max_size=8), min_size=2), fraction=st.floats(0.001, 0.999))
@example(names={"a", "b"}, fraction=0.001)
@example(names={"a", "b"}, fraction=0.999)
def test_both_sides_of_a_split_have_documents(names: set[str], fraction: float) -> None:
    held_out = tokens.held_out_names(sorted(names), fraction)
    assert 0 < len(held_out) < len(names)
    assert held_out <= names
    assert held_out == tokens.held_out_names(sorted(names, reverse=True), fraction)


def test_added_documents_do_not_move_the_others() -> None:
    names = [f"{i}.txt" for i in range(200)]
    before = tokens.held_out_names(names[:100], 0.2)
    assert before == tokens.held_out_names(names, 0.2) & set(names[:100])
    assert 20 <= len(tokens.held_out_names(names, 0.2)) <= 60


def test_a_single_document_is_cut_by_position(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(map(str, range(1000))))
    spec = DataSpec(corpus=str(tmp_path / "a.txt"), validation_fraction=0.25)
    opened = open_tokens(resolve(spec))
    train, validation = text_of(opened.train)[0], text_of(opened.validation)[0]
    assert train + validation == (tmp_path / "a.txt").read_text()
    assert len(validation) == round(0.25 * len(train + validation))


def test_a_single_token_file_is_cut_by_position_and_not_changed(tmp_path: Path) -> None:
    file_tokens = np.arange(1000) * 60
    file_tokens.astype("<u2").tofile(tmp_path / "a.bin")
    spec = resolve(DataSpec(corpus=str(tmp_path / "a.bin")))
    opened = open_tokens(spec)
    np.testing.assert_array_equal(tokens_of(opened.train), file_tokens[:900])
    np.testing.assert_array_equal(tokens_of(opened.validation), file_tokens[900:])
    assert spec.vocab_size == 59968  # 59940 rounded up to whole 64s


def test_large_vocabularies_are_stored_in_32_bits(tmp_path: Path) -> None:
    (np.arange(1000) * 1000).astype("<u4").tofile(tmp_path / "a.uint32.bin")
    opened = open_tokens(resolve(DataSpec(corpus=str(tmp_path / "a.uint32.bin"))))
    assert tokens_of(opened.train).dtype == np.uint32
    assert tokens_of(opened.validation)[-1] == 999_000


def test_the_split_of_a_nanogpt_folder_is_kept(tmp_path: Path) -> None:
    np.full(500, 1, "<u2").tofile(tmp_path / "train.bin")
    np.full(200, 2, "<u2").tofile(tmp_path / "val.bin")
    opened = open_tokens(resolve(DataSpec(corpus=str(tmp_path))))
    assert tokens_of(opened.train).tolist() == [1] * 500
    assert tokens_of(opened.validation).tolist() == [2] * 200


def test_a_bpe_never_sees_the_held_out_text(tmp_path: Path, home: Path) -> None:
    (tmp_path / "a.txt").write_text("aa bb " * 2000 + "qqqqzzzz" * 500)
    corpus = str(tmp_path / "a.txt")
    spec = resolve(DataSpec(corpus=corpus, tokenizer="bpe-270", validation_fraction=0.25))
    file = home / "tokens" / spec.content / "tokenizer.json"
    vocabulary = json.loads(file.read_text())["model"]["vocab"]
    assert "aa" in vocabulary
    assert "qq" not in vocabulary


# The hash


def test_the_hash_of_a_text_is_the_same_everywhere(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for i in range(5):
            (folder / f"{i}.txt").write_text(f"{i} " * 500)
            os.utime(folder / f"{i}.txt", (number, number))
    contents = {resolve(DataSpec(corpus=str(folder))).content for folder in folders}
    assert contents == {"8b00f749efceac861f7297573b64814c"}


def test_the_hash_covers_text_split_and_tokenizer_but_not_the_context(folder: Path) -> None:
    spec = DataSpec(corpus=str(folder))
    changes = [{}, {"validation_fraction": 0.5}, {"tokenizer": "bpe-300"}]
    contents = [resolve(replace(spec, **change)).content for change in changes]  # type: ignore[arg-type]
    (folder / "00.txt").write_text("other text\n" * 20)
    contents.append(resolve(spec).content)
    assert len(set(contents)) == 4
    assert resolve(replace(spec, context=32)).content == contents[-1]


# Resolving


def test_resolving_again_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    spec = resolve(DataSpec(corpus="./corpus"))
    assert spec.corpus == str(folder)  # another process has another working directory
    assert resolve(spec) == spec


def test_a_registered_corpus_keeps_its_name_and_a_tokenizer_gets_its_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    bpe = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]")
    )
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    bpe.save("own.json")
    corpora.register("mine", folder)
    spec = resolve(DataSpec(corpus="mine", tokenizer="own.json"))
    assert spec.corpus == "mine"
    assert spec.tokenizer == str(folder.parent / "own.json")
    assert spec.vocab_size == 2
    assert set(tokens_of(open_tokens(spec).train).tolist()) == {0, 1}


def test_a_given_hash_or_vocabulary_must_match(folder: Path) -> None:
    field, message = refusal(DataSpec(corpus=str(folder), content="0" * 32))
    assert field == "data.content"
    assert "leave content out" in message
    assert refusal(DataSpec(corpus=str(folder), vocab_size=300))[0] == "data.vocab_size"


def test_bad_corpora_and_tokenizers_are_refused_by_field(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1") * 1000)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "tokens.bin").write_bytes(bytes(4000))
    assert refusal(DataSpec(corpus="python-stdlibs"))[0] == "data.corpus"
    assert refusal(DataSpec(corpus=str(tmp_path / "none.txt")))[0] == "data.corpus"
    assert refusal(DataSpec(corpus=str(tmp_path / "latin.txt")))[0] == "data.corpus"
    assert refusal(DataSpec(corpus=str(tmp_path / "empty.txt")))[0] == "data.corpus"
    assert refusal(DataSpec(corpus=str(folder), tokenizer="bpe-1"))[0] == "data.tokenizer"
    assert refusal(DataSpec(corpus=str(tmp_path / "tokens.bin"), tokenizer="bpe-300")) == (
        "data.tokenizer",
        f"corpus {tmp_path / 'tokens.bin'} already holds tokens; leave the tokenizer out",
    )


def test_a_corpus_must_fill_a_window_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 100)
    spec = DataSpec(corpus=str(tmp_path / "a.txt"), context=10)
    # 10 characters and their end: one window and its last target
    assert len(tokens_of(open_tokens(resolve(spec)).validation)) == 11
    field, message = refusal(replace(spec, context=11))
    assert field == "data.corpus"
    assert "11 validation tokens, but one window needs 11 + 1; give more text" in message
    assert "12 training tokens" in refusal(replace(spec, context=12, validation_fraction=0.89))[1]


def test_a_corpus_must_fill_a_batch(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 100)
    spec = resolve(DataSpec(corpus=str(tmp_path / "a.txt"), context=10))
    check_length(spec, 90)
    words = r"91 training tokens, but one batch needs 100 \+ 1.*lower batch_tokens"
    with pytest.raises(InvalidInput, match=words) as caught:
        check_length(spec, 100)
    assert caught.value.problems[0].field == "data.corpus"
    with pytest.raises(InvalidInput, match="validation tokens"):
        check_length(replace(spec, context=50), 50)


# The cache


def test_a_resolved_corpus_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve(DataSpec(corpus=str(folder)))

    def fail(_: corpora.LocatedCorpus) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(corpora.LocatedCorpus, "documents", fail)
    assert resolve(spec) == spec
    assert open_tokens(spec) is open_tokens(spec)


def test_a_lost_cache_is_rebuilt(folder: Path, home: Path) -> None:
    spec = resolve(DataSpec(corpus=str(folder)))
    before = tokens_of(open_tokens(spec).train).copy()
    shutil.rmtree(home / "tokens" / spec.content)
    np.testing.assert_array_equal(tokens_of(open_tokens(spec).train), before)
    shutil.rmtree(home / "tokens" / "prepared")
    np.testing.assert_array_equal(tokens_of(open_tokens(spec).train), before)
    assert not list((home / "tokens").glob("draft-*"))


def test_two_copies_of_a_text_share_tokens_and_a_deleted_copy_is_lost(
    folder: Path, home: Path
) -> None:
    copy = Path(shutil.copytree(folder, folder.parent / "copy"))
    spec, copy_spec = (resolve(DataSpec(corpus=str(path))) for path in (folder, copy))
    assert spec.content == copy_spec.content
    shutil.rmtree(copy)
    open_tokens(spec)
    with pytest.raises(CorpusLost):
        open_tokens(copy_spec)


RACER = """
import sys
from telescope.trials.data import DataSpec
from telescope.data.tokens import prepare_tokens
print("ready", flush=True)
sys.stdin.readline()
print(prepare_tokens(DataSpec(corpus=sys.argv[1], tokenizer="bpe-400")))
"""


def test_processes_may_race_for_the_cache(folder: Path, home: Path) -> None:
    command = [sys.executable, "-c", RACER, str(folder)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:  # start all of them before waiting for the first
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    prepared = {racer.communicate(timeout=60)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    spec = resolve(DataSpec(corpus=str(folder), tokenizer="bpe-400"))
    assert len(prepared) == 1
    assert spec.content in prepared.pop()
    assert {path.name for path in (home / "tokens").iterdir()} == {"prepared", spec.content}


# Lost corpora


def test_a_corpus_that_disappeared_is_lost(folder: Path) -> None:
    spec = resolve(DataSpec(corpus=str(folder)))
    open_tokens(spec)
    shutil.rmtree(folder)
    with pytest.raises(CorpusLost, match=r"cannot be read any more: .*does not exist"):
        open_tokens(spec)


def test_a_corpus_that_changed_is_lost_until_it_is_restored(folder: Path) -> None:
    spec = resolve(DataSpec(corpus=str(folder)))
    original = (folder / "03.txt").read_text()
    (folder / "03.txt").write_text(original + "one line more\n")
    with pytest.raises(CorpusLost, match="has changed since its job was accepted"):
        open_tokens(spec)
    (folder / "03.txt").write_text(original)  # with another modification time
    open_tokens(spec)


def test_a_corpus_whose_name_is_gone_is_lost(folder: Path, home: Path) -> None:
    corpora.register("mine", folder)
    spec = resolve(DataSpec(corpus="mine"))
    (home / "corpora" / "mine.json").unlink()
    with pytest.raises(CorpusLost, match="no corpus has this name"):
        open_tokens(spec)


def test_a_corpus_whose_tokenizer_is_gone_is_lost(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    model = tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")
    tokenizers.Tokenizer(model).save(str(path))
    data = DataSpec(corpus=str(folder), tokenizer=str(path), context=2, validation_fraction=0.5)
    spec = resolve(data)
    path.unlink()
    with pytest.raises(CorpusLost, match=r"own\.json does not exist"):
        open_tokens(spec)


def test_an_unresolved_spec_cannot_be_opened(folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_tokens(DataSpec(corpus=str(folder)))
    assert caught.value.problems[0].field == "data.content"


# Batches


@given(
    length=st.integers(3, 400),
    seed=st.integers(-(2**63), 2**64 - 1),
    step=st.integers(0, 2**40),
    windows=st.integers(1, 9),
    data=st.data(),
)
def test_a_batch_is_windows_of_the_text_and_a_function_of_seed_and_step(
    length: int, seed: int, step: int, windows: int, data: st.DataObject
) -> None:
    context = data.draw(st.integers(1, length - 1))
    text = single(np.arange(length, dtype=np.uint16))
    drawn = batch(text, seed, step, windows, context)
    assert (drawn.shape, drawn.dtype) == ((windows, context + 1), torch.int64)
    assert (drawn[:, 1:] - drawn[:, :-1] == 1).all()  # consecutive
    assert drawn[:, 0].min() >= 0
    assert drawn[:, -1].max() < length
    pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3)
    for other_seed, other_step in data.draw(pairs):  # other reads change nothing
        batch(text, other_seed, other_step, windows, context)
    assert torch.equal(batch(text, seed, step, windows, context), drawn)


def test_seeds_and_steps_give_different_batches() -> None:
    text = single(np.arange(60_000, dtype=np.uint16))
    drawn = {
        tuple(batch(text, seed, step, 4, 8)[:, 0].tolist())
        for seed in range(10)
        for step in range(100)
    }
    assert len(drawn) == 1000


def test_windows_start_everywhere_equally_often() -> None:
    starts = torch.cat(
        [batch(single(np.arange(26)), 0, step, 100, 16)[:, 0] for step in range(100)]
    )
    counts = torch.bincount(starts, minlength=10)
    assert len(counts) == 10  # positions 0 to 9, the last window ending with the text
    assert ((counts - 1000).abs() < 4 * 1000**0.5).all()


def test_batches_are_the_same_on_every_machine_and_version() -> None:
    starts = batch(single(np.arange(60_000)), 7, 3, 5, 2)[:, 0]
    assert starts.tolist() == [2682, 26693, 16434, 26689, 18099]


# Held-out windows


@given(length=st.integers(3, 500), evaluation_tokens=st.integers(1, 600), data=st.data())
def test_held_out_windows_are_even_and_their_targets_disjoint(
    length: int, evaluation_tokens: int, data: st.DataObject
) -> None:
    context = data.draw(st.integers(1, length - 1))
    text = single(np.arange(length, dtype=np.uint16))
    (windows,) = validation_windows(text, evaluation_tokens, context)
    assert windows.dtype == torch.int64
    count = max(1, min(evaluation_tokens // context, (length - 1) // context))
    assert windows.shape == (count, context + 1)
    targets = windows[:, 1:].flatten()
    assert len(targets.unique()) == len(targets)
    assert windows[0, 0] == 0
    gaps = windows[1:, 0] - windows[:-1, 0]
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_held_out_windows_cover_the_library_evenly(stdlib: DataSpec) -> None:
    validation = open_tokens(stdlib).validation
    (windows,) = validation_windows(validation, 16_384, 64)
    assert windows.shape == (256, 65)
    text = tokens_of(validation)
    step = (len(text) - 1) / 256
    assert windows[200].tolist() == text[int(200 * step) : int(200 * step) + 65].tolist()
