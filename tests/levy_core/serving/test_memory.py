"""What a drawing takes of memory is known before it is drawn: the count is exact, no peak is above it, and what does not fit is refused."""

import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed, Reported
from levy_core.nets.dit import DiTConfig
from levy_core.nets.latent import Latent
from levy_core.nets.mlp import MLPConfig
from levy_core.nets.unet import UNetConfig
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import OBSERVATION_GUIDES
from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import FAMILIES
from levy_core.serving.draw import draw_samples
from levy_core.serving.events import need_of_particles, solver_of_events
from levy_core.serving.given import draw_given, observation_of
from levy_core.serving.memory import BATCH, ROOM, SCRATCH, Footprint, Need, most_alive, rows_of_batch
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.workload import Workload
from tests.conftest import ROOT, save_untrained
from tests.levy_core.nets.test_latent import gaussian_model
from tests.support import addresses
from tests.support.events import save_fields
from tests.support.peaks import CASES, CPU, make_model
from tests.support.served import save_sampler

MIB = 2**20
D = 1000


def test_bytes_are_counted_while_they_are_alive():
    x = torch.zeros(1000)

    def call():
        a = x + 1  # 4,000
        b = (a * 2)[:10]  # 8,000: a view keeps the whole
        del a
        b.mul_(3).unsqueeze(0)  # nothing new
        return torch.cat([b, x])  # 4,040 beside 4,000

    assert most_alive(call) == 8040


def test_what_a_gradient_needs_is_counted_until_it_is_known():
    x = torch.zeros(1000, requires_grad=True)
    chain = lambda: torch.autograd.grad(x.exp().exp().exp().sum(), x)
    with torch.no_grad():
        assert 8000 <= most_alive(lambda: x.exp().exp().exp().sum()) <= 8004
    assert 12_000 <= most_alive(chain) <= 20_008  # three are kept, and two gradients are under way


@pytest.mark.parametrize(
    "config", [UNetConfig((1, 8, 8), 2, (8, 16), 1, (False, True)), MLPConfig((30,), 2), DiTConfig((1, 8, 8), 2, 32, 2)]
)
def test_activations_grow_with_the_batch_and_by_nothing_else(config):
    model = make_model(config, {"preset": "tedm"})
    evaluate = lambda n: model.predictor(
        torch.zeros(n, *config.shape), torch.ones(n), model.samples.condition(np.zeros(n, int))
    )
    one, five = (most_alive(lambda n=n: evaluate(n)) for n in (1, 5))
    assert five <= 5 * one
    assert five == pytest.approx(5 * one, rel=0.01)


def alive_of(model, solver, n=6):
    return most_alive(lambda: draw_samples(model, solver, 0, np.zeros(n, int), n, CPU)) / n


def expected(model, solver, guide=None):
    """Without what operations take inside, which is not seen."""
    footprint = Footprint(model, CPU)
    gradients = guide is not None and OBSERVATION_GUIDES[guide].needs_gradient
    network = footprint.network(solver, gradients)
    return footprint.each(solver, guide) - network + network / SCRATCH


@pytest.mark.parametrize("design", [{"preset": "dlpm"}, {"preset": "dlpm", "isotropic": False}, {"preset": "tedm"}])
def test_no_sampler_keeps_more_alive_than_is_expected(design):
    model, tried = make_model(MLPConfig((D,), 2, 8), design), 0
    for family, steps, eta, guide in itertools.product(FAMILIES, (12,), (0.0, 0.5), ("none", "classifier-free")):
        for discretisation in ("ei-noise", "3m-data"):
            try:
                solver = Solver(
                    family, discretisation, "karras", steps, eta=eta, guide=guide, strength=2.0 * (guide != "none")
                )
                alive = alive_of(model, solver)
            except LevyError:  # not every family has every discretisation, eta and noise
                continue
            tried += 1
            assert alive <= expected(model, solver)
            assert expected(model, solver) <= 5 * alive
    assert tried >= 6


def observe_cells(rows):
    """So many cells, each with an error."""
    values, std = np.zeros(rows), np.full(rows, 0.1)
    reported = Reported(values, std, np.zeros(rows, int), (("x", "1"),), lambda x: x)
    return Observed(np.arange(rows)[:, None], np.ones((rows, 1)), values, std, None, None, "", reported)


def observing_alive(model, solver, guide, covariance):
    """What a sample more adds, as inverses and covariances are made once."""
    observation = observation_of(model, observe_cells(5), "interpolation")
    draw = lambda n: draw_given(model, solver, 0, np.zeros(n, int), n, CPU, observation, guide, covariance)
    return (most_alive(lambda: draw(24)) - most_alive(lambda: draw(4))) / 20


