"""Records of jobs beside their outputs: where they lie, and which inputs differ from them."""

from pathlib import Path

import pytest

from ddpm_bench.records import job_record
from ddpm_bench.records.job_record import JobRecord, JobRecords, new_number
from ddpm_bench.records.rule_files import OUTPUTS, job_of_file

SAMPLES = "small/samples/dpm4/step-00000020/images-000000-000031.npy"


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("results", f"results/{SAMPLES}"),
        ("/scratch/mine", f"/scratch/mine/{SAMPLES}"),
        ("out/a", f"out/a/{SAMPLES}"),
    ],
)
def test_files_have_the_same_name_wherever_the_results_lie(root, path):
    records = JobRecords(root, "downloads")
    assert records.name(path) == f"results/{SAMPLES}"
    assert records.path(f"results/{SAMPLES}") == path
    assert records.name("downloads/datasets/digits.json") == "resources/datasets/digits.json"
    assert records.name("/elsewhere/weights.pth") == "/elsewhere/weights.pth"
    # One record for both outputs of the job.
    assert records.file(path) == Path(path).with_name(".images-000000-000031.npy.made")
    assert records.file(path.replace(".npy", ".json")) == records.file(path)
    assert records.file(path.replace(".npy", ".txt")) is None


def test_the_job_of_every_output_is_found():
    values = {"step": "00000020", "first": "00000000", "last": "00000020"}
    images = {"first": "000000", "last": "000031"}
    for rule, patterns in OUTPUTS.items():
        for pattern in patterns:
            names = {**values, **(images if "images-{first}" in pattern else {})}
            other = {
                name: "x"
                for name in (
                    "dataset",
                    "experiment",
                    "autoencoder",
                    "samples",
                    "score",
                    "space",
                    "fetched",
                )
            }
            every = {**other, "split": "train", "sweep": "x", "cell": "x", **names}
            found = job_of_file(pattern.format(**every))
            assert found is not None
            assert found.rule == rule
            assert pattern.format(**every) in found.outputs


@pytest.fixture
def records(tmp_path, monkeypatch) -> JobRecords:
    monkeypatch.chdir(tmp_path)
    return JobRecords("results", "resources")


def made(records: JobRecords, path: str, content: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)
    record = JobRecord(rule="any", params={}, inputs={}, made=new_number())
    record.write(records.file(path))


def test_an_input_differs_when_its_job_ran_again_or_its_size_changed(records):
    path = "results/datasets/digits/train.npy"
    made(records, path, "images")
    noted = records.input(path)
    assert not records.differs(path, noted)

    Path(path).touch()  # as a copy has it: another time, the same file
    assert not records.differs(path, noted)

    Path(path).write_text("other images")
    assert records.differs(path, noted)

    made(records, path, "pixels")  # by another run of its job, with the same size
    assert records.differs(path, noted)

    made(records, path, "images")  # alike
    assert not records.differs(path, noted)


def test_a_large_input_that_was_made_anew_differs_whatever_it_holds(records, monkeypatch):
    monkeypatch.setattr(job_record, "LARGEST_HASHED_OF_JOBS", 3)
    path = "results/datasets/digits/train.npy"
    made(records, path, "images")
    noted = records.input(path)
    assert not records.differs(path, noted)
    made(records, path, "images")
    assert records.differs(path, noted)


def test_an_input_that_no_job_made_differs_by_its_content(records):
    Path("statistics.npz").write_text("one")
    noted = records.input("statistics.npz")
    assert not records.differs("statistics.npz", noted)
    Path("statistics.npz").write_text("two")
    assert records.differs("statistics.npz", noted)


def test_an_input_that_has_gone_or_lost_its_record_does_not_differ(records):
    path = "results/datasets/digits/train.npy"
    made(records, path, "images")
    noted = records.input(path)
    records.file(path).unlink()
    assert not records.differs(path, noted)
    Path(path).unlink()
    assert not records.differs(path, noted)


def test_a_damaged_record_counts_as_none(records):
    path = "results/datasets/digits/train.npy"
    made(records, path, "images")
    whole = records.file(path).read_text()
    records.file(path).write_text(whole[: len(whole) // 2])
    assert records.read(path) is None
