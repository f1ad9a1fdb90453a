"""The layout of the results has the paths that the rules make."""

import os
from pathlib import Path

import pytest
from places import REPOSITORY
from snakemake.api import SnakemakeApi
from snakemake.io import strip_wildcard_constraints
from snakemake.settings.types import (
    ConfigSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
    WorkflowSettings,
)

from ddpm_bench.config.loading import read_config
from ddpm_bench.planning import jobs, targets
from ddpm_bench.records import layout
from ddpm_bench.records.rule_files import (
    MEASURED_JOBS,
    OTHER_JOBS,
    OUTPUTS,
    job_benchmark,
    log_file,
    names_of_measured_job,
)

DEMO = REPOSITORY / "config" / "config.yaml"
FETCHING = ("fetch", "fetch_inception")


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """The rules of the demo that make files, by name."""
    here, environment = Path.cwd(), dict(os.environ)
    try:
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=1),
                config_settings=ConfigSettings(configfiles=[DEMO]),
                storage_settings=StorageSettings(),
                workflow_settings=WorkflowSettings(),
                snakefile=REPOSITORY / "Snakefile",
                workdir=tmp_path_factory.mktemp("study"),
            )
            return {rule.name: rule for rule in workflow._workflow.rules if rule.output}
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(environment)


def plain(path) -> str:
    """A pattern of a rule without the constraints of its wildcards."""
    return strip_wildcard_constraints(str(path))


def test_the_rules_make_the_files_of_the_layout(rules):
    made = {name: [plain(path) for path in rule.output] for name, rule in rules.items()}
    roots = {name: "resources" if name in FETCHING else "results" for name in OUTPUTS}
    assert made == {
        name: [f"{roots[name]}/{pattern}" for pattern in patterns]
        for name, patterns in OUTPUTS.items()
    }


def test_the_rules_name_their_logs_and_benchmark_files_as_the_layout_does(rules):
    names = {**MEASURED_JOBS, **OTHER_JOBS}
    assert {name: [plain(path) for path in rule.log] for name, rule in rules.items()} == {
        name: [str(log_file("results", name, job))] for name, job in names.items()
    }
    measured = {name: plain(rule.benchmark) for name, rule in rules.items() if rule.benchmark}
    assert measured == {
        name: str(job_benchmark("results", name, job)) for name, job in MEASURED_JOBS.items()
    }


def test_each_target_of_the_demo_is_a_file_of_the_layout():
    config = read_config(DEMO)
    patterns = [layout.matcher(pattern) for made in OUTPUTS.values() for pattern in made]
    files = [
        *targets.targets(config),
        *jobs.all_sample_files(config, "digits"),
        *jobs.manifests(config, "digits"),
        *jobs.validations(config, "digits"),
        *jobs.score_files(config, "digits"),
    ]
    assert len(files) > 40
    unknown = [
        path
        for path in files
        if not any(pattern.fullmatch(path.removeprefix("results/")) for pattern in patterns)
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("path", "pattern", "parts"),
    [
        (
            layout.manifest("", "a.b", 0, 600),
            layout.MANIFEST,
            {"experiment": "a.b", "first": "00000000", "last": "00000600"},
        ),
        (
            layout.samples_file("", "a", "dpm20.2", 300, 0, 511),
            layout.SAMPLES,
            {
                "experiment": "a",
                "samples": "dpm20.2",
                "step": "00000300",
                "first": "000000",
                "last": "000511",
            },
        ),
        (
            layout.score_file("", "a", "classifier", "dpm", 300),
            layout.SCORE,
            {"experiment": "a", "score": "classifier", "samples": "dpm", "step": "00000300"},
        ),
    ],
)
def test_a_path_is_taken_apart_into_its_wildcards(path, pattern, parts):
    assert layout.matcher(pattern).fullmatch(str(path)).groupdict() == parts


def test_a_score_is_not_taken_for_its_distances():
    path = layout.nearest_file("", "a", "classifier", "dpm", 300)
    assert layout.matcher(layout.SCORE).fullmatch(str(path)) is None
    assert layout.matcher(layout.NEAREST).fullmatch(str(path))


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("digits.00000000-00000600.benchmark.tsv", "digits"),
        ("digits.2.dpm20.00000300.000000-000511.benchmark.tsv", "digits.2.dpm20"),
        ("digits.classifier.dpm20.00000300.benchmark.tsv", "digits.classifier.dpm20"),
        ("digits.benchmark.tsv", "digits"),
    ],
)
def test_the_names_of_a_job_stand_before_its_numbers(file, names):
    assert names_of_measured_job(file) == names
