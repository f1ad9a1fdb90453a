"""Pictures that say in words why there is nothing to see."""

import io
from pathlib import Path

from PIL import Image

from ddpm_bench.files import replacing
from ddpm_bench.house_style import DPI, empty_figure, house_style, save_figure
from ddpm_bench.records.failures import Failed, failure_of_samples


def say_instead(path: Path, title: str, failed: Failed) -> None:
    """Write a PNG, or a GIF of one frame, that says what failed."""
    figure = empty_figure(title, f"There are no images. {failed.in_words()}")
    if path.suffix != ".gif":
        save_figure(figure, path)
        return
    drawn = io.BytesIO()
    with house_style():
        figure.savefig(drawn, format="png", dpi=DPI)
    with replacing(path) as temporary:
        Image.open(drawn).convert("P").save(temporary, format="GIF")


def with_images(steps: list[int], files: list[Path]) -> tuple[list[int], list[Path], Failed | None]:
    """The steps whose file of samples holds images, those files, and why others hold none."""
    failed = [failure_of_samples([path]) for path in files]
    why = next((one for one in failed if one is not None), None)
    if why is None:
        return steps, files, None
    kept = [index for index, one in enumerate(failed) if one is None]
    return [steps[index] for index in kept], [files[index] for index in kept], why
