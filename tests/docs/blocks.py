"""The code blocks of the documentation.

A block that a test cannot run has `<!-- not run: REASON -->` on a line of its own above it. Blocks
of the log and of the decisions are records, not instructions, and are left out.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "reference").glob("*.md")),
)
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n+)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL = ("", "bash", "console")
ENDS = {"|", "||", "&&", ";", "&", ">", "2>&1"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    reason: str | None = None  # why it cannot be run

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of a block for a shell: all lines, or those after a prompt."""
        joined = self.text.replace("\\\n", " ")
        lines = [re.sub(r"\s+#\s.*", "", line).strip() for line in joined.splitlines()]
        if any(line.startswith("$ ") for line in lines):
            return tuple(line[2:] for line in lines if line.startswith("$ "))
        return tuple(line for line in lines if line and not line.startswith("#"))


def blocks(*pages: Path) -> Iterator[Block]:
    for page in pages or PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start("language")) + 1
            yield Block(page, line, match["language"], match["text"], match["reason"])


OWN_MODEL = next(
    block.text for block in blocks(ROOT / "docs" / "own-model.md") if block.language == "python"
)
"""The module `mymodels` that jobs of the documentation name."""


def simple_commands(command: str) -> Iterator[list[str]]:
    """The words of each command of a pipeline or list, without variables set for it."""
    words: list[str] = []
    for word in [*shlex.split(command, comments=True), ";"]:
        if word not in ENDS:
            words.append(word)
            continue
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield words
        words = []
