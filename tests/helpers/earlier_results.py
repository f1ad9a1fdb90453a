"""Small results of an earlier commit, in which the present code must find nothing to be done.

    python tests/helpers/earlier_results.py COMMIT FOLDER

Checks the commit out into a temporary folder and runs each of the studies in small_studies.py there
with its code, under the Python that runs this program. FOLDER then holds a folder of each study.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from places import REPOSITORY
from small_studies import SMALL_STUDIES, write_study

# The last commit of the library without folders, whose results all later code must accept.
EARLIER = "2c95d080d6ac2e1e3ce2714f9d16439326611f55"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("commit", help="of which the code makes the results")
    options.add_argument("folder", type=Path, help="folder to make")
    given = options.parse_args()
    make_results(given.commit, given.folder)


def make_results(commit: str, folder: Path) -> None:
    """Run every small study to its end with the code of a commit. Raises CalledProcessError."""
    require(commit)
    folder = folder.absolute()
    with tempfile.TemporaryDirectory() as temporary:
        code = Path(temporary, "code")
        code.mkdir()
        archive = subprocess.run(
            ["git", "-C", str(REPOSITORY), "archive", commit], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", str(code)], input=archive.stdout, check=True)
        for name in SMALL_STUDIES:
            write_study(name, folder / name)
            done = snakemake(code, folder / name)
            if done.returncode != 0:
                raise SystemExit(f"{name} failed with the code of {commit}:\n{done.stdout}")


def require(commit: str) -> None:
    """Raise SystemExit, with what to do, where the history here does not hold a commit."""
    kind = ["git", "-C", str(REPOSITORY), "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(kind, capture_output=True, check=False).returncode != 0:
        raise SystemExit(
            f"the history here does not hold commit {commit}: in a shallow clone, get it with "
            "`git fetch --unshallow`"
        )


def snakemake(code: Path, study: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow of a code on the study in a folder; its output stands in `stdout`."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(code / "Snakefile")]
    command += ["--workflow-profile", str(code / "profiles" / "default"), "--cores", "2"]
    return subprocess.run(
        [*command, "--configfile", "config.yaml", *options],
        cwd=study,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    main()
