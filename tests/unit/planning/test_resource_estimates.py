"""What jobs ask for follows from the config, and from earlier jobs that did the same work."""

import copy
from pathlib import Path

import pytest
import yaml
from measured_results import write_benchmark, write_score, write_timing, write_training
from places import REPOSITORY
from snakemake.resources import Resources

from ddpm_bench.config.benchmark import Cell
from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning.benchmark_cells import cells
from ddpm_bench.planning.earlier_jobs import EarlierJobs
from ddpm_bench.planning.memory_estimates import MEASURED_MARGIN
from ddpm_bench.planning.resource_estimates import ResourceEstimates, longest_job

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
DAY = 1440  # minutes


@pytest.fixture
def config_of(tmp_path):
    """Makes the demo's config with other keys of its experiment, and a twin of it under `twin`."""

    def made(twin=False, model=None, image_size=16, samples=None, **train):
        raw = copy.deepcopy(DEMO)
        raw["results_dir"], raw["resources_dir"] = str(tmp_path / "results"), str(tmp_path)
        raw["datasets"]["digits"]["image_size"] = image_size
        experiment = raw["experiments"]["digits"]
        experiment["train"].update(train)
        experiment["model"].update(model or {})
        experiment["samples"]["dpm20"].update(samples or {})
        if twin:
            raw["experiments"]["twin"] = copy.deepcopy(experiment)
            raw["experiments"]["twin"]["train"]["seed"] = 1
        return check_config(raw)

    return made


# Memory, before anything was measured


@pytest.mark.parametrize(
    "larger",
    [
        {"model": {"dim": 128}},
        {"image_size": 64},
        {"batch_size": 512},
        {"run": {"gpus": 2}},
        {"ema_sigma_rels": [0.05, 0.1], "model": {"dim": 128}},
    ],
    ids=str,
)
def test_larger_work_asks_for_more_memory(config_of, larger):
    assert ResourceEstimates(config_of(**larger)).training_mb("digits") > ResourceEstimates(
        config_of()
    ).training_mb("digits")


def test_micro_batches_ask_for_less(config_of):
    whole, parts = (
        ResourceEstimates(config_of(batch_size=512, run=run)).training_mb("digits")
        for run in ({}, {"micro_batch_size": 32})
    )
    assert parts < whole


def test_a_second_attempt_asks_for_twice_as_much(config_of):
    needs = ResourceEstimates(config_of(), DAY)
    assert needs.training_mb("digits", 2) == 2 * needs.training_mb("digits")
    assert needs.sampling_mb("digits", "dpm20", 3) == 3 * needs.sampling_mb("digits", "dpm20")


def test_scores_of_many_images_ask_for_more(config_of):
    few, many = (
        ResourceEstimates(config_of(samples={"images": images})).scoring_mb(
            "digits", "classifier", "dpm20"
        )
        for images in (128, 512_000)
    )
    assert many > few


