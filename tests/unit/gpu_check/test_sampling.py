"""The part about sampling: images of one job and of two, of the GPU and of the CPU."""

import numpy as np

from ddpm_bench.gpu_check.sampling import against_cpu, same_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)


def with_a_change(by: int) -> np.ndarray:
    changed = IMAGES.copy()
    changed[3, 2, 2, 0] = np.clip(int(changed[3, 2, 2, 0]) - by, 0, 255)
    return changed


def test_the_same_bytes_pass_and_one_other_byte_fails():
    assert same_bytes("ddpm", IMAGES, IMAGES.copy()).outcome == "pass"
    check = same_bytes("ddpm", IMAGES, with_a_change(1))
    assert check.outcome == "fail" and "1 of 5 images differ, from image 3 on" in check.found
    assert check.numbers == {"images": 5, "images_with_the_same_bytes": 4}
    assert check.remedy


def test_images_of_weights_that_are_not_finite_are_no_pass():
    black = np.zeros_like(IMAGES)
    check = same_bytes("ddpm", black, black)
    assert check.outcome == "fail" and "1 grey levels" in check.found


def test_images_of_two_devices_may_differ_a_little_and_not_in_kind():
    check = against_cpu("ddpm", IMAGES, with_a_change(3))
    assert check.outcome == "measured"
    assert check.numbers["largest_difference_grey_levels"] == 3
    assert check.numbers["equal_bytes_share"] == 1 - 1 / IMAGES.size
    other = against_cpu("ddpm", IMAGES, np.roll(IMAGES, 1, axis=0))
    assert other.outcome == "fail" and other.remedy
