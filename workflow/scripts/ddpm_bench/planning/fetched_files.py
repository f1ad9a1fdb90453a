"""Places of fetched datasets below resources_dir, which several configs may share."""

import ast
import base64
import json
from pathlib import Path
from typing import Any

from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.experiment import Config
from ddpm_bench.files import read_if_there, sha256_text
from ddpm_bench.records import layout
from ddpm_bench.records.datasets import FetchedFiles
from ddpm_bench.records.job_record import JobRecords

KEY_DIGITS = 8  # hexadecimal digits of the hash of a source
SNAKEMAKES_RECORDS = Path(".snakemake", "metadata")


def datasets_by_fetched_name(config: Config) -> dict[str, str]:
    """Return the name of each dataset by the name of its fetched files."""
    return {fetched_name(config, dataset): dataset for dataset in config.datasets}


def fetched_file(config: Config, dataset: str) -> Path:
    """Return the record of a dataset's fetched files (records/datasets.FetchedFiles)."""
    return layout.fetched_file(config.resources_dir, fetched_name(config, dataset))


def fetched_name(config: Config, dataset: str) -> str:
    """Return the name of a dataset's fetched files: the dataset's, and a hash of its source.

    Two configs that share resources_dir and give one name to two sources then have files each.
    Earlier versions fetched without a hash: that name stays where such files are of the source.
    """
    source = identity = what_keys(config.datasets[dataset].source)
    resources = config.resources_dir
    if "path" in source and Path(resources).is_absolute():
        # Two working folders that share resources_dir may have a folder of one name each.
        identity = {**source, "path": str(Path(source["path"]).absolute())}
    keyed = f"{dataset}-{sha256_text(canonical_json(identity))[:KEY_DIGITS]}"
    if layout.fetched_file(resources, keyed).exists():
        return keyed
    return dataset if _fetched_by_earlier_version(config, dataset, source) else keyed


def _fetched_by_earlier_version(config: Config, dataset: str, source: dict[str, Any]) -> bool:
    """Return True if there are files without a hash in their name, and they are of this source.

    Their record has the kind of the source alone. Snakemake's records have all keys; without them
    the files that this dataset was prepared from are taken for those of its source.
    """
    path = layout.fetched_file(config.resources_dir, dataset)
    known = _source_by_snakemake(path)
    if not path.exists():  # deleted for its room, or left behind when the results were moved
        if known is None:
            return _was_prepared_from(config, dataset, path, source["kind"])
        return known == source
    fetched = FetchedFiles.read_if_there(path)
    if fetched is None or fetched.kind != source["kind"]:
        return False
    if source.keys() == {"kind"}:
        return True
    if known is not None:
        return known == source
    return layout.dataset_summary(config.results_dir, dataset).exists()


def _was_prepared_from(config: Config, dataset: str, fetched: Path, kind: str) -> bool:
    """Return True if the record beside prepared images names these files, and this kind of source.

    Results that were moved without the downloads and Snakemake's records have no other sign.
    """
    records = JobRecords(config.results_dir, config.resources_dir)
    record = records.read(str(layout.prepared_images(config.results_dir, dataset, "train")))
    return (
        record is not None
        and records.name(str(fetched)) in record.inputs
        and record.params["what"].get("kind") == kind
    )


def _source_by_snakemake(path: Path) -> dict[str, Any] | None:
    """Return the source with which Snakemake had a record fetched; None if it has kept none."""
    name = base64.urlsafe_b64encode(str(path).encode()).decode()
    record = read_if_there(SNAKEMAKES_RECORDS / name)
    for text in record.get("params", []) if isinstance(record, dict) else []:
        try:
            keys = json.loads(ast.literal_eval(text))
            return dict(keys["source"])
        except (ValueError, SyntaxError, TypeError, KeyError):
            continue
    return None
