"""The config that a run began with, as its jobs read it."""

import yaml

from ddpm_bench.config.loading import frozen_config


def test_a_config_is_written_once_and_reads_as_it_was(tmp_path):
    raw = {"results_dir": "results", "experiments": {"b": {"x": 2e-4}, "a": {"name": "Ä: #1"}}}
    path = frozen_config(raw, tmp_path)
    assert yaml.safe_load(path.read_text()) == raw
    assert list(yaml.safe_load(path.read_text())["experiments"]) == ["b", "a"]
    written = path.stat().st_mtime_ns
    assert frozen_config(raw, tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert frozen_config({**raw, "results_dir": "other"}, tmp_path) != path
    assert len(list(tmp_path.iterdir())) == 2
