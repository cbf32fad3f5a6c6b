"""The hooks before a commit and the CI workflow run the commands that developers run."""

import re

import yaml

from tests.needs import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_hooks_run_the_commands_of_make_check() -> None:
    (check,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert entries == [line.strip().replace("$(BIN)", ".venv/bin") for line in check.splitlines()]


def test_the_workflow_runs_make_and_the_merge_check() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step]
    assert commands[-1] == ".ci/run"
    assert all(
        (ROOT / words[0]).exists() or re.search(rf"^{words[-1]}:", MAKEFILE, re.MULTILINE)
        for words in map(str.split, commands)
    )
