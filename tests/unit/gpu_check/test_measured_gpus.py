"""Numbers of GPUs in the documentation, from reports of the GPU check."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY, SCRIPTS

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check import measured_gpus
from ddpm_bench.gpu_check.measured_gpus import measured_block, read_reports, with_block
from ddpm_bench.gpu_check.part import Check, Part
from ddpm_bench.gpu_check.report import PartResult, Report
from ddpm_bench.gpu_check.request import CheckRequest
from ddpm_bench.gpu_check.speed import SAMPLING, TRAINING, judged

READMES = ("README.md", "comparisons/README.md")
NUMBERS = {
    "ratio_median": 3.4,
    "ratio_min": 3.2,
    "ratio_max": 3.5,
    "images_per_second_ours": 1200.4,
    "images_per_second_peer": 353.1,
    "peak_gpu_memory_mb_ours": 4321.5,
    "peak_gpu_memory_mb_peer": 6543.0,
    "precision_ours": "bf16",
    "precision_peer": "fp32",
    "batch_size": 16,
    "image_size": 64,
    "dim": 64,
}
SLOWER = {"ratio_median": 2.4, "ratio_min": 2.3, "ratio_max": 2.45}
COMPILED = {"ratio_compiled_median": 1.2, "ratio_compiled_min": 1.1, "ratio_compiled_max": 1.3}


def report(folder: Path, stand_ins: bool = False, gpu: str = "Made-up | GPU") -> Path:
    """Write a report with made-up results, as the check writes it."""
    facts = {"gpu": gpu, "driver": "999.1", "torch": "2.9.0+cu999"}
    checks = (
        judged(TRAINING, NUMBERS | COMPILED | {"comparison": "train"}, gpu=True),
        judged(SAMPLING, NUMBERS | SLOWER | {"comparison": "sample"}, gpu=True),
    )
    results = [
        PartResult(
            Part("machine", "", "m:f", 60, None), 1.0, (Check("GPU", "pass", "", numbers=facts),)
        ),
        PartResult(Part("speed", "", "m:f", 60, None), 1.0, checks),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{len(list(folder.iterdir()))}.json"
    report = Report(CheckRequest(Path(), (), 8.0, stand_ins, output, None))
    for result in results:
        report.add(result)
    return output


def test_the_readmes_hold_the_block_of_the_files_in_comparisons_gpu():
    block = measured_block(read_reports(REPOSITORY / "comparisons" / "gpu"))
    for name in READMES:
        text = (REPOSITORY / name).read_text()
        assert with_block(text, block, name) == text, "make docs"


def test_a_report_gives_a_row(tmp_path):
    report(tmp_path, gpu="Zeta")
    report(tmp_path)
    *_, first, second, end = measured_block(read_reports(tmp_path)).splitlines()
    cells = [cell.strip() for cell in first.replace("\\|", "/").strip("|").split("|")]
    assert cells[:2] == ["Made-up / GPU", "999.1, 2.9.0+cu999"]
    assert cells[2] == "3.40 (3.20 to 3.50); bf16 against fp32, 16 images at 64x64, dim 64"
    assert cells[3] == "1.20 (1.10 to 1.30)"
    assert cells[4] == "1,200, 4,322 MB; 353 (peer), 6,543 MB"
    assert cells[5].startswith("2.40 (2.30 to 2.45); bf16 against fp32")
    assert cells[8] == f"speed: {SAMPLING}"
    assert second.startswith("| Zeta |")
    assert end == measured_gpus.END


def test_a_report_without_speeds_says_so(tmp_path):
    path = report(tmp_path)
    content = json.loads(path.read_text())
    content["parts"] = content["parts"][:1]
    path.write_text(json.dumps(content))
    row = measured_block(read_reports(tmp_path)).splitlines()[-2]
    assert row.count("not measured") == 5
    assert row.endswith("| none |")


def test_reports_of_stand_ins_are_refused(tmp_path):
    path = report(tmp_path, stand_ins=True)
    with pytest.raises(UserError, match=f"{path}: stand-ins made it"):
        read_reports(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no report of a GPU check"),
        ("[]", "no report of a GPU check"),
        ('{"version": 1}', "no report of a GPU check .*stand_ins"),
        (
            '{"version": 99, "stand_ins": false, "finished": "", "parts": [], "machine": {}}',
            "its version is 99",
        ),
        (
            '{"version": 1, "stand_ins": false, "finished": "", "parts": [], "machine": {}}',
            "names no GPU",
        ),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, complaint):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(UserError, match=f"other.json: .*{complaint}"):
        read_reports(tmp_path)


def test_a_text_without_the_marks_is_refused():
    block = measured_block([])
    for text in ("no marks", block + block, f"{measured_gpus.END} {measured_gpus.BEGIN}"):
        with pytest.raises(UserError, match=r"a\.md: must hold"):
            with_block(text, block, "a.md")
    assert with_block(f"before\n{block}\nafter", "x", "a.md") == "before\nx\nafter"


def test_make_docs_writes_the_block_into_both_files(tmp_path):
    program = SCRIPTS / "commands" / "document_gpus.py"
    for name in READMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    report(tmp_path / "comparisons" / "gpu")
    subprocess.run([sys.executable, program, "--folder", tmp_path], check=True)
    for name in READMES:
        assert "| Made-up \\| GPU | 999.1, 2.9.0+cu999 |" in (tmp_path / name).read_text()
        assert measured_gpus.NONE_YET not in (tmp_path / name).read_text()
