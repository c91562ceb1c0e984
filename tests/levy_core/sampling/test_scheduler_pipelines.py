"""LevyScheduler in diffusers' pipelines with tiny weights: DiT, Stable Diffusion from text and from images, and a fresh process."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from levy_core.process.noise import Stable
from levy_core.sampling.diffusers_scheduler import LevyScheduler
from levy_core.sampling.torch_streams import TorchStreams

import diffusers  # isort: skip
from diffusers import (  # isort: skip
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)

LATENT = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LATENT |= {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
HEAVY = (
    {},
    {"solver": "sde-e", "eta": 0.3},
    {"solver": "ode", "discretisation": "2m-data"},
    {"solver": "ode", "discretisation": "3m-data"},
    {"solver": "posterior"},
)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def autoencoder():
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return AutoencoderKL(block_out_channels=[8, 8], latent_channels=4, norm_num_groups=4, **blocks)


@pytest.fixture(scope="module")
def dit():
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        sample_size=8, num_layers=1, attention_head_dim=8, num_attention_heads=2, in_channels=4, out_channels=8
    )
    transformer.eval()  # no class is dropped
    pipeline = DiTPipeline(transformer, autoencoder(), DDIMScheduler(**LATENT))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def classes(pipeline, scheduler, **arguments):
    """Images of two classes; the pipeline gives steps no generator, so they draw from torch's own."""
    pipeline.scheduler = scheduler
    torch.manual_seed(3)
    return pipeline([1, 7], generator=seeded(), num_inference_steps=6, output_type="pt", **arguments).images


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_dit_makes_the_same_images_at_alpha_2_and_others_below(dit, guidance):
    original = classes(dit, DDIMScheduler(**LATENT), guidance_scale=guidance)
    same = classes(dit, LevyScheduler(**LATENT), guidance_scale=guidance)
    assert (same - original).abs().max() < 1e-5
    for method in HEAVY:
        heavy, again = (
            classes(dit, LevyScheduler(**LATENT, alpha=1.7, **method), guidance_scale=guidance) for _ in "12"
        )
        assert torch.isfinite(heavy).all()
        assert torch.equal(heavy, again)
        assert (heavy - original).abs().max() > 0.01


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """What a pipeline of Stable Diffusion is made of, but for the scheduler."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    return {
        "vae": autoencoder(),
        "text_encoder": transformers.CLIPTextModel(text),
        "tokenizer": transformers.CLIPTokenizer(
            str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
        ),
        "unet": unet,
        "safety_checker": None,
        "feature_extractor": None,
    }


def stable_diffusion(kind, parts, scheduler):
    pipeline = getattr(diffusers, kind)(**parts, scheduler=scheduler, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents(pipeline, **arguments):
    given = {"num_inference_steps": 6, "guidance_scale": 3.0, "generator": seeded(), **arguments}
    return pipeline("a cat", output_type="latent", **given).images


def test_stable_diffusion_makes_the_same_images_at_alpha_2_and_others_below(parts):
    def made(scheduler, **arguments):
        return latents(stable_diffusion("StableDiffusionPipeline", parts, scheduler), **arguments)

    original = made(DDIMScheduler(**LATENT))
    assert (made(LevyScheduler(**LATENT)) - original).abs().max() < 1e-4
    times = [951, 701, 401, 201, 51]
    for chosen in ({"timesteps": times}, {"num_inference_steps": 6, "sigmas": [14.0, 5.0, 2.0, 0.7, 0.2, 0.0]}):
        assert torch.isfinite(made(LevyScheduler(**LATENT), **chosen)).all()
        assert torch.isfinite(made(LevyScheduler(**LATENT, alpha=1.7), **chosen)).all()
    betas = {name: value for name, value in LATENT.items() if "beta" in name}
    second = DPMSolverMultistepScheduler(**betas, steps_offset=1, solver_type="heun")
    expected = made(second, timesteps=times)
    levy = LevyScheduler.from_config(second.config, clip_sample=False, solver="ode", discretisation="2m-data")
    assert (made(levy, timesteps=times) - expected).abs().max() < 1e-4
    for method in HEAVY:
        heavy, again = (made(LevyScheduler(**LATENT, alpha=1.7, **method)) for _ in "12")
        assert torch.isfinite(heavy).all()
        assert torch.equal(heavy, again)
        assert (heavy - original).abs().max() > 0.1


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("method", HEAVY[:4], ids=str)
def test_stable_diffusion_from_images_begins_with_stable_noise(parts, strength, method):
    """The pipeline's latents are those of a loop by hand that begins with ``a x_0 + gamma sqrt(A) z``."""
    image = torch.rand(1, 3, 16, 16, generator=seeded(5))
    scheduler = LevyScheduler(**LATENT, alpha=1.7, **method)
    pipeline = stable_diffusion("StableDiffusionImg2ImgPipeline", parts, scheduler)
    made = latents(pipeline, image=image, strength=strength, guidance_scale=1.0)
    assert torch.isfinite(made).all()

    generator, by_hand = seeded(), LevyScheduler(**LATENT, alpha=1.7, start="stable", **method)
    with torch.no_grad():
        encoded = parts["vae"].encode(2 * image - 1).latent_dist.sample(generator) * parts["vae"].config.scaling_factor
        z = torch.randn(encoded.shape, generator=generator)
        e = z * Stable(1.7).mixing(z.shape[1:], TorchStreams.of_content(z)).sqrt().float()
        text = pipeline.encode_prompt("a cat", "cpu", 1, False)[0]
        by_hand.set_timesteps(6)
        # the extra timestep counts as a step of the pipeline
        times = by_hand.timesteps[max(6 - int(6 * strength) - 1, 0) :]
        x = by_hand.add_noise(encoded, e, times[:1])
        for t in times:
            out = parts["unet"](x, t, encoder_hidden_states=text).sample
            x = by_hand.step(out, t, x, generator=generator).prev_sample
    assert torch.allclose(made, x, atol=1e-4)


