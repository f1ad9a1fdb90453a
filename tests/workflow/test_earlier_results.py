"""Results that an earlier commit made stand: the present code makes anew what has another version.

The versions of drawing samples and of training autoencoders have been raised since.
"""

import re
import shutil

import pytest
from earlier_results import EARLIER, make_results, snakemake
from places import REPOSITORY
from small_studies import SMALL_STUDIES

pytestmark = pytest.mark.long  # makes four small studies with the earlier code


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A folder of each small study, finished by the earlier commit."""
    folder = tmp_path_factory.mktemp("earlier") / "results"
    make_results(EARLIER, folder)
    return folder


FOLLOW_SAMPLES = {"sample", "sample_grid", "score", "collect", "compare", "costs"}
FIGURES = {
    "plot_samples", "plot_trajectory", "plot_scores", "plot_samplers", "plot_closest_pairs",
    "compare_hours", "plot_best_scores",
}  # fmt: skip
RUN_AGAIN = {
    "experiment": {*FOLLOW_SAMPLES, *FIGURES, "thin"},
    "latents": {
        *FOLLOW_SAMPLES, *(FIGURES - {"plot_samples"}), "train", "validate", "encode",
        "reconstruct", "plot_loss", "plot_reconstructions",
    },
    "sweep": {*FOLLOW_SAMPLES, "sweep"},
    "benchmark": set(),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL_STUDIES)
def test_what_has_another_version_runs_again_in_earlier_results_and_nothing_else(
    earlier, tmp_path, name
):
    study = shutil.copytree(earlier / name, tmp_path / name, symlinks=True)
    done = snakemake(REPOSITORY, study, "--dry-run")
    assert done.returncode == 0, done.stdout
    assert ("Nothing to be done" in done.stdout) == (not RUN_AGAIN[name]), done.stdout
    table = done.stdout.partition("Job stats:")[2].split("\n\n")[0]
    rules = {rule for rule, _ in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
    assert rules - {"all", "total"} == RUN_AGAIN[name]
