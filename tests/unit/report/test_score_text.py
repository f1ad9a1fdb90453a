from fake_results import INCEPTION, SMALL_REFERENCE, score, write_score, write_scores

from ddpm_bench.report.tables import score_tables
from ddpm_bench.report.terminal import score_text


def evaluation_of(results, experiment="digits"):
    files = sorted((results / experiment / "scores").glob("*/*/*.json"))
    return score_tables.evaluation_table(files, experiment=experiment, dataset="digits-16")


def text_of(results, **changed):
    write_scores(results, **changed)
    return score_text.score_table(evaluation_of(results))


def columns_of(text):
    (names,) = (line for line in text.splitlines() if line.split()[:1] == ["step"])
    return names.split()


def test_the_best_of_each_column_is_starred(tmp_path):
    early = score(0.5, fid=9.0, fid_std=0.5, is_mean=5.0)
    late = score(0.5, fid=12, fid_std=0.25, is_mean=4.0)
    write_score(tmp_path, "digits", "dpm20", "classifier", 300, early)
    write_score(tmp_path, "digits", "dpm20", "classifier", 75_000, late)
    lines = score_text.score_table(evaluation_of(tmp_path)).splitlines()
    (early,) = (line for line in lines if line.split()[0] == "300")
    (late,) = (line for line in lines if line.split()[0] == "75,000")
    assert "9.00 ± 0.50*" in early and "5.00 ± 0.21*" in early
    assert "*" not in late
    assert early.index("0.50*") == late.index("0.25")


def test_equal_values_share_the_star_and_where_all_are_equal_nothing_has_one(tmp_path):
    for step, (fid, recall) in enumerate([(9.0, 1.0), (7.5, 1.0), (7.5, 1.0)], start=1):
        record = score(0.5, fid=fid, fid_std=0.5, recall=recall)
        write_score(tmp_path, "digits", "dpm20", "classifier", 300 * step, record)
    text = score_text.score_table(evaluation_of(tmp_path))
    assert text.count("7.50 ± 0.50*") == 2 and "9.00 ± 0.50*" not in text
    assert "1.000*" not in text


def test_feature_space_counts_and_warnings_are_named(tmp_path):
    changed = {**INCEPTION, "feature_space": "inception-mine"}
    text = text_of(tmp_path, **changed, warning=SMALL_REFERENCE)
    assert "weights 'mine', not comparable" in text
    assert "512 generated against 1,437 reference images (train)" in text
    assert text.count(SMALL_REFERENCE) == 1


def test_kid_leads_where_the_reference_is_small(tmp_path):
    assert columns_of(text_of(tmp_path / "small", **INCEPTION))[1:3] == ["KID", "FID"]
    assert columns_of(text_of(tmp_path / "large"))[1:3] == ["FID", "KID"]


def test_a_fid_of_another_kind_is_named_under_its_table(tmp_path):
    changed = {"fid_backend": "pytorch-fid", "fid_reference": "cifar10-train"}
    text = text_of(tmp_path / "other", **INCEPTION, **changed)
    assert "  FID (Inception features, pytorch-fid, against cifar10-train)\n" in text
    assert "FID (" not in text_of(tmp_path / "plain", **INCEPTION)


def test_a_deviation_of_fid_is_explained(tmp_path):
    sentence = "  FID ± its standard deviation over the choice of images"
    assert f"{sentence}\n" in text_of(tmp_path / "with", feature_dimensions=64)
    few = text_of(tmp_path / "few", feature_dimensions=64, images_generated=255)
    assert f"{sentence} (rough: fewer than 4 images per dimension)\n" in few
    assert sentence not in text_of(tmp_path / "without", fid_std=None)


def test_repeated_channels_have_a_note(tmp_path):
    sentence = "grayscale images are repeated to three channels"
    assert sentence in text_of(tmp_path / "gray", channels_repeated=True)
    assert sentence not in text_of(tmp_path / "colour", channels_repeated=False)


def test_a_known_share_of_memorised_samples_is_printed(tmp_path):
    write_scores(tmp_path, checkpoints=2)
    text = score_text.score_table(evaluation_of(tmp_path))
    assert "memorised: 5.3% to 5.9% are nearer to training images than" in text
    assert "95% of held-out ones; chance: 2.3% to 8.2%\n" in f"{text}\n"
    assert "memorised" not in text_of(tmp_path / "none", memorised_share=None)


def test_scores_of_before_the_interval_of_chance_are_read(tmp_path):
    record = score(0.5)
    for name in ("memorised_chance_low", "memorised_chance_high", "images_heldout"):
        del record[name]
    write_score(tmp_path, "digits", "dpm20", "classifier", 300, record)
    assert "memorised" not in score_text.score_table(evaluation_of(tmp_path))


def test_a_table_of_large_values_fits_a_terminal(tmp_path):
    large = {"fid": 175.25, "fid_std": 12.34, "is_mean": 11.24, "kid_mean": -0.00012}
    text = text_of(tmp_path, every=75_000, **INCEPTION, **large)
    table = [line for line in text.splitlines() if line.startswith("  ")]
    assert max(map(len, table)) <= 110


def test_the_best_checkpoints_have_their_deviations(tmp_path):
    write_score(tmp_path, "digits", "dpm20", "classifier", 300, score(0.5, fid=9.0, fid_std=0.5))
    lines = score_text.best_table(score_tables.best_scores(evaluation_of(tmp_path))).splitlines()
    assert lines[1].split() == ["dpm20", "classifier", "FID", "9.00", "±", "0.50", "300"]
