"""The page as a file: what is on it, where its previews are, and that nothing of a run gets out of its place."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import gallery_runs
import polars as pl
import pytest
import qa_runs
from click.testing import CliRunner

from colcap.cli import cli
from colcap.errors import ColcapError, QueryError
from colcap.qa.gallery import Count, gallery
from colcap.qa.gallery.rows import choose
from colcap.run_folder import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gallery_runs.small(tmp_path_factory.mktemp("gallery") / "run")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


class Elements(HTMLParser):
    """Every start tag of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def windows(run: Path, where: str | None = None, limit: int = 2000) -> list[str]:
    return [card.window_id or card.clip_id for card in choose(run, where=where, limit=limit).cards]


def test_a_card_for_each_window_and_each_clip_without(run: Path) -> None:
    result = windows(run)

    assert len(result) == len(gallery_runs.TEXTS) + 1
    assert result[2:6] == ["broken", "clip-harbour:00000", "clip-harbour:00001", "clip-street:00000"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("finish_reason = 'length'", ["clip-street:00002"]),
        ("status = 'error'", ["broken", "clip-harbour:00001"]),
        ("error_kind = 'unreadable'", ["broken"]),
        ("caption ilike '%van%' and start_s < 8", ["clip-street:00000"]),
        ("camera = 'broken' -- the manifest's own", ["broken"]),
        ("window_id in (select window_id from enhanced_latest)", ["clip-street:00001"]),
        ("warning is not null", ["clip-street:00001"]),
        ("false", []),
    ],
)
def test_where_is_sql_over_everything(run: Path, where: str, expected: list[str]) -> None:
    assert windows(run, where) == expected


def test_only_sets_that_match_are_shown(run: Path) -> None:
    (card,) = choose(run, where="caption_set = 'terse' and window_index = 2").cards

    assert [said.caption_set for said in card.said] == ["terse"]


@pytest.mark.parametrize(
    "where",
    [
        "(",
        "nonsense",
        "1) ; copy clips to 'x.csv' --",
        "exists (from read_text('/etc/passwd'))",
        "true) from clips --; (",
        ";",
    ],
)
def test_a_condition_only_reads_the_run(run: Path, page: Path, where: str) -> None:
    with pytest.raises(QueryError):
        gallery(run, page, where=where)

    assert not page.exists()


def test_the_limit_is_told(run: Path, page: Path) -> None:
    result = gallery(run, page, limit=3)

    assert (result.shown, result.total) == (Count(2, 1), Count(7, 1))
    told = "The first 2 windows, 1 clip without windows, of 7 windows, 1 clip without windows that match."
    assert told in page.read_text()


def test_any_run_has_a_page(any_run: Path, page: Path) -> None:
    result = gallery(any_run, page)

    assert result.shown == result.total
    clips = pl.read_parquet(any_run / "clips").height if (any_run / "clips").is_dir() else 0
    windows = pl.read_parquet(any_run / "windows").height if clips else 0
    assert result.total == Count(windows, clips and 1)
    assert ("This run has no clips yet." in page.read_text()) == (not clips)


def test_nothing_of_a_run_becomes_an_element(run: Path, page: Path) -> None:
    gallery(run, page, where="true /* <script>alert(1)</script> */")

    text = page.read_text()
    tags = Elements(text).tags

    assert [attrs for tag, attrs in tags if tag in {"script", "style"}] == [{}, {}]
    assert all(attrs["src"].startswith("data:image/webp;base64,") for tag, attrs in tags if tag == "img")  # type: ignore[union-attr]
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on") or name == "style"]
    assert {tag for tag, _ in tags}.isdisjoint({"iframe", "object", "embed", "link", "base", "svg"})
    assert html.escape(gallery_runs.SCRIPT, quote=False).replace("'", "&#39;").replace('"', "&#34;") in text
    assert not re.search(r"[\x00-\x08\x1b]", text)


def test_the_policy_lets_nothing_in_but_our_script_and_previews(run: Path, page: Path) -> None:
    gallery(run, page)

    (policy,) = [
        attrs["content"]
        for _, attrs in Elements(page.read_text()).tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]

    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_few_previews_are_in_the_page(run: Path, page: Path) -> None:
    result = gallery(run, page)

    assert result.folder is None
    assert [path.name for path in page.parent.iterdir()] == [page.name]


def test_many_previews_are_in_a_folder_beside_it(tmp_path: Path) -> None:
    run = gallery_runs.large(tmp_path / "run", windows=40, size=300_000)
    page = tmp_path / "a b#?.html"

    result = gallery(run, page)

    assert result.folder == tmp_path / "a b#?_files"
    assert len(list(result.folder.iterdir())) == 40
    sources = [attrs["src"] for tag, attrs in Elements(page.read_text()).tags if tag == "img"]
    assert len(sources) == 40
    assert all(re.fullmatch(r"a%20b%23%3F_files/[0-9a-f]{24}\.webp", source or "") for source in sources)


def test_a_new_page_takes_only_its_own_previews_away(tmp_path: Path) -> None:
    run = gallery_runs.large(tmp_path / "run", windows=40, size=300_000)
    folder = tmp_path / "page_files"
    folder.mkdir()
    (folder / "mine.webp").write_bytes(b"keep")
    (folder / f"{'0' * 24}.webp").write_bytes(b"of an older page")

    gallery(run, tmp_path / "page.html")

    assert (folder / "mine.webp").exists()
    assert not (folder / f"{'0' * 24}.webp").exists()


def test_what_is_no_webp_is_left_out(tmp_path: Path, page: Path) -> None:
    run = qa_runs.write(tmp_path / "run", qa_runs.full())  # its previews are texts

    gallery(run, page)

    assert "<img" not in page.read_text()


def test_a_page_that_cannot_be_written_is_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ColcapError, match="cannot write"):
        gallery(run, tmp_path / "file" / "page.html")


def test_the_method_and_the_command(run: Path, page: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.html"

    result = CliRunner().invoke(cli, ["gallery", str(run), "--where", "window_index = 0", "-o", str(page)])

    assert result.exit_code == 0, result.output
    assert "3 windows, in" in result.output
    assert Run(run).gallery(other, where="window_index = 0") == other
    assert other.read_text() == page.read_text()
    assert CliRunner().invoke(cli, ["gallery", str(run), "--where", "nope", "-o", str(page)]).exit_code != 0
