"""Tokenizers: bytes, trained BPE, the user's own, and corpora of tokens."""

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from telescope.data import tokenizer
from telescope.errors import InvalidInput

TEXTS = [
    f"the {word} sat on the mat, and the {word} ate the äpfel {i}\n"
    for i in range(40)
    for word in ("cat", "dog", "hen")
]


@given(st.text())
def test_bytes_are_utf8_and_an_end_of_text(text: str) -> None:
    tokens = tokenizer.build_tokenizer("bytes", list).encode(text)
    assert tokens.tolist() == [*text.encode(), 0]
    assert tokenizer.BYTES.vocab_size == 256


def test_a_bpe_is_trained_to_its_size_and_decodes_to_the_text() -> None:
    bpe = tokenizer.build_tokenizer("bpe-300", lambda: TEXTS)
    assert bpe.vocab_size == 300
    assert bpe.json is not None
    unseen = "a cat; ünseen 文字 \x00\r\n\t"
    tokens = bpe.encode(unseen)
    library = tokenizers.Tokenizer.from_str(bpe.json)
    assert library.decode(tokens.tolist()) == unseen
    assert library.id_to_token(tokens[-1]) == "<|endoftext|>"
    assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0]) / 2


def test_a_bpe_of_the_same_text_is_the_same() -> None:
    first, second = (tokenizer.build_tokenizer("bpe-350", lambda: TEXTS) for _ in range(2))
    assert first.json == second.json


def test_a_bpe_of_a_short_text_has_fewer_entries_than_asked_for() -> None:
    assert tokenizer.build_tokenizer("bpe-5000", lambda: ["abab"]).vocab_size < 300


def test_a_tokenizer_json_is_used_without_truncation_and_padding(tmp_path: Path) -> None:
    library = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "</s>": 7}, unk_token="[UNK]")
    )
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    library.enable_truncation(2)
    library.enable_padding(length=9)
    library.save(str(tmp_path / "tokenizer.json"))
    own = tokenizer.build_tokenizer(str(tmp_path / "tokenizer.json"), list)
    assert own.encode("a b z a").tolist() == [1, 2, 0, 1, 7]
    assert own.vocab_size == 8  # ids reach 7, though there are four entries


def test_tokens_are_not_changed() -> None:
    parts = [np.array([3, 50256], "<u2"), np.array([5], "<u2")]
    identity = tokenizer.from_tokens(parts)
    assert identity.vocab_size == 50304
    assert identity.encode(parts[0]) is parts[0]
    assert tokenizer.from_tokens([np.array([63])]).vocab_size == 64
    assert tokenizer.from_tokens([np.array([64])]).vocab_size == 128


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("byte", "did you mean bytes?"),
        ("bpe4096", "did you mean bpe-4096?"),
        ("gpt2", "must be bytes, bpe-N"),
        ("bpe-", "bpe-N such as bpe-4096"),
        ("bpe-x", "bpe-N such as bpe-4096"),
        ("bpe-256", "257 to 1048576"),
        ("bpe-99999999", "257 to 1048576"),
        ("bpe-99999999999999", "bpe-N such as"),
        ("none.json", "does not exist; give"),
        ("/no/such", "does not exist; give"),
        ("/" + "x" * 5000, "does not exist; give"),
    ],
)
def test_an_unknown_tokenizer_is_refused_with_a_remedy(name: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        tokenizer.build_tokenizer(name, lambda: TEXTS)
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("data.tokenizer", name)
    assert remedy in problem.message


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    words = r"t.json is not a tokenizer.json .*; write one with Tokenizer.save"
    with pytest.raises(InvalidInput, match=words):
        tokenizer.build_tokenizer(str(tmp_path / "t.json"), list)
