"""Messages for wrong values: our own words, with the remedy, for all that pydantic finds."""

import copy
import typing
from argparse import ArgumentTypeError

import pytest
import yaml
from places import REPOSITORY
from pydantic_core import PydanticCustomError, PydanticKnownError
from pydantic_core.core_schema import ErrorType

from ddpm_bench.cli import keys
from ddpm_bench.config import messages
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.loading import check_config
from ddpm_bench.config.training import TrainStage
from ddpm_bench.errors import UserError
from ddpm_bench.scoring.options import option_fields, score_keys

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def message(path: str, value) -> str:
    """Return the line with which the demo is refused that has this value at a path of keys."""
    raw = copy.deepcopy(DEMO)
    block = raw
    *parents, last = path.split("/")
    for key in parents:
        block = block.setdefault(key, {})
    block[last] = value
    with pytest.raises(UserError) as caught:
        check_config(raw)
    return "\n".join(str(caught.value).splitlines()[1:-1])


FIELDS = option_fields()
TRAIN, MODEL = "experiments/digits/train", "experiments/digits/model"
SWEEP = "experiments/digits/sweep"
SAMPLES, SCORE = "experiments/digits/samples/dpm20", "experiments/digits/scores/classifier"
UNET = {"name": "unet2d", "block_out_channels": [32, 64]}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (f"{TRAIN}/batch_size", "1e5", "batch_size = '1e5': must be a whole number; write 100000"),
        (f"{TRAIN}/batch_size", "1,000", "write 1000"),
        (f"{TRAIN}/batch_size", 2.5, "train.batch_size = 2.5: must be a whole number"),
        (f"{TRAIN}/batch_size", True, "train.batch_size = true: must be a number"),
        (f"{TRAIN}/batch_size", [True], "batch_size = [True]: must be a number"),
        (f"{TRAIN}/batch_size", {"a": 1}, "train.batch_size: must be a whole number"),
        (f"{TRAIN}/learning_rate", "10%", "learning_rate = '10%': must be a number; write 0.1"),
        (f"{TRAIN}/learning_rate", "0,002", "write 0.002"),
        (f"{TRAIN}/learning_rate", 0, "learning_rate = 0: must be above 0"),
        (f"{TRAIN}/learning_rate", float("inf"), "train.learning_rate = inf: must be finite"),
        (f"{TRAIN}/deterministic", "maybe", "must be true or false"),
        (f"{TRAIN}/precision", "FP 16", "must be fp32, bf16 or fp16; did you mean 'fp16'?"),
        (f"{TRAIN}/adam_betas", 0.9, "adam_betas = 0.9: must be a list"),
        (f"{TRAIN}/adam_betas", [0.9], "is missing"),
        (f"{TRAIN}/adam_betas", [0.9, 0.9, 0.9], "must be a list or block of at most 2"),
        (f"{TRAIN}/seed", 2**63, "train.seed = a number of 19 digits: no key takes so large"),
        (f"{MODEL}/name", "UNet", "= 'UNet': must be unet or unet2d; did you mean 'unet'?"),
        (f"{MODEL}/name", ["unet"], "model.name = \"['unet']\": must be unet or unet2d"),
        (MODEL, {"dim": 8}, "digits.model.name: is missing; give one of unet, unet2d"),
        (MODEL, "unet", "digits.model = 'unet': must be a block of keys"),
        (f"{MODEL}/dim", 20, "model.dim = 20: must be a multiple of 8"),
        (f"{MODEL}/dim_mults", [], "model.dim_mults = []: must be a list or block of at least 1"),
        ("experiments/digits/dataset", False, 'quote what is a name or text: "no"'),
        ("experiments/digits/dataset", 2020, 'YAML reads this as a number; quote it: "2020"'),
        ("experiments/digits/dataset", ["digits"], "digits.dataset = ['digits']: must be text"),
        ("datasets/my images", {}, "datasets.my images: must be a name, since it becomes a folder"),
        ("datasets/{x}", {}, "datasets.{x}: must be a name, since it becomes a folder"),
        ("datasets/digits/channels", True, "datasets.digits.channels = true: must be a number"),
        ("datasets/digits/channels", 2, "datasets.digits.channels = 2: must be 1 or 3"),
        ("datasets/digits/source", {"kind": "git", "url": "x"}, "must be an address that begins"),
        (f"{SAMPLES}/checkpoints", "last", "must be all, latest, a list or a block of keys"),
        (f"{SCORE}/kid_subset_size", "12x", "kid_subset_size = '12x': must be a whole number"),
        ("autoencoders", 5, "autoencoders = 5: must be a block of keys"),
        ("experiments", ["digits"], "experiments = ['digits']: must be a block of keys"),
        ("results_dir", None, "results_dir = null: must be text"),
        (SWEEP, {"keys": {"train.batch_size": ["1e2"]}}, "has '1e2': must be a "
         "whole number; write 100"),
        (SWEEP, {"keys": {"train.seed": [True]}}, "has true: must be a number"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_allowed(path, value, expected):
    line = message(path, value)
    assert expected in line
    assert path.split("/")[-1] in line


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (f"{TRAIN}/batch_size", 2 * 10**9, "at most 1,048,576: noise of a whole batch is drawn"),
        (f"{TRAIN}/steps", 3 * 10**8, "at most 99,999,999: names of files have eight digits"),
        (f"{TRAIN}/steps", 10**30, "train.steps = a number of 31 digits"),
        ("experiments/digits/diffusion/timesteps", 2 * 10**8, "at most 100,000: published models"),
        ("experiments/digits/diffusion/timesteps", 10**30, "diffusion.timesteps = a number of 31"),
        (f"{SAMPLES}/timesteps", [{"from": 2 * 10**8, "to": 0, "every": 1}], "timesteps.0.from"),
        (f"{SAMPLES}/timesteps", [{"from": 999, "to": 0, "every": 1}] * 101, "more than 100,000"),
        ("datasets/digits/image_size", float("inf"), "datasets.digits.image_size = inf: must be"),
        (f"{MODEL}/dim_mults", [1] * 13, "model.dim_mults = [1, 1"),
        (MODEL, {**UNET, "layers_per_block": 10**9}, "layers_per_block = 1000000000: must be"),
        (f"{TRAIN}/checkpoint_every", 1, None),
        (SWEEP, {"keys": {f"k{n}": [1] for n in range(21)}}, "at most 20"),
        ("benchmark", {"models": {"m": UNET}, "batch_size": list(range(1, 600)),
                       "processes": list(range(1, 20))}, "its grid has 22,762 cells, more than"),
    ],
)  # fmt: skip
def test_numbers_beyond_every_study_are_refused_with_the_reason(path, value, expected):
    if expected is None:  # 1,200 checkpoints are many, and allowed
        raw = copy.deepcopy(DEMO)
        raw["experiments"]["digits"]["train"]["checkpoint_every"] = value
        assert check_config(raw)
        return
    assert expected in message(path, value)