@pytest.mark.parametrize("guide", OBSERVATION_GUIDES)
def test_no_guide_towards_observations_keeps_more_alive_than_is_expected(guide):
    model, solver = (
        make_model(MLPConfig((D,), 2, 8), {"preset": "tedm"}),
        Solver("ode", "2m-data", "karras", 4, denoise=True),
    )
    covariance = Covariance(torch.zeros(D).double(), torch.zeros(D, 0).double(), torch.ones(D).double())
    alive = observing_alive(model, solver, guide, covariance)
    assert alive <= expected(model, solver, guide) <= 5 * alive


@pytest.mark.parametrize("guide", OBSERVATION_GUIDES)
def test_what_guides_make_once_is_counted(guide):
    model, solver, rows = make_model(MLPConfig((D,), 2, 8), {"preset": "tedm"}), Solver("ode", "2m-data", "karras", 4, denoise=True), 500  # fmt: skip
    covariance = Covariance(torch.zeros(D).double(), torch.randn(D, 20).double(), torch.ones(D).double())
    seen = observe_cells(rows)
    draw = lambda: draw_given(
        model, solver, 0, np.zeros(1, int), 1, CPU, observation_of(model, seen, guide), guide, covariance
    )
    levels = solver.steps * OBSERVATION_GUIDES[guide].keeps_levels
    once = Footprint(model, CPU).once(rows, levels, covariance)
    alive = most_alive(draw) - expected(model, solver, guide)
    assert alive <= once <= 5 * alive


@pytest.fixture(scope="module")
def of_coefficients():
    """A model whose fields of 7,200 values are made of 5 coefficients."""
    shape = (2, 60, 60)
    patterns = torch.randn(9, *shape, generator=torch.Generator().manual_seed(0)) / 100
    ones = torch.ones(shape)
    return gaussian_model(Latent(torch.zeros(shape), patterns[:5], patterns[5:], ones, ones))


def test_fields_of_coefficients_are_counted(of_coefficients):
    solver = Solver("ode", "2m-data", "karras", 4, rho_max=80, rho_min=0.002)
    alive, most = alive_of(of_coefficients, solver, 50), expected(of_coefficients, solver)
    assert alive <= most <= 5 * alive


def test_fields_of_coefficients_that_agree_with_observations_are_counted(of_coefficients):
    solver = Solver("ode", "2m-data", "karras", 4, rho_max=80, rho_min=0.002, denoise=True)
    alive = observing_alive(of_coefficients, solver, "interpolation", None)
    assert alive <= expected(of_coefficients, solver, "interpolation") <= 5 * alive


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is Linux's")
def test_the_peak_of_a_process_is_at_most_what_is_expected_and_a_quarter_of_it_at_least():
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.peaks"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {name: peak for line in run.stdout.splitlines() for name, peak in json.loads(line).items()}
    assert found.keys() == CASES.keys()
    assert [
        name for name, peak in found.items() if not peak["measured"] <= peak["expected"] <= 4 * peak["measured"]
    ] == []


def test_a_need_tells_how_many_samples_fit():
    need = Need(n=1000, kept=10, rows=250, each=100)
    assert need.bytes == 35_000
    assert [need.fitting(left) for left in (109, 110, 27_499, 27_500, 27_510, 35_000)] == [0, 1, 249, 250, 251, 1000]
    for left in range(0, 40_000, 97):
        n = need.fitting(left)
        assert Need(n, 10, min(n, 250), 100).bytes <= left < Need(n + 1, 10, min(n + 1, 250), 100).bytes


