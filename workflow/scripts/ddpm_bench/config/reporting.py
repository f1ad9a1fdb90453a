"""What decides tables and figures: the `--what` of the programs that make them."""

from .keys import Keys, Name, PositiveInt


class CollectStage(Keys):
    """What decides an experiment's tables, but its scores."""

    version: PositiveInt
    experiment: Name
    dataset: Name


class PlotStage(Keys):
    """What decides a figure, but the table or the images that it shows."""

    version: PositiveInt


class GridStage(Keys):
    """What decides the grid of a checkpoint's samples, but the samples."""

    version: PositiveInt
    images: PositiveInt = 64
