"""Records of datasets: fetched files, and prepared images."""

from ddpm_bench.records.json_record import JsonRecord


class FetchedFiles(JsonRecord):
    """The file resources/datasets/<dataset>-<hash of the source>.json."""

    kind: str  # of the source
    folder: str
    files: int
    sha256: str  # of the names and contents of all files


class SplitChecksums(JsonRecord):
    """sha256 of train.npy, eval.npy and images.csv."""

    train: str
    eval: str
    images: str | None = None  # older files do not have it


class DatasetSummary(JsonRecord):
    """The file summary.json beside prepared images: numbers of images, their size and checksums."""

    version: int | None = None  # of preparing; version 1 did not write it
    value_range: tuple[float, float] | None = None  # that became black and white, if any was used
    files: int
    train: int
    eval: int
    left_out: dict[str, int]  # by reason
    distinct: int  # images with different pixels
    labels: dict[str, int]
    image_size: int  # pixels of a side
    channels: int
    grayscale_to_rgb: int
    rgb_to_grayscale: int
    sha256: SplitChecksums

    @property
    def images(self) -> int:
        """Number of images in all splits."""
        return self.train + self.eval
