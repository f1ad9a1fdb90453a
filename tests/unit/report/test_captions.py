from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from places import REPOSITORY
from snakemake.report import Category

CAPTIONS = sorted((REPOSITORY / "workflow" / "report").glob("*.rst"))
WILDCARDS = {
    "experiment": "a_b_",
    "dataset": "d.1",
    "samples": "dpm_20",
    "score": "inception_",
    "step": "00075000",
    "sweep": "s_w_",
}


CONFIG = {
    "defaults": {"dataset": "d.1"},
    "experiments": {"a_b_": {}, "other": {"dataset": "cars"}, "bare": None},
}


def rendered(caption: Path, config: dict = CONFIG) -> str:
    """The caption's HTML as snakemake --report makes it; docutils' warnings are errors."""
    targets = "\n\n.. _Workflow: w\n.. _Statistics: s\n.. _Scores: c\n.. _All experiments: a\n"
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    source = environment.from_string(caption.read_text(encoding="utf-8") + targets).render(
        snakemake=SimpleNamespace(wildcards=SimpleNamespace(**WILDCARDS), config=config),
        categories={Category("Scores"): [], Category("All experiments"): []},
    )
    settings = {"report_level": 1, "halt_level": 2}
    return publish_parts(source, writer="html", settings_overrides=settings)["html_body"]


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
def test_captions_render_without_a_warning(caption):
    assert "<p>" in rendered(caption)


def test_captions_name_what_they_are_about():
    (folder,) = {path.parent for path in CAPTIONS}
    assert "<strong>a_b_</strong>" in rendered(folder / "fid.rst")
    grid = rendered(folder / "grid.rst")
    assert "<strong>dpm_20</strong>" in grid and "<strong>75000</strong>" in grid


def test_the_head_page_links_what_the_report_holds():
    page = rendered(CAPTIONS[0].parent / "workflow.rst")
    assert 'href="c"' in page and 'href="a"' in page
    assert "<strong>cars</strong>" in page and page.count("<strong>d.1</strong>") == 2


def test_the_head_page_of_a_benchmark_alone_names_no_experiments():
    page = rendered(CAPTIONS[0].parent / "workflow.rst", {"benchmark": {}})
    assert "Experiments:" not in page and 'href="c"' in page
    assert "<h1" in page and "how that scales" in page and "feature space" not in page
