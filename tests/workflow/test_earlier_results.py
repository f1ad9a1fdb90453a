"""Results that an earlier commit made stand: the present code finds nothing to be done in them."""

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


@pytest.mark.parametrize("name", SMALL_STUDIES)
def test_nothing_is_to_be_done_in_earlier_results(earlier, tmp_path, name):
    study = shutil.copytree(earlier / name, tmp_path / name, symlinks=True)
    done = snakemake(REPOSITORY, study)
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in done.stdout, done.stdout
