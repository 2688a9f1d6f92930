"""Networks that read patches: any picture size, all weights learn, and clear errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaekit import VaekitError
from vaekit.assembly.model import build_model
from vaekit.config import Experiment, Network
from vaekit.data.images.model import networks
from vaekit.data.images.schema import ImageSchema
from vaekit.nn import PatchDecoder, PatchEncoder
from vaekit.nn.patches import patch_grid, patch_side

SIZES = [(8, 8), (28, 28), (30, 50), (64, 56), (65, 49), (5, 3)]


@settings(deadline=None)
@given(st.tuples(st.integers(2, 200), st.integers(2, 200)))
def test_patches_cover_the_picture_and_no_more(size):
    side, grid = patch_side(size), patch_grid(size)
    for pixels, places in zip(size, grid, strict=True):
        assert (places - 1) * side < pixels <= places * side


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("context", [0, 2])
def test_any_picture_goes_in_and_comes_out(size, channels, context):
    shape, told = (channels, *size), torch.randn(4, context) if context else None
    encoder = PatchEncoder(shape, 16, 1, 6, context)
    decoder = PatchDecoder(3, 16, 1, (2 * channels, *size), context)
    features = encoder(torch.rand(4, *shape), told)
    assert features.shape == (4, 6)
    assert decoder(features[:, :3], told).shape == (4, 2 * channels, *size)


@pytest.mark.parametrize("size", [(28, 28), (30, 50)])
@pytest.mark.parametrize("context", [0, 2])
def test_every_weight_has_a_part_in_the_output(size, context):
    torch.manual_seed(0)
    told = torch.randn(4, context) if context else None
    encoder = PatchEncoder((3, *size), 16, 2, 6, context)
    decoder = PatchDecoder(3, 16, 2, (3, *size), context)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    with torch.no_grad():
        for p in parameters:  # blocks start as the identity, which hides what is inside them
            p.add_(0.1 * torch.randn_like(p))
    out = decoder(encoder(torch.rand(4, 3, *size), told)[:, :3], told)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)


def test_each_pixel_of_the_input_counts():
    """This includes the rows and columns that do not fill a whole patch."""
    torch.manual_seed(0)
    x = torch.rand(1, 1, 30, 50, requires_grad=True)
    PatchEncoder((1, 30, 50), 16, 1, 6)(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_a_block_starts_as_the_identity():
    torch.manual_seed(0)
    encoder = PatchEncoder((1, 16, 16), 16, 1, 6)
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(encoder.blocks[0](x), x)


def test_a_patch_reaches_its_place_only():
    """Without blocks, a change in one patch of features changes the pixels of that patch only."""
    torch.manual_seed(0)
    decoder = PatchDecoder(3, 16, 0, (1, 16, 16))
    h = torch.randn(1, 16, 4, 4)
    changed = h.clone()
    changed[:, :, 1, 2] += 1
    decoder.norm = torch.nn.Identity()
    before, after = (
        torch.nn.functional.pixel_shuffle(decoder.paint(torch.nn.functional.silu(maps)), 4)
        for maps in (h, changed)
    )
    moved = (before - after).abs()[0, 0] > 0
    assert moved[4:8, 8:12].all()
    assert moved.sum() == 16


@pytest.mark.parametrize("outputs", [3, 6])
def test_the_untrained_decoder_gives_the_mean_picture(outputs):
    torch.manual_seed(0)
    shape = (3, 28, 30)
    decoder = PatchDecoder(3, 16, 1, (outputs, *shape[1:]))
    mean = torch.rand(shape)
    with torch.no_grad():
        decoder.paint.weight.zero_()
        decoder.paint.bias.zero_()
    networks.start_at(decoder, mean)
    assert torch.allclose(decoder(torch.randn(2, 3))[0, :3], mean)


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_every_size_is_built_and_larger_ones_have_more_weights(size):
    schema = ImageSchema(height=28, width=28, channels=1)
    network = Network(architecture="patches", size=size, prior="standard", likelihood="gaussian")
    trace = build_model(network, schema)(torch.rand(2, 1, 28, 28))
    assert trace.likelihood.mean.shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["latent=vq:8"], "use model.architecture=conv"),
        (["levels=2"], "use conv or mlp"),
        (["hidden=[8]"], "leave it out for patches"),
        (["dropout=0.1"], "leave it out for patches"),
    ],
)
def test_what_patches_cannot_do_is_said(changes, words):
    schema = ImageSchema(height=28, width=28, channels=1)
    network = Experiment().override("architecture=patches", *changes, "likelihood=gaussian").model
    with pytest.raises(VaekitError, match=words):
        build_model(network.model_copy(update={"prior": "standard"}), schema)
