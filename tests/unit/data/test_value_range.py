"""Gray values without an agreed white: one range for all images of a dataset."""

import numpy as np
from PIL import Image
from prepared_images import arrays, folder_of, photo, prepare_folder, table


def floats(folder, *arrays):
    folder.mkdir()
    for number, values in enumerate(arrays):
        Image.fromarray(values.astype(np.float32)).save(folder / f"{number}.tif")
    return folder


def test_float_images_of_a_dataset_are_scaled_alike(tmp_path):
    dark, bright = np.full((16, 16), 0.5), np.full((16, 16), 200.0)
    folder = floats(tmp_path / "in", dark, bright)
    folder_of(folder, eight=Image.new("L", (16, 16), 33))
    summary = prepare_folder(folder, tmp_path, channels=1)
    assert summary["value_range"] == [0, 255]
    assert arrays(tmp_path)[0][:, 0, 0, 0].tolist() == [0, 200, 33]  # 127 and 200 each by itself
    assert [row["left_out"] for row in table(tmp_path)] == [""] * 3


def test_the_value_range_of_a_dataset_is_the_users(tmp_path):
    folder = floats(tmp_path / "in", np.full((16, 16), 0.5), np.full((16, 16), 1.0))
    summary = prepare_folder(folder, tmp_path, channels=1, value_range=(0, 2))
    assert summary["value_range"] == [0, 2]
    assert arrays(tmp_path)[0][:, 0, 0, 0].tolist() == [64, 128]


def test_the_summary_of_other_images_names_no_value_range(tmp_path):
    folder = folder_of(tmp_path / "in", a=photo())
    assert "value_range" not in prepare_folder(folder, tmp_path)