def test_batches_are_smaller_where_samples_take_more():
    assert [rows_of_batch(each) for each in (1, ROOM // BATCH, ROOM // BATCH + 9000, ROOM, 2 * ROOM)] == [
        BATCH, BATCH, BATCH - 1, 1, 1,
    ]  # fmt: skip


def test_what_is_under_way_is_counted_until_it_ends():
    workload = Workload()
    take = lambda n, size: workload.memory(Need(n, size * MIB, 1, 10), f"n is {n}", CPU)
    with addresses.left(1000 * MIB):
        with take(1, 500):
            with (
                pytest.raises(
                    LevyError, match=r"^n is 1, but drawing even one takes about 600 MiB, .*: ask again later, or free"
                ),
                take(1, 600),
            ):
                pass
            with (
                pytest.raises(
                    LevyError, match=r"^n is 9, but the memory .* holds [345] samples: ask again later, or for"
                ),
                take(9, 100),
            ):
                pass
        with take(1, 600):
            pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose samples take about 7 MiB each in a batch."""
    folder = save_untrained(tmp_path_factory.mktemp("model"), UNetConfig((1, 64, 64), 2, (16,)), ("a", "b"))
    save_sampler(folder)
    return folder


LIMITED = """
import re, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from levy_core.base.errors import LevyError
from levy_core.serving.registered import RegisteredModel
from tests.support import addresses
model = RegisteredModel(Path(sys.argv[1]))
model.predict([{"n": 1}])
with addresses.left(300 * 2**20):
    try:
        model.predict([{"n": 240}])
    except LevyError as error:
        print(error)
        most = int(re.search(r"holds (\\d+) samples", str(error))[1])
        print(len(model.predict([{"n": most}])))
    model._footprint.network = lambda solver, gradients: 0  # as if activations took nothing
    try:
        model.predict([{"n": 240}])
    except RuntimeError as error:
        print("out of memory:", "memory" in str(error))
"""


def test_the_most_that_is_admitted_can_be_drawn_and_what_is_refused_could_not(folder):
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    refusal, drawn, without = run.stdout.splitlines()
    most = int(drawn)
    assert refusal == f"n is 240, but the memory that is free holds {most} samples: ask for fewer at a time"
    assert 20 < most < 60
    assert without == "out of memory: True"


def test_files_are_refused_before_anything_is_written(folder, tmp_path):
    model = RegisteredModel(folder)
    seen = np.zeros((64, 64, 2), np.uint8)
    seen[0, :, 1] = 255
    Image.fromarray(seen, "LA").save(tmp_path / "seen.png")
    ways = {
        "n is 100": lambda out: model.write({"n": 100}, out),
        "n is 99": lambda out: model.infill({"n": 99}, tmp_path / "seen.png", out, {}, guide="jacobian"),
    }
    with addresses.left(60 * MIB):
        for asked, way in ways.items():
            with pytest.raises(
                LevyError, match=rf"^{asked}, but the memory that is free holds \d+ samples: ask for fewer at a time$"
            ):
                way(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_guide_with_gradients_needs_more(folder):
    model = RegisteredModel(folder)
    plain, observed, differentiated = (
        model._footprint.each(model._reader.default, guide) for guide in (None, "jacobian", "pigdm")
    )
    assert plain < observed < differentiated / 1.5


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    folder = save_fields(tmp_path_factory.mktemp("weather") / "model")
    save_sampler(folder)
    return RegisteredModel(folder)


def test_particles_are_refused_as_samples_are(weather, tmp_path):
    message = r"^2,000,000 particles are asked for, but the memory that is free holds [\d,]+ samples: ask for fewer at a time$"
    with addresses.left(40 * MIB), pytest.raises(LevyError, match=message):
        weather.event({"n": 3}, "t2m at 52,0 > 26 degC", tmp_path / "out", 2_000_000)
    assert not (tmp_path / "out").exists()


def test_particles_keep_no_more_alive_than_is_expected(weather, tmp_path):
    ask = lambda: weather.event({"n": 5, "steps": 10}, "t2m at 52,0 > 12 degC", tmp_path / "out", 400)
    solver = solver_of_events(weather._reader.default, 10, None)
    assert most_alive(ask) <= need_of_particles(weather._footprint, weather._model, 5, 400, solver).bytes


LOADED = """
import sys
from pathlib import Path
from levy_core.serving.registered import RegisteredModel
RegisteredModel(Path(sys.argv[1])).predict([{"n": 1}])
print("torch._dynamo" in sys.modules)
"""


def test_counting_imports_no_compiler(folder):
    run = subprocess.run(
        [sys.executable, "-c", LOADED, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


TOGETHER = """
import sys, threading
from pathlib import Path
import torch
torch.set_num_threads(1)
from levy_core.base.errors import LevyError
from levy_core.serving.registered import RegisteredModel
from tests.support import addresses
model = RegisteredModel(Path(sys.argv[1]))
model.predict([{"n": 1}])
begun, go_on = threading.Event(), threading.Event()

def hold(*_):
    begun.set()
    go_on.wait(60)

hook = model._model.predictor.register_forward_pre_hook(hold)
with addresses.left(400 * 2**20):
    first = threading.Thread(target=lambda: print(len(model.predict([{"n": 24}]))))
    first.start()
    assert begun.wait(60)
    try:
        model.predict([{"n": 36}])
    except LevyError as error:
        print(error)
    hook.remove()
    go_on.set()
    first.join()
"""


def test_threads_that_draw_at_once_are_counted_together(folder):
    """Of 24 and of 36 samples, which together do not fit; in a process of its own, whose other threads end at no moment of theirs."""
    run = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    refusal, drawn = run.stdout.splitlines()
    assert re.fullmatch(
        r"n is 36, but the memory that is free holds \d+ samples: ask again later, or for fewer at a time", refusal
    )
    assert drawn == "24"
