"""The report says what the results say: figures worked out here by hand, losses as plain as wins, files complete."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from math import sqrt
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image
from matplotlib.patches import Rectangle
from rich.console import Console

from fastconv.bench.problems import PROBLEMS, select
from fastconv.bench.report import bars, write_report
from fastconv.bench.report.cells import Cell, digits, percent, seconds
from fastconv.bench.report.columns import panels, spread
from fastconv.bench.report.grid import Column, Grid, to_rich
from fastconv.bench.report.header import bandwidths, sentence
from fastconv.bench.report.listings import everything, glance, layers, tally, troubles
from fastconv.bench.report.markdown import markdown
from fastconv.bench.report.palette import looks
from fastconv.bench.report.races import Race, by_family, by_stage, contestants, geometric_mean, races, verdict
from fastconv.bench.report.roofline import roofline
from fastconv.bench.report.shapes import shape
from fastconv.bench.report.summaries import CHAMPION, by_set, champions, standings
from fastconv.bench.results import Results, ResultsError
from tests.bench import synthetic
from tests.bench.synthetic import LIMIT, SPEEDS, record, results

CONV = (False, "forward")


def table(grid: Grid) -> dict[str, dict[str, str]]:
    """The texts by the first cell of their row and the title of their column."""
    titles = [column.title for column in grid.columns]
    return {row[0].text: dict(zip(titles, [cell.marked for cell in row], strict=True)) for row in grid.rows}


def race_of(found: list[Race], problem: str, operation: str = "forward") -> Race:
    return next(race for race in found if race.problem == problem and race.stage[1] == operation)


# Figures


def test_race_has_rates_ratios_and_the_part_of_the_limit() -> None:
    problem = select(["vgg16"])[1]
    times = {"fastconv.numba": 0.04, "fastconv.im2col": 0.1, "fastconv.torch": 0.01, "torch": 0.05, "jax": 0.02}
    records = [record(problem, "forward", name, time) for name, time in times.items()]
    (race,) = races(Results(dict(synthetic.ENVIRONMENT), LIMIT, records))
    champion = race.champion
    assert champion is not None
    assert champion.contestant == "fastconv.numba", "torch behind fastconv's interface is no champion"
    assert race.to_torch(champion) == pytest.approx(0.05 / 0.04)
    assert race.to_peer(champion) == pytest.approx(0.02 / 0.04)
    assert race.to_peer(race.runners["jax"]) is None
    flops = 2 * 2 * 64 * 224 * 224 * 64 * 9
    assert race.rate(champion) == pytest.approx(flops / 0.04 / 1e9)
    assert race.of_limit(champion) == pytest.approx(flops / 400e9 / 0.04)


def test_pooling_is_rated_by_its_bytes() -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == "vgg16.pool1_n2")
    (race,) = races(Results({}, LIMIT, [record(problem, "forward", "torch", 0.01)]))
    moved = 4 * 2 * 64 * (224 * 224 + 112 * 112)
    assert race.rate(race.runners["torch"]) == pytest.approx(moved / 0.01 / 1e9)
    assert race.of_limit(race.runners["torch"]) == pytest.approx(moved / 20e9 / 0.01)


def test_auto_is_champion_only_when_alone() -> None:
    problem = select(["smoke"])[0]
    alone = [record(problem, "forward", "fastconv.auto", 1.0)]
    (race,) = races(Results({}, LIMIT, alone))
    assert race.champion == alone[0]
    (race,) = races(Results({}, LIMIT, [*alone, record(problem, "forward", "fastconv.numba", 2.0)]))
    assert race.champion is not None
    assert race.champion.contestant == "fastconv.numba"


@pytest.mark.parametrize(
    ("ratio", "said"), [(1.06, "faster"), (0.94, "slower"), (1.04, "level"), (1 / 1.04, "level"), (None, "")]
)
def test_verdict_on_a_ratio(ratio: float | None, said: str) -> None:
    assert verdict(ratio) == said


def test_geometric_mean() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4)


def test_numbers_are_short() -> None:
    assert [digits(x) for x in (0.0123, 0.5, 1.234, 12.34, 123.4, 99.96, 1234.5)] == [
        "0.01", "0.50", "1.23", "12.3", "123", "100", "1234",
    ]  # fmt: skip
    assert [seconds(x).text for x in (5.2e-6, 999.6e-6, 0.0123, 2.0)] == ["5.20 µs", "1.00 ms", "12.3 ms", "2.00 s"]
    assert [percent(x).text for x in (0.004, 0.0991, 1.2)] == ["0.4%", "9.9%", "120%"]


# Tables


def test_standings_are_geometric_means_over_all_problems(small: Results) -> None:
    rows = table(standings(races(small)))
    assert set(rows) == {CHAMPION, *SPEEDS} - {"torch"}
    for name, mark in (("fastconv.numba", "▲"), ("fastconv.im2col", "▼"), (CHAMPION, "▲"), ("fastconv.torch", "▼")):
        expected = SPEEDS["fastconv.numba" if name == CHAMPION else name] / SPEEDS["torch"]
        assert rows[name]["conv"] == f"{mark} {expected:.2f}"


def test_mean_of_wins_and_losses_and_missing_problems() -> None:
    first, second, third = select(["smoke"])[:3]
    records = [record(problem, "forward", "torch", 1.0) for problem in (first, second, third)]
    records += [record(first, "forward", "jax", 0.5), record(second, "forward", "jax", 4.0)]
    rows = table(standings(races(Results({}, LIMIT, records))))
    assert rows["jax"]["conv"] == f"▼ {sqrt(2 * 0.25):.2f} (2 of 3)"


def test_by_set_counts_problems_of_each_set() -> None:
    found = by_stage(races(results(["vgg16", "alexnet"])))
    rows = table(by_set(found[CONV]))
    assert {name: rows[name]["problems"] for name in ("all", "vgg16", "alexnet", "11x11")} == {
        "all": "10", "vgg16": "6", "alexnet": "4", "11x11": "1",
    }  # fmt: skip
    assert list(table(champions(races(results(["vgg16", "odd"]))))) == ["vgg16", "unusual"]


def test_losses_are_marked_as_plainly_as_wins() -> None:
    problem, other = select(["alexnet"])[:2]
    records = [record(problem, "forward", "torch", 1.0), record(problem, "forward", "fastconv.numba", 2.0)]
    records += [record(other, "forward", "torch", 1.0), record(other, "forward", "fastconv.numba", 0.5)]
    found = races(Results({}, LIMIT, records))
    rows = table(glance(found))
    assert rows[problem.name]["over torch"] == "▼ 0.50"
    assert rows[other.name]["over torch"] == "▲ 2.00"
    assert "faster than torch on 1, level (within 5%) on 0, slower on 1" in tally(found)


def test_everything_has_every_record_once(small: Results) -> None:
    stages = by_stage(races(small))
    grids = [everything(found) for found in stages.values()]
    shown = [(row[0].text, row[1].text) for grid in grids for row in grid.rows]
    assert sorted(shown) == sorted((r.problem, r.contestant) for r in small.records)
    row = next(row for row in grids[0].rows if row[1].text == "fastconv.numba")
    assert [cell.marked for cell in row[4:]] == ["4.0%", row[5].text, "80%", "▲ 1.60", "▲ 1.33"]


def test_layers_have_one_row_a_problem(small: Results) -> None:
    grid = layers(races(small))
    assert [row[0].text for row in grid.rows] == [problem.name for problem in select(["smoke"])]
    first = [cell.marked for cell in grid.rows[0]]
    assert [first[2], *first[4:7], *first[8:]] == ["numba", "80%", "▲ 1.60", "numba", "80%", "▲ 1.60"]
    assert first[3] != first[7]


def test_without_torch_there_are_no_ratios(tmp_path: Path) -> None:
    found = results(speeds={"fastconv.numba": 0.5})
    row = table(glance(by_stage(races(found))[CONV]))["smoke.first_n4"]
    assert (row["torch"], row["over torch"], row["over peer"]) == ("-", "-", "-")
    names = {path.name for path in write_report(found, tmp_path)}
    assert not any(name.startswith(("bars", "overview")) for name in names)
    assert "roofline-conv-forward.png" in names


def test_without_fastconv_peers_are_reported(tmp_path: Path) -> None:
    problem = select(["smoke"])[0]
    peers = [record(problem, "forward", "torch", 1e-4), record(problem, "forward", "jax", 2e-4)]
    folder = tmp_path / "report"
    write_report(Results({}, LIMIT, peers), folder)
    assert "| jax | ▼ 0.50 |" in (folder / "report.md").read_text()


def test_who_failed_is_told_with_the_reason(small: Results) -> None:
    assert troubles(small) is None
    problem = select(["smoke"])[0]
    failed = record(problem, "forward", "jax", None, "a wrong | result")
    text = markdown(results(extra=[failed]))
    assert "## Not timed" in text
    assert r"| jax | 1 | a wrong \| result |" in text


def test_shapes() -> None:
    assert shape("resnet50.3b_down_n8") == "8x128x56x56 → 128, 3x3, stride 2"
    assert shape("large.31x31_n2") == "2x64x28x28 → 64, 31x31, depthwise"
    assert shape("resnet50.maxpool_n8") == "8x64x112x112, 3x3, stride 2, max"
    assert not shape("somebody's own")


def test_header_tells_machine_versions_commit_date_and_limits(small: Results) -> None:
    line = sentence(small)
    for key in ("processor", "instruction set", "threads", "contestants", "commit", "date"):
        assert synthetic.ENVIRONMENT[key] in line
    assert "peak 400 GFLOP/s" in line
    assert bandwidths(LIMIT).startswith("300 GB/s (64 KiB), 150 GB/s (1 MiB)")
    text = markdown(small)
    for key, value in synthetic.ENVIRONMENT.items():
        assert f"| {key} | {value} |" in text


# Pictures


def test_pictures_are_drawn_for_every_stage(written: Path) -> None:
    slugs = ["conv-forward", "conv-backward", "conv-input", "conv-weight", "pool-forward", "pool-backward"]
    names = {"overview"} | {f"{kind}-{slug}" for kind in ("bars", "roofline") for slug in slugs}
    for name in names:
        pixels = image.imread(written / f"{name}.png")
        assert np.ptp(pixels[..., :3]) == 1, f"{name} is empty"
        ElementTree.parse(written / f"{name}.svg")
    assert {path.stem for path in written.iterdir()} == names | {"report"}


def test_pictures_are_the_same_bytes_again(small: Results, written: Path, tmp_path: Path) -> None:
    few = Results(small.environment, small.limit, [r for r in small.records if r.operation == "input"])
    first, again = (write_report(few, tmp_path / name) for name in ("first", "again"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_a_users_settings_of_matplotlib_change_no_picture(small: Results, written: Path, tmp_path: Path) -> None:
    with mpl.rc_context({"figure.dpi": 30, "savefig.bbox": "tight", "axes.linewidth": 9, "lines.linewidth": 7}):
        write_report(small, tmp_path)
    for name in ("overview", "bars-conv-forward", "roofline-conv-forward"):
        for suffix in ("png", "svg"):
            file = f"{name}.{suffix}"
            assert (tmp_path / file).read_bytes() == (written / file).read_bytes(), file


def test_bars_end_at_the_ratio_and_markers_stand_there(small: Results) -> None:
    found = by_stage(races(small))[CONV]
    styles = looks(contestants(found))
    for figure in (bars.overview(found, styles, ""), bars.by_problem(found, styles, "")):
        ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
        speeds = [1.6, 0.6, 0.9, 1.2] if len(ends) == 4 else [1.6] * 3
        assert ends == pytest.approx(speeds)
    stood = [
        float(x) for line in figure.axes[0].lines if line.get_marker() != "None" for x in np.asarray(line.get_xdata())
    ]
    assert sorted(stood) == pytest.approx(sorted([1.6, 0.6, 0.9, 1.2] * 3))


def test_roofline_has_every_point_at_its_height(small: Results) -> None:
    found = by_stage(races(small))[CONV]
    figure = roofline(found, LIMIT, looks(contestants(found)), "")
    drawn = {round(float(y), 6) for axes in figure.axes for line in axes.lines for y in np.asarray(line.get_ydata())}
    reached = {round(r.flops / r.best / 1e9, 6) for race in found for r in race.runners.values()}
    assert reached <= drawn
    assert {round(race.runners["torch"].flops / race.floor / 1e9, 6) for race in found} <= drawn


def test_families_part_the_whole_table() -> None:
    found = races(results(["all"], {"torch": 0.5}))
    forward = by_stage(found)[CONV]
    assert sum(map(len, by_family(forward).values())) == len(forward)
    parts = panels(forward)
    assert sum(map(len, parts.values())) == len(forward)
    assert {"mnist, batch 1", "mnist, batch 32", "mnist, batch 100", "resnet50, batch 8", "unusual"} <= set(parts)


def test_names_are_spread_apart_and_no_further_than_needed() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1, 0, 1) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.5], 0.1, 0, 1) == pytest.approx([0.4, 0.5, 0.6])
    assert spread([0.98, 0.99], 0.1, 0, 1) == pytest.approx([0.9, 1.0])
    assert spread([0.5] * 3, 0.9, 0, 1) == pytest.approx([0, 0.5, 1])
    rng = np.random.default_rng(3)
    for _ in range(50):
        places = sorted(rng.uniform(0, 1, 12))
        moved = spread(places, 0.05, 0, 1)
        assert min(np.diff(moved)) > 0.05 - 1e-9
        assert 0 <= moved[0] <= moved[-1] <= 1 + 1e-9


# The page


class Reader(HTMLParser):
    """Collects tags in order, and fails on one that is closed out of turn."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(key, value or "") for key, value in attrs]
        self.rows += tag == "tr"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_nothing_else(written: Path, small: Results) -> None:
    text = (written / "report.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert reader.rows > len(small.records)
    links = [value for key, value in reader.attributes if key in {"src", "href", "data", "action", "srcset"}]
    assert links
    assert all(value.startswith(("data:image/svg+xml;base64,", "#")) for value in links)
    assert not re.search(r"https?:|url\(|@import", text)
    targets = {value for key, value in reader.attributes if key == "id"}
    assert {value[1:] for value in links if value.startswith("#")} == targets


def test_page_has_every_cell_with_its_class_and_its_number(written: Path, small: Results) -> None:
    text = unescape((written / "report.html").read_text())
    assert text.count('<p class="note">') == sum(bool(tally(some)) for some in by_stage(races(small)).values())
    shown = re.findall(r'<td class="([^"]*)"(?: data-value="([^"]*)")?>([^<]*)</td>', text)
    for grid in (standings(races(small)), everything(by_stage(races(small))[CONV])):
        assert f">{grid.title}</" in text
        cells = [(column.kind, cell) for row in grid.rows for column, cell in zip(grid.columns, row, strict=True)]
        expected = [
            (f"{kind} {cell.verdict}".strip(), "" if cell.value is None else f"{cell.value:.6g}", cell.marked)
            for kind, cell in cells
        ]
        first = shown.index(expected[0])
        assert any(shown[at : at + len(expected)] == expected for at in range(first, len(shown)))


def test_the_terminal_shows_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """In a console of one's own too, which takes them for markup unless they come as Text."""
    Console(width=100).print(to_rich(Grid([Column("[red]a")], [[Cell("[cuda13]")]], "[bold]title", "[link]note")))
    shown = capsys.readouterr().out
    assert [word in shown for word in ("[red]a", "[cuda13]", "[bold]title", "[link]note")] == [True] * 4


def test_page_escapes_what_results_say(tmp_path: Path) -> None:
    problem = select(["smoke"])[0]
    failed = record(problem, "forward", "jax", None, "<script>alert(1)</script>")
    wanted = Results({"processor": "<b>fast & furious"}, LIMIT, [record(problem, "forward", "torch", 1.0), failed])
    write_report(wanted, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "&lt;b&gt;fast &amp; furious" in text


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no contestant has a result"):
        write_report(Results({}, LIMIT, []), tmp_path)
