"""The tables and the picture that README.md and docs/ take from files of results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastconv.bench.report import MarkerError, keep_picture, rewrite_tables, write_report
from fastconv.bench.report.markers import NAMES
from fastconv.bench.results import Results

README = """# Title

<!-- bench:summary -->
old
<!-- /bench:summary -->
end"""
PAGE = "between\n<!-- bench:layers --><!-- /bench:layers -->\nend"


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a README and two pages of docs/, one of them without tables."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "docs" / "results.md").write_text(PAGE)
    (tmp_path / "docs" / "start.md").write_text("no tables")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tables_are_rewritten_between_their_markers_and_again_the_same(small: Results, pages: Path) -> None:
    readme, page = pages / "README.md", pages / "docs" / "results.md"
    readme.chmod(0o640)
    assert rewrite_tables(small) == [Path("README.md"), Path("docs/results.md")]
    text = readme.read_text()
    assert text.startswith("# Title\n\n<!-- bench:summary -->\n")
    assert text.endswith("\n<!-- /bench:summary -->\nend")
    assert "old" not in text.split("\n")
    assert "| fastconv.numba | ▲ 1.60 |" in text
    assert readme.stat().st_mode & 0o777 == 0o640
    layers = page.read_text()
    assert layers.startswith("between\n<!-- bench:layers -->\n")
    assert layers.endswith("\n<!-- /bench:layers -->\nend")
    assert "| smoke.avg_n4 |" in layers
    rewrite_tables(small)
    assert (readme.read_text(), page.read_text()) == (text, layers)
    assert sorted(file.name for file in pages.rglob("*.*")) == ["README.md", "results.md", "start.md"]


def test_the_pages_picture_is_the_reports_overview(small: Results, tmp_path: Path) -> None:
    write_report(small, tmp_path / "report")
    keep_picture(tmp_path / "report", tmp_path / "docs")
    assert [each.name for each in (tmp_path / "docs").iterdir()] == ["overview.png"]
    shown = (tmp_path / "docs" / "overview.png").read_bytes()
    assert shown == (tmp_path / "report" / "overview.png").read_bytes()
    with pytest.raises(FileNotFoundError):
        keep_picture(tmp_path / "nothing", tmp_path / "docs")
    assert (tmp_path / "docs" / "overview.png").read_bytes() == shown
    page = Path(__file__).parents[2] / "docs" / "results.md"
    assert "(overview.png)" in page.read_text(encoding="utf-8")


def test_pages_keep_their_line_ends(small: Results, pages: Path) -> None:
    (pages / "README.md").write_bytes(README.replace("\n", "\r\n").encode())
    rewrite_tables(small)
    assert not re.search(rb"[^\r]\n", (pages / "README.md").read_bytes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n<!-- bench:summary -->", "line 2: <!-- bench:summary --> is never closed"),
        ("a\nb <!-- /bench:summary -->", "line 2: .* closes what was not opened"),
        ("<!-- bench:summary -->\n<!-- bench:layers -->", "line 2: .* comes before <!-- bench:summary --> is closed"),
        ("<!-- bench:summary --><!-- /bench:layers -->", "closes <!-- bench:summary -->"),
        (f"{README}<!-- bench:sumary --><!-- /bench:sumary -->", "is none of the tables there are: summary, layers"),
    ],
)
def test_a_page_with_bad_markers_is_left_alone(small: Results, pages: Path, text: str, message: str) -> None:
    (pages / "README.md").write_text(text)
    with pytest.raises(MarkerError, match=message):
        rewrite_tables(small)
    assert (pages / "README.md").read_text() == text


def test_a_folder_without_markers_is_an_error(small: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(MarkerError, match=r"neither README.md nor a page of docs/ here has markers"):
        rewrite_tables(small)


def test_all_tables_have_a_page() -> None:
    """What the commands make anew is shown somewhere, once."""
    root = Path(__file__).parents[2]
    text = "".join(page.read_text(encoding="utf-8") for page in (root / "README.md", *(root / "docs").glob("*.md")))
    assert {name: text.count(f"<!-- bench:{name} -->") for name in NAMES} == dict.fromkeys(NAMES, 1)
