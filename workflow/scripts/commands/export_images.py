#!/usr/bin/env python
"""Write samples, or a prepared dataset, as a folder of PNG files for other programs.

python workflow/scripts/commands/export_images.py --output pngs \\
    --samples results/digits/samples/dpm20/step-00001200
"""

from command import local_path, parser, run
from tqdm import tqdm

from ddpm_bench.images.png_export import export_images, images_to_export


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--samples", type=local_path, nargs="+", required=True,
        help="folder of a checkpoint's images-*.npy, of a prepared dataset, or .npy files of uint8 "
        "[n, H, W, C] in order",
    )  # fmt: skip
    options.add_argument("--split", choices=("train", "eval", "all"), default="train",
                         help="of a prepared dataset")  # fmt: skip
    options.add_argument("--output", type=local_path, required=True, help="folder to make")
    options.add_argument("--count", type=int, help="how many of the first images; default: all")
    args = options.parse_args()

    arrays, count = images_to_export(args.samples, args.count, args.split)
    written = export_images(arrays, args.output, count)
    for _ in tqdm(written, total=count, desc="export", unit="image", dynamic_ncols=True):
        pass


if __name__ == "__main__":
    run(main)
