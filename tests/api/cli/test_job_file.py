"""Job files are read as plain JSON values, and refused by field otherwise."""

from pathlib import Path

import pytest

from api.cli import job_file
from telescope.errors import InvalidInput


def test_a_file_says_the_same_in_yaml_and_in_json(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: telescope\nsearch: {lr: {low: 4e-3}}\n")
    (tmp_path / "a.json").write_text('{"kind": "telescope", "search": {"lr": {"low": 4e-3}}}')
    expected = {"kind": "telescope", "search": {"lr": {"low": 0.004}}}
    assert (
        job_file.read_job_file(tmp_path / "a.yaml")
        == job_file.read_job_file(tmp_path / "a.json")
        == expected
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "remedy"),
    [
        ("a.yaml", "kind: telescope\n1: 2\n", "", "keys must be text; quote it"),
        ("a.yaml", "model: {depth: 2, 1: 2}\n", "model", "keys must be text; quote it"),
        ("a.yaml", "name: 2020-01-01\n", "name", "must be text"),
        ("a.yaml", "limits: {max_seconds: .inf}\n", "limits.max_seconds", "finite"),
        ("a.yaml", "name: 2020-13-45\n", "", "is not YAML: month must be"),
        ("a.yaml", 'name: "\\UFFFFFFFF"\n', "", "is not YAML"),
        ("a.yaml", "- ? - ? - a\n", "", "is not YAML: keys must be text"),
        ("a.yaml", "a: &a [*a]\n", "", "nests its fields too deeply"),
        ("a.json", '{"name": NaN}', "name", "finite"),
        ("a.json", f'{{"name": {"9" * 5000}}}', "", "is not JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_naming_field_and_remedy(
    tmp_path: Path, name: str, text: str, field: str, remedy: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as refused:
        job_file.read_job_file(tmp_path / name)
    (problem,) = refused.value.problems
    assert problem.field == field
    assert remedy in problem.message