def test_too_many_checkpoints_and_jobs_are_refused_before_they_are_listed():
    train = {"steps": 90_000_000, "checkpoint_every": 30, "batch_size": 8}
    assert "checkpoint_every = 30 makes 3,000,000 checkpoints" in message(TRAIN, train)
    train = {"steps": 10_000_000, "checkpoint_every": 1000, "batch_size": 8}
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["train"] = train
    samples = {"images": 10**6, "batch_size": 1, "run": {"images_per_job": 1}}
    raw["experiments"]["digits"]["samples"] = {"all": samples}
    with pytest.raises(UserError, match="experiments have 10,000,010,001 jobs together"):
        check_config(raw)


def test_every_kind_of_error_of_pydantic_has_our_words():
    """No message holds a sentence of pydantic's, whichever of its errors a key may raise."""
    details = {
        "gt": 1, "ge": 1, "lt": 1, "le": 1, "multiple_of": 8, "min_length": 1, "max_length": 2,
        "actual_length": 3, "field_type": "List", "pattern": messages.NAME_PATTERN,
        "expected": "'a', 'b' or 'c'", "discriminator": "'name'", "tag": "A",
        "expected_tags": "'a', 'b'", "error": "own words", "class_name": "Train", "name": "x",
    }  # fmt: skip
    for kind in typing.get_args(ErrorType):
        try:
            theirs = PydanticKnownError(kind, details).message()
        except (TypeError, KeyError, ValueError):
            theirs = ""
        error = {"type": kind, "loc": ("x",), "input": "1e5", "ctx": details, "msg": "own words"}
        ours = messages.in_our_words([error])
        assert ours and (not theirs or theirs not in ours), kind
        assert "Input should" not in ours and "valid" not in ours, kind


def test_every_pattern_of_a_key_has_words():
    found = set()

    def walk(schema):
        if isinstance(schema, dict):
            found.update([schema["pattern"]] if isinstance(schema.get("pattern"), str) else [])
            for inside in schema.values():
                walk(inside)
        elif isinstance(schema, list):
            for inside in schema:
                walk(inside)

    walk(Config.model_json_schema())
    assert found and found <= set(messages.PATTERNS)


def test_options_of_programs_have_the_same_words():
    options = {"features": "inception", **{name: field.default for name, field in FIELDS.items()}}
    with pytest.raises(UserError) as caught:
        score_keys({**options, "kid_subset_size": "1e5"}, None, None, None)
    expected = "kid_subset_size = '1e5': must be a whole number; write 100000"
    assert str(caught.value) == f"the options do not fit: {expected}"
    with pytest.raises(ArgumentTypeError, match=r"^version: is missing; add it; train: is missing"):
        keys(TrainStage)('{"model": {"name": "unet"}}')
    with pytest.raises(ArgumentTypeError, match=r"^keys = 'x': must be JSON$"):
        keys(TrainStage)("x")


def test_a_custom_error_keeps_its_words():
    error = PydanticCustomError("value_error", "must be odd")
    line = {"type": error.type, "msg": error.message(), "loc": (), "input": 2}
    assert messages.in_our_words([line]) == "must be odd"


@pytest.mark.parametrize(
    ("text", "whole", "number"),
    [
        ("1e5", True, "100000"), ("1E5", True, "100000"), ("10%", False, "0.1"),
        ("1_000", True, "1000"), ("1 000", True, "1000"), ("2e-4", False, "0.0002"),
        ("0,5", False, "0.5"), ("1.5", True, None), ("x", False, None), ("1e999", False, None),
        ("nan", False, None), ("", True, None),
    ],
)  # fmt: skip
def test_a_number_that_yaml_reads_as_text_is_understood(text, whole, number):
    assert messages.number_meant(text, whole) == number