def test_stable_diffusion_from_images_is_diffusers_at_alpha_2(parts):
    image = torch.rand(1, 3, 16, 16, generator=seeded(5))
    for kind, more in (
        ("StableDiffusionImg2ImgPipeline", {}),
        ("StableDiffusionInpaintPipeline", {"mask_image": image[:, :1].round()}),
    ):
        for strength in (0.5, 1.0):
            one, other = (
                latents(stable_diffusion(kind, parts, scheduler), image=image, strength=strength, **more)
                for scheduler in (DDIMScheduler(**LATENT), LevyScheduler(**LATENT))
            )
            assert (one - other).abs().max() < 1e-4


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_inpainting_keeps_what_is_outside_the_mask(parts, strength):
    image = torch.rand(1, 3, 16, 16, generator=seeded(5))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1
    pipeline = stable_diffusion("StableDiffusionInpaintPipeline", parts, LevyScheduler(**LATENT, alpha=1.7))
    made = [latents(pipeline, image=image, mask_image=mask, strength=strength, generator=seeded(i)) for i in (1, 1, 2)]
    assert torch.isfinite(made[0]).all()
    assert torch.equal(made[0], made[1])
    assert (made[0] - made[2])[..., 5:].abs().max() > 0.1


FRESH = """
import json, sys
import levy_core.sampling.diffusers_scheduler  # before diffusers, where torch is a CPU build
import diffusers, torch
torch.set_num_threads(int(sys.argv[2]))  # their number decides the last bits of a sum
for kind, folder, arguments in json.loads(sys.argv[1]):
    pipe = getattr(diffusers, kind).from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe.scheduler).__name__ == "LevyScheduler"
    torch.manual_seed(3)
    torch.save(pipe(**arguments, generator=torch.Generator().manual_seed(1)).images, folder + "/images.pt")
"""


def test_pipelines_from_disk_make_the_same_in_a_fresh_process(dit, request, tmp_path):
    """One process for all, because most of its time goes into imports."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, **blocks
    )
    ddpm = DDPMPipeline(unet, LevyScheduler(alpha=1.7, solver="sde-e", discretisation="2m-data", eta=0.3))
    dit.scheduler = LevyScheduler(**LATENT, alpha=1.7, solver="posterior")
    given = [(ddpm, {"batch_size": 2, "output_type": "pt"}), (dit, {"class_labels": [1, 7], "output_type": "pt"})]
    if importlib.util.find_spec("transformers"):
        scheduler = LevyScheduler(**LATENT, alpha=1.7, solver="ode", discretisation="3m-data")
        text = stable_diffusion("StableDiffusionPipeline", request.getfixturevalue("parts"), scheduler)
        given.append((text, {"prompt": "a cat", "output_type": "latent"}))
    expected, calls = {}, []
    for pipeline, arguments in given:
        pipeline.set_progress_bar_config(disable=True)
        arguments["num_inference_steps"] = 5
        torch.manual_seed(3)
        kind = type(pipeline).__name__
        expected[kind] = pipeline(**arguments, generator=seeded()).images
        pipeline.save_pretrained(tmp_path / kind)
        calls.append((kind, str(tmp_path / kind), arguments))
    subprocess.run([sys.executable, "-c", FRESH, json.dumps(calls), str(torch.get_num_threads())], check=True)
    for kind, images in expected.items():
        assert torch.allclose(torch.load(tmp_path / kind / "images.pt"), images, atol=1e-4), kind
