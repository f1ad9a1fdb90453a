"""Named inputs of jobs, as functions of their wildcards.

In:  CONFIG of the Snakefile
Out: input functions; those of a training serve experiments and autoencoders
By:  ddpm_bench/planning
"""


def training_name(wildcards):
    """The experiment or autoencoder that a job belongs to."""
    return wildcards.get("experiment") or wildcards.autoencoder


def fetched_files_of_dataset(wildcards):
    """The record of a dataset's fetched files."""
    return str(fetched_files.fetched_file(CONFIG, wildcards.dataset))


def train_images(wildcards):
    """The images, or latents, that a training learns from."""
    return jobs.training_images(CONFIG, training_name(wildcards), "train")


def eval_images(wildcards):
    """The images, or latents, that are held out of a training."""
    return jobs.training_images(CONFIG, training_name(wildcards), "eval")


def manifest_before(wildcards):
    """The manifest of the job that a training job goes on from; none for the first."""
    return jobs.manifest_before(CONFIG, wildcards.experiment, int(wildcards.first))


def manifests(wildcards):
    """The manifests of all jobs of a training."""
    return jobs.manifests(CONFIG, wildcards.experiment)


def last_manifest(wildcards):
    """The manifest of the job that ends a training."""
    return jobs.last_manifest(CONFIG, training_name(wildcards))


def manifest_of_checkpoint(wildcards):
    """The manifest of the job that makes the checkpoint of this step."""
    return jobs.manifest_of_checkpoint(CONFIG, training_name(wildcards), int(wildcards.step))


def manifest_of_latest_checkpoint(wildcards):
    """The manifest of the job that makes the last checkpoint that this set is drawn from."""
    return jobs.manifest_of_checkpoint(CONFIG, wildcards.experiment, latest_step(wildcards))


def latest_step(wildcards):
    """The step of the last checkpoint that a set of samples is drawn from."""
    return targets.latest_step(CONFIG, wildcards.experiment, wildcards.samples)


def validations(wildcards):
    """The validation losses of a training; none where nothing is validated."""
    return jobs.validations(CONFIG, wildcards.experiment)


def heldout_images(wildcards):
    """The images that an autoencoder reconstructs: held-out ones, where there are some."""
    return jobs.reconstructed_images(CONFIG, wildcards.autoencoder)


def reconstructions(wildcards):
    """The reconstructed images of all checkpoints of an autoencoder that are looked at."""
    return jobs.reconstruction_files(CONFIG, wildcards.autoencoder, "images.npy")


def reconstruction_summaries(wildcards):
    """The errors of reconstruction of the same checkpoints."""
    return jobs.reconstruction_files(CONFIG, wildcards.autoencoder, "summary.json")


def samples_of_checkpoint(wildcards):
    """The files of a set's images from the checkpoint of this step."""
    return jobs.sample_files(CONFIG, wildcards.experiment, wildcards.samples, int(wildcards.step))


def samples_of_latest_checkpoint(wildcards):
    """The files of a set's images from the last checkpoint that it is drawn from."""
    return jobs.sample_files(
        CONFIG, wildcards.experiment, wildcards.samples, latest_step(wildcards)
    )


def first_samples(wildcards):
    """The file with the first images of a set from each checkpoint."""
    return jobs.first_sample_files(CONFIG, wildcards.experiment, wildcards.samples)


def training_trajectories(wildcards):
    """The animations that are drawn from checkpoints before those may be removed."""
    return targets.trajectories(CONFIG, wildcards.experiment)


def sampler_timings(wildcards):
    """The seconds that the compared sets of samples took."""
    return targets.compared_timings(CONFIG, wildcards.experiment)


def prepared_split(wildcards):
    """The prepared images of a split of a dataset."""
    return jobs.prepared_images(CONFIG, wildcards.dataset, wildcards.split)


def prepared_train_images(wildcards):
    """The prepared images of the dataset that an experiment learns, in pixels."""
    dataset = CONFIG.experiments[wildcards.experiment].dataset
    return jobs.prepared_images(CONFIG, dataset, "train")


def summary_of_images(wildcards):
    """The summary of the dataset of an experiment."""
    dataset = CONFIG.experiments[wildcards.experiment].dataset
    return expand(rules.prepare.output.summary, dataset=dataset)


def score_of_space(wildcards):
    """The keys of a score that uses this feature space on this dataset."""
    return jobs.score_of_space(CONFIG, wildcards.dataset, wildcards.space)


def score_keys(wildcards):
    """The keys of a score of an experiment."""
    return CONFIG.trainings[wildcards.experiment].scores[wildcards.score]


def weights_of_space(wildcards):
    """The weights of the network that computes this feature space."""
    return jobs.feature_weights(CONFIG, wildcards.dataset, score_of_space(wildcards))


def weights_of_score(wildcards):
    """The weights of the network that computes the features of a score."""
    dataset = CONFIG.trainings[wildcards.experiment].dataset
    return jobs.feature_weights(CONFIG, dataset, score_keys(wildcards))


def reference_features(wildcards):
    """The features that a score compares samples with."""
    return jobs.reference_files(CONFIG, wildcards.experiment, wildcards.score)


def fid_reference(wildcards):
    """The statistics or features that FID alone is computed against; none where it has no own."""
    return jobs.fid_reference_files(CONFIG, wildcards.experiment, wildcards.score)


def train_features(wildcards):
    """The features of the images that an experiment is trained on."""
    return jobs.train_features(CONFIG, wildcards.experiment, wildcards.score)


def heldout_features(wildcards):
    """The features of the images that are held out of training; none where there are no such."""
    return jobs.heldout_features(CONFIG, wildcards.experiment, wildcards.score)


def scores(wildcards):
    """Every score of an experiment."""
    return jobs.score_files(CONFIG, wildcards.experiment)


def nearest_of_latest_checkpoint(wildcards):
    """The distances to training images of the last checkpoint of a set."""
    return jobs.nearest_files(CONFIG, wildcards.experiment, wildcards.score, wildcards.samples)[-1]


def evaluations_of_members(wildcards):
    """The tables of scores of all members of a sweep."""
    return expand(
        f"{RESULTS}/{{member}}/report/evaluation_results.csv",
        member=jobs.members(CONFIG, wildcards.sweep),
    )


def manifests_of_members(wildcards):
    """The manifests of all trainings of a sweep."""
    members = jobs.members(CONFIG, wildcards.sweep)
    return [path for member in members for path in jobs.manifests(CONFIG, member)]


def images_of_cell(wildcards):
    """The prepared images that a cell of the benchmark trains on; none where they are random."""
    return jobs.images_of_cell(CONFIG, CELLS[wildcards.cell])
