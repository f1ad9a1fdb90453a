"""Feature spaces: the networks that are loaded, and the weights that are refused."""

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import pytorch_fid.inception
import torch
from feature_spaces import (
    CLASSIFIER,
    CPU,
    Malicious,
    inception_stage,
    weights_of_pytorch_fid,
    write_pngs,
)
from inception_weights import calibrated_weights, photographs
from places import SCRIPTS
from pytorch_fid.fid_score import get_activations
from pytorch_fid.inception import InceptionV3

from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_SHA256, FeatureStage
from ddpm_bench.errors import UserError
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.spaces import open_feature_space


def test_inception_sees_grayscale_as_three_equal_channels(sysu_shape, tmp_path):
    content = calibrated_weights(sysu_shape)
    (tmp_path / "inception.pth").write_bytes(content)
    space = open_feature_space(inception_stage(content), tmp_path / "inception.pth", CPU)
    gray = photographs(sysu_shape, 3)[..., :1]
    one_channel, _ = extract(space, [gray], 3, 3, CPU)
    three_channels, _ = extract(space, [gray.repeat(3, axis=3)], 3, 3, CPU)
    assert np.ptp(one_channel, axis=0).max() > 0.1
    assert np.array_equal(one_channel, three_channels)


def test_pytorch_fids_features_are_those_of_its_program(sysu_shape, tmp_path, monkeypatch):
    content = calibrated_weights(sysu_shape)
    weights = weights_of_pytorch_fid(tmp_path, content)
    images = photographs(sysu_shape, 4)
    stage = inception_stage(content).model_copy(update={"features": "pytorch-fid"})
    ours, logits = extract(open_feature_space(stage, weights, CPU), [images], 4, 4, CPU)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    files = write_pngs(tmp_path / "images", images)
    theirs = get_activations(files, InceptionV3([3]), batch_size=4, num_workers=0)
    assert logits is None and stage.feature_space == "pytorch-fid-untrained"
    assert np.ptp(theirs, axis=0).max() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_weights_in_the_older_file_format_give_the_same_features(sysu_shape, tmp_path):
    content, older = calibrated_weights(sysu_shape), io.BytesIO()
    state = torch.load(io.BytesIO(content), weights_only=True)
    torch.save(state, older, _use_new_zipfile_serialization=False)
    images, features = photographs(sysu_shape, 2), []
    for index, written in enumerate((content, older.getvalue())):
        path = tmp_path / f"{index}.pth"
        path.write_bytes(written)
        space = open_feature_space(inception_stage(written), path, CPU)
        features.append(extract(space, [images], 2, 2, CPU)[0])
    assert np.array_equal(*features)


# Weights that are refused


def malicious_weights(tmp_path, plain: bool) -> bytes:
    payload = {"fc.weight": Malicious(tmp_path / "owned")}
    if plain:
        return pickle.dumps(payload)
    content = io.BytesIO()
    torch.save(payload, content)
    return content.getvalue()


@pytest.mark.parametrize("plain", [False, True])
def test_a_malicious_pickle_of_the_pinned_sha256_is_refused_and_runs_nothing(tmp_path, plain):
    content = malicious_weights(tmp_path, plain)
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match="something else than tensors") as raised:
        open_feature_space(inception_stage(content), tmp_path / "weights.pth", CPU)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "owned").exists()


def test_the_malicious_pickle_would_run_if_it_were_loaded_without_restriction(tmp_path):
    content = malicious_weights(tmp_path, plain=False)
    torch.load(io.BytesIO(content), weights_only=False)
    assert (tmp_path / "owned").is_dir()


def test_weights_of_another_sha256_are_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(malicious_weights(tmp_path, plain=False))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was loaded"))
    with pytest.raises(UserError, match=r"not 0{64}; it was not opened"):
        open_feature_space(
            FeatureStage(
                version=1, features="inception", weights_sha256="0" * 64, weights_name="other"
            ),
            path,
            CPU,
        )


@pytest.mark.parametrize("features", ["inception", "pytorch-fid"])
def test_tensors_of_another_network_are_refused(tmp_path, features):
    content, download = io.BytesIO(), pytorch_fid.inception.load_state_dict_from_url
    torch.save({"weight": torch.zeros(3)}, content)
    (tmp_path / "weights.pth").write_bytes(content.getvalue())
    stage = inception_stage(content.getvalue()).model_copy(update={"features": features})
    with pytest.raises(UserError, match="not an Inception network"):
        open_feature_space(stage, tmp_path / "weights.pth", CPU)
    assert pytorch_fid.inception.load_state_dict_from_url is download  # as pytorch-fid has it


def test_missing_inception_weights_say_in_one_line_how_to_get_them_without_network(tmp_path):
    stage = FeatureStage(version=1, features="inception", weights_sha256=PUBLISHED_INCEPTION_SHA256)
    with pytest.raises(UserError) as raised:
        open_feature_space(stage, tmp_path / "weights.pth", CPU)
    message = str(raised.value)
    assert "fetch_inception.py" in message and "https://" in message and "copy" in message
    assert "\n" not in message


def test_without_network_the_fetching_program_says_how_to_bring_the_file_by_hand(tmp_path):
    output = tmp_path / "inception" / "weights.pth"
    nobody = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, SCRIPTS / "fetch_inception.py", "--output", output],
        env={**os.environ, **nobody},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert PUBLISHED_INCEPTION_SHA256 in ended.stderr and f"copy it to {output}" in ended.stderr
    assert not output.parent.exists()


def test_the_stage_pins_inception_weights_and_no_others():
    with pytest.raises(ValueError, match="weights_sha256"):
        FeatureStage(version=1, features="inception")
    assert inception_stage(b"").feature_space == "inception-untrained"
    assert inception_stage(b"", name=None).feature_space == "inception"
    assert CLASSIFIER.feature_space == "classifier"
