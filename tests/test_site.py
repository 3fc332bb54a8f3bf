"""The documentation site: it builds without a warning, fetches nothing, and fits any window."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser
from command_line import command

from benchmarks.walkthrough import Block, Walk, blocks_of, differs, walk
from docs.site import drawings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WALKED = ["tutorial", "howto/analysis", "howto/own-server"]
"""Pages whose code is run; ``python -m benchmarks.walkthrough PAGE`` runs that of the others, which
simulate or train for minutes."""
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_names_no_other_place(site: Path) -> None:
    """A link that leads nowhere is a warning, which ends the build."""
    foreign = []
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text()):
            foreign += re.findall(r"""(?:src|href)=["']?((?:https?:)?//[^"' >]+)""", tag)
    assert foreign == []
    columns = (site / "columns.html").read_text()
    assert "Transverse impact parameter, cm." in columns
    assert "candidates.score" in columns
    assert "--metrics-port" in (site / "commands.html").read_text()


@pytest.mark.slow
def test_pages_fit_any_window_fetch_nothing_and_are_found(site: Path) -> None:
    pages = [page for page in site.glob("*.html") if page.stem != "404"]  # that one is a server's
    pages += [*site.glob("howto/*.html"), *site.glob("concepts/*.html")]
    wide = []
    with browser() as tab:
        for width in WIDTHS:
            tab.size(width, 800)
            tab.prefer("dark" if width == WIDTHS[0] else "light")
            for page in pages:
                tab.open(page.as_uri())
                if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    wide.append((page.name, width))
                pictures = "[...document.images].every(one => one.naturalWidth > 0)"
                assert tab.evaluate(pictures), page
        tab.open((site / "index.html").as_uri())
        tab.evaluate("document.querySelector('[data-md-toggle=search]').click()")
        tab.evaluate(
            "(field => { field.focus(); field.value = 'pseudorapidity';"
            "field.dispatchEvent(new Event('input', { bubbles: true }));"
            "field.dispatchEvent(new Event('keyup', { bubbles: true })); })"
            "(document.querySelector('input[name=query]'))"
        )
        tab.wait_for("document.querySelectorAll('.md-search-result__item').length > 0")
        assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
        assert tab.messages == []
    assert wide == []


@pytest.mark.slow
@pytest.mark.parametrize("page", WALKED)
def test_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    with walk(tmp_path, lambda words: command(*words).out) as reader:
        for block in blocks_of(DOCS / f"{page}.md"):
            reader.run(block)


def test_blocks_of_a_page_have_their_output_and_say_how_they_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\necho a\n```\n\nIt prints\n\n```text\na\n```\n\n"
        "<!-- run: no -->\n\n```python\n1 / 0\n```\n\n```toml\na = 1\n```\n"
    )
    assert list(blocks_of(page)) == [
        Block(2, "bash", "echo a\n", "", "a\n"),
        Block(14, "python", "1 / 0\n", "no", ""),
    ]


def test_another_output_than_the_page_shows_is_an_error(tmp_path: Path) -> None:
    assert not differs("a   1.25 s\n b\n", "a ... s b")
    assert differs("a 1.25 s", "b ... s")
    assert not differs("1,290 tracks, -0.95 cm", "1,288 tracks, -0.96 cm")
    assert differs("1,290 tracks", "1,690 tracks")
    assert differs("2 events", "3 events")
    assert not differs("a 1, 32768", "a 1, 32768")
    told = Block(1, "python", "print('in', 2)", "", "in 3")
    with pytest.raises(Exception, match="line 1 prints something else:\nin 2"):
        Walk(tmp_path).run(told)
    with pytest.raises(Exception, match="exit 3 ended with 3"):
        Walk(tmp_path).run(Block(1, "bash", "exit 3  # why", "", ""))


def test_blocks_share_names_and_run_in_the_folder(tmp_path: Path) -> None:
    reader = Walk(tmp_path)
    reader.run(Block(1, "bash", "echo 5 > number", "", ""))
    reader.run(Block(2, "python", "n = int(open('number').read())", "", ""))
    assert reader.run(Block(3, "python", "print(n + 1)", "", "6")) == "6\n"


def test_a_server_of_a_page_gets_a_free_port(tmp_path: Path) -> None:
    reader = Walk(tmp_path)
    code = "python -c 'import time; print(\"ready:\", flush=True); time.sleep(60)'"
    reader.run(Block(1, "bash", code, "beside", ""))
    served = reader._moved("trackserve serve exatrkx")
    port = served.split("--grpc-port ")[1].split()[0]
    assert port != "8001"
    assert reader._moved("x --url grpc://localhost:8001") == f"x --url grpc://localhost:{port}"
    assert reader._moved("trackserve status") == f"trackserve status grpc://localhost:{port}"
    reader.end()


def test_the_drawings_are_those_of_their_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawings, "FOLDER", tmp_path)
    drawings.main()
    made = {one.name: one.read_text() for one in tmp_path.iterdir()}
    assert made
    assert {one.name: one.read_text() for one in DOCS.glob("img/*.svg")} == made