def test_decoding_holds_an_image_of_the_largest_size_for_each_process(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    folder = {"kind": "folder", "path": str(tmp_path)}
    raw["datasets"]["digits"] |= {"source": folder, "max_megapixels": 100, "run": {"cpus": 8}}
    large = ResourceEstimates(check_config(raw)).preparing_mb("digits")
    raw["datasets"]["digits"]["max_megapixels"] = 1
    assert large - ResourceEstimates(check_config(raw)).preparing_mb("digits") > 8 * 99 * 3


# Memory and time, measured


def test_finished_jobs_say_how_much_memory_the_next_one_needs(config_of):
    config = config_of()
    write_training(config, "digits", [100.0] * 5)
    for first, mebibytes in ((0, 3000), (600, 4000)):
        name = f"digits.{first:08}-{first + 600:08}"
        write_benchmark(config, "train", name, seconds=60, mebibytes=mebibytes)
    asked = ResourceEstimates(config).training_mb("digits")
    assert asked == pytest.approx(MEASURED_MARGIN * 4000 * 2**20 / 1e6, rel=0.1)


def test_steps_of_a_training_say_how_long_the_next_job_takes(config_of):
    config = config_of()
    write_training(config, "digits", [1.0, *[64.0] * 9])  # the first has compilation in it
    assert EarlierJobs(config).seconds_per_step("digits") == 1.0
    minutes = ResourceEstimates(config, DAY).training_minutes("digits", 6000)
    assert 100 < minutes < 200
    assert ResourceEstimates(config, DAY).training_minutes("digits", 6000, attempt=2) > minutes


def test_nobody_asks_for_more_time_than_the_site_has(config_of):
    config = config_of()
    write_training(config, "digits", [64.0] * 9)
    assert ResourceEstimates(config, DAY).training_minutes("digits", 10**6, attempt=3) == DAY


def test_time_that_nobody_knows_is_the_longest_of_the_site(config_of):
    config = config_of()
    assert ResourceEstimates(config, DAY).training_minutes("digits", 600) == DAY
    assert (
        ResourceEstimates(config, DAY).minutes_as("score", "digits", "classifier", "dpm20") == DAY
    )
    assert ResourceEstimates(config).training_minutes("digits", 600) is None


def test_those_who_share_a_job_ask_for_no_more_than_the_site_has_together(config_of):
    config = config_of(samples={"run": {"checkpoints_per_job": 4}})
    assert ResourceEstimates(config, DAY).sampling_minutes("digits", "dpm20", 512) == DAY // 4


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {"dim": 32}},
        {"batch_size": 32},
        {"precision": "bf16"},
        {"image_size": 32},
        {"run": {"gpus": 2}},
        {"run": {"micro_batch_size": 8}},
    ],
    ids=str,
)
def test_other_work_is_not_told_what_this_one_needed(config_of, changed):
    config = config_of()
    write_training(config, "digits", [64.0] * 9)
    write_benchmark(config, "train", "digits.00000000-00000600", 600, 9000)
    assert EarlierJobs(config).jobs("train", "digits")
    other = EarlierJobs(config_of(**changed))
    assert other.seconds_per_step("digits") is None
    assert other.jobs("train", "digits") == []


def test_an_experiment_that_does_the_same_work_serves(config_of):
    config = config_of(twin=True)
    write_training(config, "twin", [64.0] * 9)
    write_timing(config, "twin", "dpm20", 300)
    measured = EarlierJobs(config)
    assert measured.seconds_per_step("digits") == 1.0
    assert measured.seconds_per_image("digits", "dpm20") == 0.5


def test_names_that_end_in_numbers_are_not_mixed_up(config_of):
    config = config_of()
    write_training(config, "digits", [64.0] * 9)
    write_benchmark(config, "sample", "digits.dpm20.00000300.000000-000511", 10, 1000)
    write_benchmark(config, "sample", "digits.dpm20.2.00000300.000000-000511", 99, 9999)
    write_timing(config, "digits", "dpm20", 300)
    ((seconds, _),) = EarlierJobs(config).sampling_jobs("digits", "dpm20")
    assert seconds == 10


def test_jobs_of_another_size_say_nothing(config_of):
    config = config_of()
    write_training(config, "digits", [64.0] * 9)
    write_timing(config, "digits", "dpm20", 300)
    write_score(config, "digits", "classifier", "dpm20", 300)
    write_benchmark(config, "sample", "digits.dpm20.00000300.000000-000511", 10, 1000)
    write_benchmark(config, "score", "digits.classifier.dpm20.00000300", 20, 2000)
    assert EarlierJobs(config).sampling_jobs("digits", "dpm20")
    assert EarlierJobs(config).scoring_jobs("digits", "classifier", "dpm20")
    other = EarlierJobs(config_of(samples={"batch_size": 256, "images": 5120}))
    assert other.sampling_jobs("digits", "dpm20") == []
    assert other.scoring_jobs("digits", "classifier", "dpm20") == []


