"""Corpora: built in, registered, or read by path; file formats, and files that are refused."""

import ast
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from telescope.data import corpora
from telescope.errors import Conflict, InvalidInput

TEXTS = ["first text, of a kind", "zweiter Text: äöü €", "third\r\ntext"]
JSONL = "".join(json.dumps({"text": text, "other": 1}) + "\n" for text in TEXTS).encode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELESCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def contents(path: Path) -> list[str]:
    return [str(document.content) for document in corpora.find(str(path)).documents()]


def refusal(path: Path | str) -> str:
    with pytest.raises(InvalidInput) as caught:
        list(corpora.find(str(path)).documents())
    (problem,) = caught.value.problems
    assert problem.field == "data.corpus"
    assert problem.value == str(path)
    return problem.message


def parquet(path: Path, **columns: list[object]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def zst(path: Path, *frames: bytes) -> Path:
    path.write_bytes(b"".join(map(zstandard.compress, frames)))
    return path


# Built-in corpora


def test_python_stdlib_is_the_running_interpreters_library_without_tests_and_packages() -> None:
    corpus = corpora.find("python-stdlib")
    documents = {document.name: document.content for document in corpus.documents()}
    assert documents["ast.py"] == Path(ast.__file__).read_bytes().decode()
    assert "json/decoder.py" in documents
    parts = {part for name in documents for part in Path(name).parts}
    assert not parts & {"test", "tests", "idle_test", "__pycache__"}
    assert not parts & {"site-packages", "dist-packages"}
    assert list(documents) == sorted(documents)
    assert sum(map(len, documents.values())) > 5_000_000


def test_python_stdlib_leaves_out_configuration_that_differs_between_machines() -> None:
    names = [document.name for document in corpora.find("python-stdlib").documents()]
    assert not [name for name in names if name.startswith(("config-", "_sysconfigdata"))]


def test_python_docs_are_docstrings_without_code() -> None:
    documents = {
        document.name: str(document.content) for document in corpora.find("python-docs").documents()
    }
    assert documents["textwrap.py"].startswith("Text wrapping and filling.")
    assert ast.get_docstring(ast.parse(Path(ast.__file__).read_text())) in documents["ast.py"]
    assert "import re\n" not in documents["textwrap.py"]
    assert all(documents.values())


def test_docstrings_come_in_the_order_of_the_source_also_from_nested_definitions() -> None:
    source = """
'one'
if True:
    class A:
        'two'
        async def f(self):
            'three'
def g(x='no'):
    'four'
    return 'no'
"""
    assert corpora.docstrings(source) == "one\n\ntwo\n\nthree\n\nfour"
    assert corpora.docstrings("not python at all") == ""


# Formats


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "a", "a.unknown"])
def test_text_files_of_any_name_are_read_byte_for_byte(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("".join(TEXTS).encode())
    assert contents(tmp_path / name) == ["".join(TEXTS)]


def test_jsonl_in_every_compression_and_parquet_give_the_same_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(JSONL)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(JSONL))
    zst(tmp_path / "a.jsonl.zst", JSONL[:40], JSONL[40:])
    parquet(tmp_path / "a.parquet", other=[1, 2, 3], text=TEXTS)
    jsonl, *others = [
        list(corpora.find(str(tmp_path / f"a{end}")).documents())
        for end in (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
    ]
    assert [document.content for document in jsonl] == TEXTS
    assert all(documents == jsonl for documents in others)


def test_blank_lines_null_rows_and_empty_files_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n" + JSONL + b"  \n" + b'{"text": ""}\n')
    assert contents(tmp_path / "a.jsonl") == TEXTS
    assert contents(parquet(tmp_path / "a.parquet", text=["x", None, ""])) == ["x"]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").touch()
    (folder / "b.txt").write_text("b")
    assert contents(folder) == ["b"]


def test_a_folder_gives_its_files_by_name_and_skips_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.txt", "sub/a.jsonl", "sub/.hidden", ".git/config", "__pycache__/x.pyc", "a.md"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text('{"text": "t"}')
    names = [document.name for document in corpora.find(str(tmp_path / "d")).documents()]
    assert names == ["a.md", "b.txt", "sub/a.jsonl:1"]


@pytest.mark.parametrize(("name", "dtype"), [("a.bin", "<u2"), ("a.uint32.bin", "<u4")])
def test_bin_files_hold_tokens(tmp_path: Path, name: str, dtype: str) -> None:
    np.arange(1000).astype(dtype).tofile(tmp_path / name)
    corpus = corpora.find(str(tmp_path / name))
    (document,) = corpus.documents()
    assert corpus.holds_tokens
    np.testing.assert_array_equal(document.content, np.arange(1000))


def test_a_nanogpt_folder_is_its_two_token_files(tmp_path: Path) -> None:
    for name in ("train.bin", "val.bin"):
        np.arange(9).astype("<u2").tofile(tmp_path / name)
    (tmp_path / "input.txt").write_text("the text they were made of")
    names = [document.name for document in corpora.find(str(tmp_path)).documents()]
    assert names == ["train.bin", "val.bin"]


# Bad files


def test_a_missing_path_is_refused() -> None:
    assert "does not exist; give the path" in refusal("/no/such/file.txt")
    assert "cannot be read" in refusal("/" + "x" * 5000)
    assert "neither a file nor a folder" in refusal("/dev/null")


def test_empty_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "empty.bin").touch()
    for name in ("folder", "empty.txt", "empty.bin"):
        assert "holds no text; give" in refusal(tmp_path / name)


@pytest.mark.skipif(
    not os.path.exists("/proc/self/mem"), reason="needs a file that exists and cannot be read"
)
def test_an_unreadable_file_is_refused() -> None:
    assert "cannot be read" in refusal("/proc/self/mem")


