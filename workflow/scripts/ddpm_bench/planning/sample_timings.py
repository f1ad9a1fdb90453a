"""Times of drawing samples, from the records beside them."""

import re
import statistics
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.finished_jobs import NEWEST_FILES, file_names
from ddpm_bench.planning.object_cache import cached
from ddpm_bench.planning.same_work import SameWork
from ddpm_bench.records import layout
from ddpm_bench.records.samples import SampleTiming

# All that decides the time of an image besides the work: batch size, precision, evaluations.
DrawingCost = tuple[int, str, int]
STEP_FOLDER = re.compile(rf"step-\d{{{layout.STEP_DIGITS}}}")
TIMING_NAME = layout.file_matcher(layout.TIMING)


class SampleTimings:
    """Timings of the samples under the results of a config."""

    def __init__(self, config: Config, same_work: SameWork) -> None:
        self.config, self.same_work = config, same_work

    @cached
    def seconds_per_image(self, experiment: str, samples: str) -> float | None:
        """Return the median time of an image in a set's newest files, in seconds.

        Without any, in those of an equally drawn set of an experiment with the same work; None
        without such.
        """
        for other in self.same_work.experiments(experiment):
            for name in self.config.trainings[other].samples:
                timings = self._timings(other, name, self._drawing(experiment, samples))
                if timings:
                    return statistics.median(one.seconds / one.images for one in timings)
        return None

    def is_drawn_alike(self, other: str, experiment: str, samples: str) -> bool:
        """Return True if a set of another experiment was drawn as this one's would be now."""
        return bool(self._timings(other, samples, self._drawing(experiment, samples)))

    def _drawing(self, experiment: str, samples: str) -> DrawingCost:
        keys = self.config.experiments[experiment].samples[samples]
        return keys.batch_size, keys.precision, keys.network_evaluations()

    def _timings(self, experiment: str, samples: str, drawing: DrawingCost) -> list[SampleTiming]:
        found = map(SampleTiming.read_if_there, self._newest_files(experiment, samples))
        return [
            timing
            for timing in found
            if timing is not None
            and timing.images
            and (timing.batch_size, timing.precision, timing.network_evaluations) == drawing
        ]

    @cached
    def _newest_files(self, experiment: str, samples: str) -> list[Path]:
        folder = layout.samples_folder(self.config.results_dir, experiment, samples)
        found: list[Path] = []
        for step in sorted(file_names(folder, STEP_FOLDER), reverse=True):
            found += [folder / step / name for name in file_names(folder / step, TIMING_NAME)]
            if len(found) >= NEWEST_FILES:
                break
        return found[:NEWEST_FILES]