def test_images_drawn_in_another_way_say_nothing(config_of):
    config = config_of()
    write_training(config, "digits", [64.0] * 9)
    write_timing(config, "digits", "dpm20", 300)
    assert EarlierJobs(config).seconds_per_image("digits", "dpm20") == 0.5
    other = config_of(samples={"steps": 50})
    assert EarlierJobs(other).seconds_per_image("digits", "dpm20") is None


def test_files_that_are_being_written_are_passed_over(config_of):
    config = config_of()
    write_training(config, "digits", [64.0] * 9)
    progress = next(Path(config.results_dir).rglob("progress.jsonl"))
    progress.write_text(progress.read_text() + '{"event": "trai')
    write_timing(config, "digits", "dpm20", 300)
    next(Path(config.results_dir).rglob("images-*.json")).write_text("{")
    short = Path(config.results_dir, "logs", "train", "digits.00000000-00000600.benchmark.tsv")
    short.parent.mkdir(parents=True)
    short.write_text("s\th:m:s\tmax_rss\n0.01\t0:00:00\t-\n")
    measured = EarlierJobs(config)
    assert measured.seconds_per_step("digits") == 1.0
    assert measured.seconds_per_image("digits", "dpm20") is None
    assert measured.jobs("train", "digits") == []


def as_snakemake_reads(*given: str) -> Resources:
    """The default resources that a command line or a profile gives."""
    return Resources.parse(list(given), allow_expressions=True, defaults="full")


@pytest.mark.parametrize(("given", "minutes"), [(["runtime=720"], 720), (["runtime=2h"], 120)])
def test_the_sites_wall_time_is_that_of_the_profile(given, minutes):
    assert longest_job(as_snakemake_reads(*given)) == minutes
    assert longest_job({"runtime": minutes}) == minutes


@pytest.mark.parametrize("given", [[], ["mem_mb=4000"], ["mem_mb=4000", "slurm_partition=cpu"]])
def test_default_resources_without_runtime_set_no_limit(given):
    assert longest_job(as_snakemake_reads(*given)) is None
    assert longest_job(Resources.from_mapping({})) is None
    assert longest_job({}) is longest_job(None) is None


@pytest.mark.parametrize("runtime", ["0", "attempt*60", "long"])
def test_a_wall_time_that_is_no_number_of_minutes_is_refused(runtime):
    with pytest.raises(UserError, match=r"runtime is .*no number.*leave runtime out"):
        longest_job(as_snakemake_reads(f"runtime={runtime}"))


# Cells of the benchmark, which have any model


def cell_needs(longest: int | None = None, **keys) -> tuple[ResourceEstimates, Cell]:
    """The needs of a benchmark, and its largest cell: two processes."""
    grid = {"models": {"r": {"name": "resnet18"}}, "processes": [2], "baselines": False, **keys}
    config = check_config({"benchmark": grid})
    return ResourceEstimates(config, longest), cells(config.benchmark)[-1]


def test_a_cell_asks_for_the_memory_of_its_processes():
    needs, cell = cell_needs()
    assert 2 * 4000 < needs.cell_mb(cell) < 2 * 4000 + 500
    assert needs.cell_mb(cell, attempt=2) == 2 * needs.cell_mb(cell)
    more, cell = cell_needs(memory_mb_per_process=10_000)
    assert 2 * 10_000 < more.cell_mb(cell) < 2 * 10_000 + 500
    # What a GPU is held to is not what the host needs.
    less, cell = cell_needs(memory_mb_per_process=1000)
    assert less.cell_mb(cell) == needs.cell_mb(cell)


def test_a_cell_has_time_to_end_itself_within_what_the_site_takes():
    assert cell_needs()[0].cell_minutes() is None
    minutes = cell_needs(longest=DAY, run={"minutes_per_cell": 20})[0].cell_minutes()
    assert 20 < minutes <= 25
    short = cell_needs(longest=15, run={"minutes_per_cell": 20})[0]
    assert short.cell_minutes() == 15
    assert 10 < short.cell_run().minutes_per_cell < 15
    unbound = cell_needs(run={"minutes_per_cell": 20})[0]
    assert unbound.cell_run().minutes_per_cell == 20