def test_text_that_is_not_utf8_is_refused_by_file_and_byte(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("fine")
    (tmp_path / "d" / "b.txt").write_bytes(b"caf\xe9 au lait")
    message = refusal(tmp_path / "d")
    assert "b.txt is not UTF-8 text (byte 3)" in message
    assert "convert it" in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{not json", "line 2 of"),
        (b'{"body": "x"}', "no text in a field 'text'; it holds the fields ['body']"),
        (b'{"text": 3}', "no text in a field 'text'"),
        (b"[1, 2]", "it holds a value of type list"),
        (b'{"text": "\xff"}', "is not UTF-8 text (byte 10 of the line)"),
        (b'{"text": "\\ud800"}', "half a surrogate pair"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_bad_jsonl_is_refused_with_line_and_remedy(
    tmp_path: Path, line: bytes, expected: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n' + line + b"\n")
    assert expected in refusal(tmp_path / "a.jsonl")


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.jsonl.gz").write_bytes(JSONL)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(JSONL)[:-12])
    (tmp_path / "no.jsonl.zst").write_bytes(JSONL)
    for name in ("no.jsonl.gz", "cut.jsonl.gz"):
        assert "cannot be read" in refusal(tmp_path / name)
    assert "is not zstandard" in refusal(tmp_path / "no.jsonl.zst")


def test_zstandard_that_ends_early_is_refused(tmp_path: Path) -> None:
    complete = zstandard.compress(JSONL * 1000)
    (tmp_path / "cut.jsonl.zst").write_bytes(complete[: len(complete) // 2])
    assert refusal(tmp_path / "cut.jsonl.zst")


def test_bad_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_bytes(b"PAR1 nothing")
    assert "is not parquet" in refusal(tmp_path / "no.parquet")
    other_column = parquet(tmp_path / "body.parquet", body=["x"])
    assert "has no column 'text'; its columns are ['body']" in refusal(other_column)
    assert "holds int64, not text" in refusal(parquet(tmp_path / "numbers.parquet", text=[1, 2]))


def test_half_a_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"123")
    assert "not a whole number of uint16 tokens" in refusal(tmp_path / "a.bin")


def test_tokens_beside_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"1234")
    (tmp_path / "a.txt").write_text("text")
    assert "in a folder of their own" in refusal(tmp_path)


# Names


def test_an_unknown_name_is_refused_with_the_nearest_and_with_how_to_write_a_path(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_text("text")
    corpora.register("python-essays", tmp_path / "a.txt")
    message = refusal("python-stdlb")
    assert "did you mean python-stdlib" in message
    assert "./python-stdlb" in message
    assert "python-essays" in refusal("python-esays")
    assert "known are python-stdlib, python-docs, python-essays" in refusal("zzz")


def test_paths_and_names_are_told_apart() -> None:
    assert not any(map(corpora.is_path, ["python-stdlib", "mine", "a_b-3"]))
    paths = ["./mine", "/data/x", "x.txt", "~/x", "sub/x", "Mine", ".", ".."]
    assert all(map(corpora.is_path, paths))


def test_corpus_path_is_the_file_that_a_corpus_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    corpora.register("mine", "a.txt")
    assert corpora.corpus_path("mine") == tmp_path / "a.txt"
    assert corpora.corpus_path("sub/../a.txt") == tmp_path / "a.txt"
    assert corpora.corpus_path("python-docs") is None


def test_registered_corpora_are_found_and_listed(tmp_path: Path) -> None:
    assert corpora.registered() == []
    path = parquet(tmp_path / "a.parquet", body=["one", "two"])
    corpus = corpora.register("mine", path, text_field="body")
    assert corpus == corpora.find("mine") == corpora.LocatedCorpus("mine", path, "body")
    assert corpora.registered() == [corpus]
    names = [corpus.name for corpus in corpora.available()]
    assert names == ["python-stdlib", "python-docs", "mine"]
    assert [document.content for document in corpora.find("mine").documents()] == ["one", "two"]


@pytest.mark.parametrize("name", ["", "Mine", "a/b", "../up", "a.b", "-a", "x" * 65, "a\n"])
def test_names_that_could_be_paths_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InvalidInput, match="must be 1 to 64 of") as caught:
        corpora.register(name, tmp_path / "a.txt")
    assert caught.value.problems[0].field == "name"


def test_a_built_in_name_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InvalidInput, match="built-in") as caught:
        corpora.register("python-docs", tmp_path / "a.txt")
    assert caught.value.problems[0].field == "name"


def test_registering_looks_at_the_file_first(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist") as caught:
        corpora.register("mine", tmp_path / "none.txt")
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("path", str(tmp_path / "none.txt"))
    assert corpora.registered() == []


def test_a_name_keeps_its_path(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text")
    corpora.register("mine", tmp_path / "a.txt")
    corpora.register("mine", tmp_path / "a.txt")
    with pytest.raises(Conflict, match=r"registered already, for .*a.txt with the text field text"):
        corpora.register("mine", tmp_path / "b.txt")


# Fingerprints


def test_a_fingerprint_changes_with_any_file_and_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("text")
    corpus = corpora.find(str(tmp_path / "d"))
    fingerprints = [corpus.fingerprint()]
    assert corpora.find(str(tmp_path / "d")).fingerprint() == fingerprints[0]
    os.utime(tmp_path / "d" / "a.txt", ns=(1, 1))
    fingerprints.append(corpus.fingerprint())
    (tmp_path / "d" / "b.txt").write_text("more")
    fingerprints.append(corpus.fingerprint())
    (tmp_path / "d" / "b.txt").rename(tmp_path / "d" / "c.txt")
    fingerprints.append(corpus.fingerprint())
    assert len(set(fingerprints)) == 4
