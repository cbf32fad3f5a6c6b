"""Job files become plain JSON values; a file with other values is refused by field."""

from pathlib import Path

import pytest

from api.cli import job_file
from telescope.errors import InvalidInput


def test_equal_files_in_yaml_and_json_are_read_as_equal_values(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: telescope\nsearch: {lr: {low: 4e-3}}\n")
    (tmp_path / "a.json").write_text('{"kind": "telescope", "search": {"lr": {"low": 4e-3}}}')
    for name in ("a.yaml", "a.json"):
        document = job_file.read_job_file(tmp_path / name)
        assert document == {"kind": "telescope", "search": {"lr": {"low": 0.004}}}


@pytest.mark.parametrize(
    ("name", "text", "field", "remedy"),
    [
        ("a.yaml", "kind: telescope\n1: 2\n", "", "keys must be text; put this key"),
        ("a.yaml", "model: {depth: 2, 1: 2}\n", "model", "keys must be text; put this key"),
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
def test_values_that_json_cannot_hold_are_refused_with_field_and_remedy(
    tmp_path: Path, name: str, text: str, field: str, remedy: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as refused:
        job_file.read_job_file(tmp_path / name)
    (problem,) = refused.value.problems
    assert problem.field == field
    assert remedy in problem.message
