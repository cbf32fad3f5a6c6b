"""The site builds without warnings, loads nothing from other servers, and its links resolve."""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
    "embed": "src",
}
LATE = {
    "mermaid",
    "glightbox",
    "lightbox",
}  # classes for which the theme's script would load a library from another server
FOREIGN = re.compile(
    r"""@import\s+["'][a-z]*:?//|url\(\s*["']?(?:https?:)?//|(?:fetch|import)\(\s*["']https?://"""
)


@dataclass
class Page(HTMLParser):
    """What a page holds: ids, links, loaded files, classes, inline style sheets and scripts."""

    path: Path
    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    inline: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._within = ""
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._within = tag
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.classes |= set(given.get("class", "").split())
        self.inline += [given["style"]] if "style" in given else []
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("next", "prev", "canonical", "alternate"):
            self.loads.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])

    def handle_data(self, data: str) -> None:
        if self._within in ("style", "script"):
            self.inline.append(data)


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a folder with docs/ and the configuration."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def copied(folder: Path) -> Path:
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("project"))
    done = build(folder)
    assert done.returncode == 0, done.stdout
    return folder / "site"


def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def foreign(site: Path) -> Iterator[str]:
    """Everything that a reader's browser would ask another server for."""
    for path, page in pages(site).items():
        yield from (f"{path.name}: {url}" for url in page.loads if urlsplit(url).netloc)
        yield from (f"{path.name}: class {name}" for name in page.classes & LATE)
        yield from (
            f"{path.name}: {text.strip():.80}" for text in page.inline if FOREIGN.search(text)
        )
    for path in site.rglob("*.css"):
        yield from (f"{path.name}: {match}" for match in FOREIGN.findall(path.read_text()))
    for path in site.rglob("*.svg"):
        yield from (
            f"{path.name}: {url}"
            for url in re.findall(r"""(?:href|src)=["'](https?://[^"']+)""", path.read_text())
        )


def broken(site: Path) -> dict[str, list[str]]:
    """Links and files of pages that do not exist, by page."""
    built, missing = pages(site), defaultdict(list)
    for path, page in built.items():
        for url in (*page.links, *page.loads):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            # the page for unknown addresses is shown at any of them, so its links begin at the root
            base = site if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                parts.fragment
                and target in built
                and unquote(parts.fragment) not in built[target].ids
            ):
                missing[str(path.relative_to(site))].append(url)
    return missing


def test_the_site_loads_nothing_from_other_servers(site: Path) -> None:
    assert not list(foreign(site))


def test_all_links_and_anchors_of_the_site_resolve(site: Path) -> None:
    assert not broken(site)


def test_every_page_of_the_documentation_is_in_the_navigation() -> None:
    listed = (ROOT / "zensical.toml").read_text()
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f'"{page}"' not in listed} == {"adr/0000-template.md"}


@pytest.mark.parametrize("text", ["[away](nowhere.md)", "[inside](index.md#nowhere)"])
def test_a_broken_link_fails_the_build(text: str, tmp_path: Path) -> None:
    with open(copied(tmp_path) / "docs" / "faq.md", "a") as page:
        page.write(f"\n{text}\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "does not exist" in done.stdout


def test_what_a_page_would_load_from_elsewhere_is_found(site: Path, tmp_path: Path) -> None:
    for name, text in {
        "script": '<script src="https://example.org/a.js"></script>',
        "font": '<style>@import "//example.org/a.css"; b {}</style>',
        "picture": '<img src="//example.org/a.png">',
        "diagram": '<pre class="mermaid"></pre>',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.html").write_text(text)
        assert len(list(foreign(tmp_path / name))) == 1, name
    (tmp_path / "page.html").write_text(
        '<a href="other.html">a</a><a href="#there">b</a><a href="#here" id="here">c</a>'
    )
    assert broken(tmp_path)["page.html"] == ["other.html", "#there"]
