"""Reading of config files: what YAML overlooks is refused with its lines, and nothing crashes."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from places import REPOSITORY, SCRIPTS

from ddpm_bench.config.loading import check_config, read_config
from ddpm_bench.config.reading import read_plain
from ddpm_bench.errors import UserError
from ddpm_bench.runs.modules import checked_config

DEMO = (REPOSITORY / "config" / "config.yaml").read_text()


def refusal(tmp_path, content: str | bytes) -> str:
    """Return the message with which a file of this content is refused."""
    path = tmp_path / "my.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_config(path)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").rglob("*.yaml")), ids=str)
def test_files_of_the_project_are_read_as_yaml_reads_them(path):
    assert read_plain(path) == yaml.safe_load(path.read_text())
    assert read_config(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "a: is given twice, in lines 1 and 3; keep one"),
        ("a: {b: 1,\n  c: {d: 1, d: 1}}\n", "a.c.d: is given twice, in lines 2 and 2"),
        ("a: 1\na: 1\na: 1\n", "a: is given twice, in lines 1, 2 and 3"),
        ("- {a: 1}\n- {b: 1, \n b: 2}\n", "1.b: is given twice, in lines 2 and 3"),
        ("x: &x {a: 1, a: 2}\ny: *x\n", "x.a: is given twice, in lines 1 and 1"),
        ("x: &x {a: 1}\ny: {<<: *x, <<: *x}\n", "y.<<: is given twice, in lines 2 and 2; write"),
        ('{"a": 1,\n\t"a": 2}', "a: is given twice, in lines 1 and 2"),
        ("datasets: {2020: {}}", "datasets.2020 (line 1): a name must be text, and YAML reads this "
         'one as a number; quote it: "2020"'),
        ("experiments:\n  no: {}", "experiments.no (line 2): a name must be text, and YAML reads"),
        ("a:\n  2020-01-01: 1", 'a.2020-01-01 (line 2): a name must be text'),
        ("a:\n  dataset: 2020-01-01", "a.dataset (line 2) = 2020-01-01: YAML reads this as a date; "
         'quote it: "2020-01-01"'),
        ("a: 2020-13-45", "a (line 1) = 2020-13-45: YAML reads this as a date"),
        ("a:\n  {x}: 1", "a (line 2): a list or block stands where a key belongs; quote text"),
        ("a: " + "9" * 5000, "a (line 1): is a number of 5000 characters; shorten it"),
        ("a: &a [1, *a]", "line 1: an anchor (&) holds an alias (*) of itself; remove it"),
        (b"a: 1\nb: r\xe9s\n", "my.yaml, line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a: é".encode("utf-16"), "from UTF-16 for example with: iconv -f utf-16 -t utf-8"),
        ("a: 1\n\0", "my.yaml, line 2: has the character '\\x00'; remove it"),
        ("{a: " * 3000 + "1" + "}" * 3000, "line 1: is nested more than 40 levels deep"),
        ("[" * 100_000, "is nested more than 40 levels deep"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "line 1: is nested more than 40 levels deep"),
        ("# x\n" * 300_000, "has more than 1,000,000 bytes, which no config needs"),
        ("a: [1,\nb: 2\n", "my.yaml, line 3, column 1: is not valid YAML"),
        ("a:\n\t- 1\n", "my.yaml, line 2, column 1: is not valid YAML"),
        ("a: !!python/object:os.system 1", "is not valid YAML: could not determine a constructor"),
        ("", "must be a mapping of keys such as `datasets` and `experiments`"),
        ("[1]", "must be a mapping of keys"),
    ],
)  # fmt: skip
def test_what_yaml_overlooks_is_refused_with_its_line(tmp_path, content, expected):
    assert expected in refusal(tmp_path, content)


def test_merge_keys_and_anchors_are_no_repeated_keys(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(
        "a: &a {x: 1, y: 2}\nb: &b {y: 3}\nc: {<<: *a, y: 4}\nd: {<<: [*a, *b], x: 5}\n"
        "e: *a\nf: [*a, *a]\n"
    )
    data = read_plain(path)
    assert data["c"] == {"x": 1, "y": 4} and data["d"] == {"x": 5, "y": 2}
    assert data["e"] == {"x": 1, "y": 2}


def test_json_is_read_as_json(tmp_path):
    """As Snakemake reads it: 1e5 is a number there, and a tab a blank."""
    path = tmp_path / "my.json"
    path.write_text('{\n\t"a": 1e5, "b": "\\ud83d\\ude00"}')
    assert read_plain(path) == {"a": 1e5, "b": "😀"}


def test_an_anchor_that_multiplies_its_content_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 7)]
    assert "has more than 100,000 values" in refusal(tmp_path, "\n".join(lines))


def test_data_that_no_file_holds_are_refused_with_their_key():
    """Of Snakemake's own loader and `--config`, or of a workflow that uses this one as a module."""
    loop: dict = {}
    loop["a"] = loop
    for raw, expected in (
        ({"datasets": {2020: {}}}, "datasets.2020: a name must be text"),
        (
            {"datasets": {None: {}}},
            "datasets.None: a name must be text, and YAML reads this one as",
        ),
        ({"defaults": {"x": {1, 2}}}, "defaults.x = {1, 2}: must be text, a number"),
        ({"defaults": loop}, "has more than 100,000 values"),
        ({"defaults": {"x": float("nan")}}, "defaults.x = nan: must be finite"),
        ({"results_dir": "a\0b"}, "results_dir = 'a\\x00b': text cannot have this character"),
        ({"results_dir": "\ud800"}, "results_dir = '\\ud800': text cannot have this character"),
        (
            {"experiments": {f"e{n}": {} for n in range(999)}, "defaults": {"x": [0] * 999}},
            "100,000",
        ),
    ):
        with pytest.raises(UserError) as caught:
            check_config(raw)
        assert expected in str(caught.value)


