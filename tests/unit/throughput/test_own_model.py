"""A user's own model: what docs/benchmark.md shows works, and what is wrong is said in words."""

import re
import sys
from pathlib import Path

import pytest
import torch
from places import REPOSITORY
from torch import nn

from ddpm_bench.config.benchmark import CellMeasuring, OwnModel
from ddpm_bench.errors import UserError
from ddpm_bench.throughput.strategies.pipeline_stages import pipeline_stages
from ddpm_bench.throughput.workloads.build import build_workload
from ddpm_bench.throughput.workloads.workload import Workload

DOCS = REPOSITORY / "docs" / "benchmark.md"
FRAME = """\
import torch
from torch import nn
import torch.nn.functional as F

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.unused = nn.ReLU()
    def forward(self, a, b):
        return self.layer(a + b)

def build(samples):
    model, inputs = nn.Linear(4, 3), torch.randn(samples, 4)
    targets, loss = torch.randint(3, (samples,)), F.cross_entropy
    {change}
    return model, (inputs, targets), loss
"""


def own(file: Path, text: str, samples: int = 6, **keys) -> Workload:
    file.write_text(text)
    network = OwnModel(name="own", path=str(file), **keys)
    return build_workload(network, CellMeasuring(seed=5), samples)


def loss_of(workload: Workload) -> torch.Tensor:
    return workload.loss(workload.model(*workload.inputs), workload.targets)


def test_the_file_of_the_documentation_trains_whole_and_in_stages(tmp_path):
    (text,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    workload = own(tmp_path / "my_model.py", text)
    assert workload.sample == "sample" and len(workload.inputs[0]) == 6
    optimizer = torch.optim.Adam(workload.model.parameters(), lr=1e-2)
    before = loss_of(workload)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(workload).backward()
        optimizer.step()
    assert loss_of(workload) < 0.9 * before
    first, second = pipeline_stages(workload, 2)
    expected = workload.model(*workload.inputs)
    assert torch.equal(second(first(*workload.inputs)), expected)


def test_the_seed_decides_the_weights_and_the_batch(tmp_path):
    text = FRAME.format(change="")
    torch.manual_seed(1)
    first = own(tmp_path / "m.py", text)
    state = torch.get_rng_state()
    again = own(tmp_path / "m.py", text)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert torch.equal(first.model.weight, again.model.weight)
    assert not torch.equal(first.model.weight, nn.Linear(4, 3).weight)


def test_several_inputs_another_function_and_a_file_beside_it(tmp_path):
    (tmp_path / "beside_the_model.py").write_text("def double(x):\n    return 2 * x\n")
    text = FRAME.replace("def build", "def mine").format(
        change="import beside_the_model; model = Two(); "
        "inputs = [inputs, beside_the_model.double(inputs)]"
    )
    before = list(sys.path)
    workload = own(tmp_path / "m.py", text, function="mine")
    assert sys.path == before
    assert torch.equal(workload.inputs[1], 2 * workload.inputs[0])
    assert workload.shards == (workload.model.layer,)
    assert loss_of(workload).ndim == 0


def test_trying_the_loss_leaves_running_statistics_as_they_were(tmp_path):
    change = "model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Dropout())"
    norm = own(tmp_path / "m.py", FRAME.format(change=change)).model[0]
    assert norm.training and norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(4))


def test_shards_are_what_is_called_and_shares_no_weights(tmp_path):
    change = (
        "layers = [nn.Linear(4, 4) for _ in range(4)]; layers[2].weight = layers[0].weight; "
        "model = nn.Sequential(*layers[:3], nn.ReLU(), nn.ModuleList(layers[3:])); "
        "model.forward = lambda x: nn.Sequential(*layers)(x)"
    )
    workload = own(tmp_path / "m.py", FRAME.format(change=change))
    assert workload.shards == (workload.model[1], workload.model[4][0])


WRONG = {
    "no tuple of three": ("return model, inputs", r"returned a tuple of 2: return \(model"),
    "no module": ("model = F.relu", "the model is a function, not a torch.nn.Module"),
    "nothing to train": ("model = nn.ReLU()", "no parameter that is trained"),
    "no pair": ("return model, inputs, loss", r"batch is a tensor \[6, 4\].*not \(inputs, targ"),
    "inputs no tensor": ("inputs = [[1, 2]]", "inputs hold a list of 2, not a tensor"),
    "no inputs": ("inputs = ()", "inputs are a tuple of 0"),
    "too few samples": ("inputs = inputs[:5]", r"\[5, 4\]; the first dimension must be the 6 sam"),
    "targets of one": ("targets = torch.tensor(1)", r"targets have the shape \[\]"),
    "needs a gradient": ("inputs.requires_grad_()", "need no gradient"),
    "no loss": ("loss = 3", "the loss is a int, not a function"),
    "loss of each sample": (
        "loss = nn.CrossEntropyLoss(reduction='none')",
        r"gives a tensor \[2\] of float32, not one number",
    ),
    "a plain number": ("loss = lambda x, y: 1.5", "gives a float, not one number"),
    "loss without gradient": ("loss = lambda x, y: x.detach().mean()", "has no gradient"),
    "exception in the function": ("inputs = 1 / 0", r"m\.py:16: ZeroDivisionError: division by"),
    "exception in the loss": (
        "loss = lambda x, y: x.nothing",
        r"m\.py:16: AttributeError: 'Tensor' object has no",
    ),
    "shapes that do not go together": ("inputs = inputs[:, :2]", r"m\.py: RuntimeError: mat1"),
    "leaves Python": ("raise SystemExit(3)", r"m\.py:16: SystemExit: 3"),
    "another device": ("model = model.to('meta')", "weight of the model is on meta; leave all on"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_with_its_place(wrong, tmp_path):
    change, message = WRONG[wrong]
    with pytest.raises(UserError, match=message) as raised:
        own(tmp_path / "m.py", FRAME.format(change=change))
    assert str(tmp_path / "m.py") in str(raised.value)


def test_a_file_that_is_no_python_says_its_line(tmp_path):
    with pytest.raises(UserError, match=r"m\.py:2: SyntaxError"):
        own(tmp_path / "m.py", "x = 1\ndef build(:\n")
    with pytest.raises(UserError, match=r"m\.py:1: ModuleNotFoundError: No module named 'nowhere'"):
        own(tmp_path / "m.py", "import nowhere\n")


def test_a_missing_file_or_function_is_named(tmp_path):
    with pytest.raises(UserError, match=r"m\.py has no function build.*`function`"):
        own(tmp_path / "m.py", "build = 3\n")
    with pytest.raises(UserError, match=r"its name must end with \.py"):
        own(tmp_path / "model.txt", FRAME.format(change=""))
    network = OwnModel(name="own", path=str(tmp_path / "none.py"))
    with pytest.raises(UserError, match=r"none\.py: there is no such file"):
        build_workload(network, CellMeasuring(), 2)


def test_memory_that_runs_out_is_no_mistake_of_the_file(tmp_path):
    for raised in ("MemoryError", "torch.OutOfMemoryError"):
        with pytest.raises((MemoryError, torch.OutOfMemoryError)):
            own(tmp_path / "m.py", FRAME.format(change=f"raise {raised}()"))