def workflow(tmp_path, *contents: str, given: tuple[str, ...] = ()) -> SimpleNamespace:
    """Return what is used of Snakemake's workflow with these config files and `--config`."""
    files = []
    for index, content in enumerate(contents):
        files.append(tmp_path / f"{index}.yaml")
        files[-1].write_text(content)
    return SimpleNamespace(
        modifier=SimpleNamespace(namespace=None),
        configfiles=files[:1],
        overwrite_configfiles=files,
        config_settings=SimpleNamespace(config_args=list(given)),
        is_main_process=True,
    )


def test_snakemakes_main_process_refuses_what_its_loader_overlooks(tmp_path):
    raw = yaml.safe_load(DEMO)
    twice = "results_dir: there\nresults_dir: here\n"
    for found, expected in (
        (workflow(tmp_path, DEMO, twice), "1.yaml:\n  results_dir: is given twice, in lines 1 and"),
        (workflow(tmp_path, DEMO, given=("a=1", "a=2")), "--config a: is given twice; keep one"),
    ):
        with pytest.raises(UserError) as caught:
            checked_config(found, raw, REPOSITORY)
        assert expected in str(caught.value)
    # A later file may change keys of an earlier one.
    overlaid = workflow(tmp_path, DEMO, "results_dir: there\n", given=("results_dir=elsewhere",))
    assert checked_config(overlaid, raw, REPOSITORY)
    with pytest.raises(UserError, match=r"0.yaml with .*1.yaml with results_dir=elsewhere has 1"):
        checked_config(overlaid, {**raw, "results_dir": 2020}, REPOSITORY)


HOSTILE = """
import json, resource, sys
from pathlib import Path
megabytes, seconds, *files = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_DATA, (int(megabytes) * 10**6,) * 2)
sys.path.insert(0, "commands")
from command import run
from ddpm_bench.config.loading import read_config
from ddpm_bench.errors import UserError
import time
for file in files:
    before = time.process_time()
    try:
        read_config(Path(file))
    except UserError:
        pass
    spent = time.process_time() - before
    print(json.dumps([file, spent]))
    assert spent < float(seconds), file
"""


def hostile_configs() -> dict[str, dict]:
    """Return configs that take long to check if values are listed before they are limited."""

    def demo(**changes) -> dict:
        raw = yaml.safe_load(DEMO)
        experiment = raw["experiments"]["digits"]
        for path, value in changes.items():
            *blocks, last = path.split("__")
            block = experiment
            for key in blocks:
                block = block.setdefault(key, {})
            block[last] = value
        return raw

    many = {f"name-{n}": {"dataset": f"nome-{n}"} for n in range(4000)}
    swept = {"sweep": {"keys": {"train.seed": list(range(249))}}}
    drawn = {f"train.{key}": list(range(1, 400)) for key in ("seed", "batch_size", "steps")}
    return {
        "batch": demo(train__batch_size=2 * 10**9, train__run={"gpus": 7}),
        "micro": demo(train__batch_size=2**20, train__run={"micro_batch_size": 2**20 - 1}),
        "timesteps": demo(samples__dpm20={"images": 9, "timesteps": [
            {"from": 2 * 10**8, "to": 0, "every": 1}]}),
        "ranges": demo(samples__dpm20={"images": 9, "timesteps": [
            {"from": 999, "to": 0, "every": 1}] * 3000}),
        "checkpoints": demo(train={"steps": 3 * 10**8, "checkpoint_every": 30, "batch_size": 8}),
        "steps": demo(train={"steps": 10**30, "checkpoint_every": 1, "batch_size": 10**30}),
        "unknown": {"datasets": {}, "experiments": many},
        "wrong": {"experiments": {"e": {"dataset": list(range(50_000))}}},
        "keys": {"experiments": {f"e{n}": {f"k{m}": 0 for m in range(90)} for n in range(200)}},
        "sweeps": {**demo(), "experiments": {f"e{n}": swept for n in range(150)}},
        "draws": demo(sweep={"method": "random", "count": 250, "keys": drawn}),
        "few": demo(sweep={"method": "random", "count": 250, "keys": {
            f"train.{n}": [list(range(1000))] for n in range(19)}}),
        "values": demo(sweep={"keys": {"train.seed": list(range(50_000))}}),
        "grid": {"benchmark": {"models": {"m": {"name": "resnet18"}}, **{
            key: list(range(1, 2000)) for key in ("batch_size", "processes", "nodes")}}},
        "long": {"experiments": {"x" * 400_000: {"y" * 400_000: "z" * 100_000}}},
    }  # fmt: skip


def test_no_config_takes_the_checker_more_than_five_seconds_or_500_megabytes(tmp_path):
    files = []
    for name, raw in hostile_configs().items():
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(json.dumps(raw))
    command = [sys.executable, "-c", HOSTILE, "500", "5", *map(str, files)]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(files)
