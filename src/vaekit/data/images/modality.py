"""Images as a kind of data: their `Modality`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.config import Data, Experiment, Network
from vaekit.data import conditions
from vaekit.data.dataset import Resident
from vaekit.data.images import augment, augmented, quality, recipes
from vaekit.data.images.collection import Images
from vaekit.data.images.load import load, recognises
from vaekit.data.images.model import networks
from vaekit.data.images.model.binarise import draw_bits, is_black_and_white, prepare
from vaekit.data.images.model.likelihoods import Likelihood, likelihood
from vaekit.data.images.options import OPTIONS
from vaekit.data.images.read import arrays
from vaekit.data.images.report import sections
from vaekit.data.images.schema import ImageSchema, describe, to_tensor
from vaekit.data.images.write import check_named, illustrate, is_picture_file, write_made
from vaekit.data.modality import (
    Between,
    Measures,
    Modality,
    Modelling,
    Output,
    Place,
    Source,
    Values,
)
from vaekit.data.storage.disk import DiskImages
from vaekit.errors import VaekitError
from vaekit.files import new_folder
from vaekit.models.hierarchy import Hierarchy, conv_hierarchy, dense_hierarchy
from vaekit.models.vae import Conditional

LOOKED_AT = 50_000
"""The number of images, evenly spread, that are checked for grey levels."""

FEW = 5000
"""Up to this number of small images, the net is convolutional (600 of MNIST: held-out ELBO 466, not 298 nats)."""


def picture(likelihood: Distribution) -> Tensor:
    """The likelihood's mean, in [0, 1], on the CPU."""
    return likelihood.mean.clamp(0, 1).cpu()


def drawn_picture(likelihood: Distribution) -> Tensor:
    """A draw from the likelihood, in [0, 1], on the CPU."""
    return likelihood.sample().clamp(0, 1).cpu()


def _read(data: Data, **options: Any) -> Images:
    if data.constraints:
        raise VaekitError(
            f"{data.source}: constraints are for tables, but these are images; leave them out"
        )
    return load(
        data.source,
        size=data.size,
        channels=data.channels,
        array=data.array,
        labels=data.labels,
        memory_budget=data.memory_budget,
        condition=data.condition,
        table=data.table,
        **options,
    )


def _load(source: str, trained_on: Data, channels: int | None = None, **options: Any) -> Images:
    """New images for a model, converted to grey or colour as the training images were."""
    return load(source, channels=channels or trained_on.channels, **options)


def _reread(data: Data, schema: ImageSchema, **options: Any) -> Images:
    images, then = _read(data, **options), data
    ours = images.schema
    if ours.shape != schema.shape and then.size is None and ours.resized:
        then = then.model_copy(update={"size": (schema.height, schema.width)})
    if (
        ours.shape != schema.shape
        and then.channels is None
        and (ours.channels, schema.channels) == (1, 3)
    ):
        then = then.model_copy(update={"channels": 3})
    return images if then is data else _read(then, **options)


# Settings that the data suggest


def _settle(
    experiment: Experiment, images: Images, kind: str, reasons: list[str]
) -> tuple[list[str], ImageSchema]:
    changes, schema = _likelihood(experiment, images, reasons)
    return changes + _network(experiment, images, kind, reasons), schema


def _likelihood(
    experiment: Experiment, images: Images, reasons: list[str]
) -> tuple[list[str], ImageSchema]:
    name, binarise = experiment.model.likelihood, experiment.model.binarise
    two_valued = _is_two_valued(images)
    if name == "auto":
        name = "bernoulli" if two_valued else "gaussian-sigmoid"
        reasons.append(
            f"likelihood {name}: the pixels are {'black or white' if two_valued else 'of many levels'}"
        )
    wanted = likelihood(name, images.schema.channels)
    if wanted.binary and not two_valued and binarise == "none":
        raise VaekitError(
            f"{images.source}: likelihood '{name}' needs pixels in {{0, 1}}, but these are grey levels; use "
            "model.binarise=dynamic (or static), or model.likelihood=continuous-bernoulli, gaussian or logistic-mixture"
        )
    if not wanted.binary and binarise in ("static", "dynamic"):
        raise VaekitError(
            f"model.binarise={binarise} goes with likelihood bernoulli, not with '{name}'"
        )
    if wanted.discrete and not wanted.binary and images.schema.dtype != "uint8":
        raise VaekitError(
            f"{images.source}: likelihood '{name}' needs 8-bit pixels, but these are {images.schema.dtype}"
        )
    if binarise == "static" and isinstance(images.raw, DiskImages):
        raise VaekitError(
            f"{images.source}: static binarisation needs images that fit in memory; use dynamic"
        )
    if binarise == "auto":
        binarise = "dynamic" if wanted.binary and not two_valued else "none"
        reasons += [f"binarised again in each epoch ({name} needs pixels in {{0, 1}})"] * (
            binarise == "dynamic"
        )
    bits = wanted.binary and binarise != "dynamic"
    reasons += augment.require_fits(experiment.data.augment, images.schema, bits)
    schema = images.schema.model_copy(update={"binarise": binarise})
    return [f"model.likelihood={name}", f"model.binarise={binarise}"], schema


def _is_two_valued(images: Images) -> bool:
    chosen = torch.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).long()
    return all(is_black_and_white(images.raw.take(index)) for index in chosen.split(4096))


def _network(experiment: Experiment, images: Images, kind: str, reasons: list[str]) -> list[str]:
    if experiment.model.architecture == "chain":
        raise VaekitError(
            "architecture chain is for the columns of tables; images have patches, mlp or conv"
        )
    if experiment.model.architecture != "auto":
        return []
    name, why = _suited(experiment.model, images.schema, len(images), kind)
    reasons.append(f"architecture {name}: {why}")
    return [f"model.architecture={name}"]


def _suited(network: Network, schema: ImageSchema, n: int, kind: str) -> tuple[str, str]:
    """The architecture for n images of this schema, and the reason."""
    if kind == "codes":
        return "conv", "codes lie on a grid, and only this net keeps it"
    pixels = f"{n:,} images of {schema.height}x{schema.width}x{schema.channels} pixels"
    if schema.channels == 1 and schema.height * schema.width <= 1024 and n > FEW:
        return "mlp", f"{pixels}, enough for a dense net not to overfit"
    if network.levels > 1:
        return "conv", f"{pixels}, {network.levels} levels"
    if min(schema.height, schema.width) < networks.LARGE_SIDE:
        return "conv", pixels
    return "patches", f"{pixels}; learns more than conv in the same time"


def _candidates(experiment: Experiment, schema: ImageSchema, kind: str, n: int) -> list[list[str]]:
    """The nets that take part in the race; the best guess for n images of this size comes first."""
    network = experiment.model
    if network.architecture != "auto" or network.hidden or network.dropout or kind == "codes":
        return []
    first = _suited(network, schema, n, kind)[0]
    able = ("patches", "conv", "mlp") if network.levels == 1 else ("conv", "mlp")
    names = [first, *(name for name in able if name != first)]
    return [[f"model.architecture={name}"] for name in names]


def fixed_bits(images: Images, seed: int) -> Images:
    """With static binarisation, the images as bits that are drawn once from the seed; else the images unchanged."""
    if images.schema.binarise != "static":
        return images
    generator = torch.Generator().manual_seed(seed)
    bits = [
        draw_bits(images.raw.take(i), generator).mul(255).byte()
        for i in torch.arange(len(images)).split(4096)
    ]
    test = images.test and fixed_bits(images.test, seed + 1)
    schema = images.schema.model_copy(update={"dtype": "uint8"})
    return replace(images, raw=Resident(torch.cat(bits)), schema=schema, test=test)


def _require_fits(x: Tensor, network: Network, schema: ImageSchema, source: str) -> None:
    if _of(network, schema).binary and schema.binarise != "dynamic" and not is_black_and_white(x):
        raise VaekitError(
            f"{source}: has grey levels, but this model's likelihood needs pixels in {{0, 1}}; "
            "make them black and white, or train with binarise=dynamic"
        )


# Likelihoods and networks


def _of(network: Network, schema: ImageSchema) -> Likelihood:
    return likelihood(network.likelihood, schema.channels)


def _parts(
    network: Network, schema: ImageSchema, between: Between, context: int
) -> tuple[nn.Module, nn.Module]:
    pixels = _of(network, schema)
    encoding, decoding = _nets(network, schema, between, pixels.outputs, context)
    return encoding, Conditional(decoding, pixels.family, len(between[1]))


def _nets(
    network: Network, schema: ImageSchema, between: Between, outputs: int, context: int
) -> tuple[nn.Module, nn.Module]:
    if network.architecture == "conv":
        _refuse_dense(network)
        size = networks.CONVOLUTIONAL[network.size]
        return networks.convolutional(schema.shape, *size, between, outputs, context)
    if network.architecture == "patches":
        _refuse_dense(network)
        _refuse_grid(network, between)
        size = networks.PATCHES[network.size]
        return networks.patches(schema.shape, *size, between, outputs, context)
    widths = network.hidden or networks.DENSE[network.size]
    return networks.dense(
        schema.shape, widths, between, outputs, network.activation, context, network.dropout
    )


def _hierarchy(
    network: Network, schema: ImageSchema, sizes: Sequence[int], context: int
) -> Hierarchy:
    pixels = _of(network, schema)
    if network.architecture == "patches":
        raise VaekitError(
            f"levels={network.levels}: architecture patches has one level; use conv or mlp"
        )
    if network.activation == "gated":
        raise VaekitError(
            f"levels={network.levels}: a hierarchy's layers cannot be gated; use model.activation=silu"
        )
    if network.architecture == "conv":
        _refuse_dense(network)
        width, blocks = networks.CONVOLUTIONAL[network.size]
        stride = networks.first_stride(schema.shape)
        return conv_hierarchy(
            schema.shape,
            pixels.outputs,
            sizes,
            width,
            blocks,
            pixels.family,
            stride,
            context=context,
        )
    width, blocks = networks.LADDER[network.size]
    width = network.hidden[0] if network.hidden else width
    return dense_hierarchy(
        schema.shape,
        pixels.outputs,
        sizes,
        width,
        blocks,
        pixels.family,
        network.activation,
        context,
        dropout=network.dropout,
    )


def _refuse_dense(network: Network) -> None:
    """Raise a VaekitError for settings that only fully connected networks have."""
    for field in ("hidden", "dropout"):
        if getattr(network, field):
            raise VaekitError(
                f"model.{field} belongs to the mlp; leave it out for {network.architecture}, "
                "or use model.architecture=mlp"
            )


def _refuse_grid(network: Network, between: Between) -> None:
    """Raise a VaekitError for a grid of codes: these nets give one vector for a picture."""
    if len(between[1]) > 1:
        raise VaekitError(
            f"latent '{network.latent}': its codes lie on a grid, but {network.architecture} "
            "gives one vector for a picture; use model.architecture=conv"
        )


def _init_decoder(decoder: nn.Module, network: Network, schema: ImageSchema, raw: Tensor) -> None:
    pixels = _of(network, schema)
    if pixels.start is not None:
        networks.start_at(
            cast(Conditional, decoder).net, pixels.start(to_tensor(raw, schema).mean(0))
        )


def _write(made: Any, schema: ImageSchema, place: Place) -> dict[str, str]:
    """Write new images, or training images with new ones."""
    if isinstance(made, augmented.LabelledPictures):
        folder = new_folder(place.named or place.folder)
        return augmented.write_augmented(made, folder, place.stem)
    return write_made(made, schema, place)


def _describe(schema: ImageSchema, count: int, held: int, source: str) -> list[str]:
    """The lines of `vaekit info` about the images that a run was trained on."""
    classes = f", {len(schema.classes)} classes" if schema.classes else ""
    number = f"{count:,} images" if count else "images"
    kept = f"; {held:,} of them held out" if count else ""
    form = describe(schema.height, schema.width, schema.channels)
    told = ", ".join(conditions.describe(field) for field in schema.conditions)
    line = f"{number} of {source}: {form}{classes}{BITS[schema.binarise]}{kept}"
    return [line, f"conditions: {told}; ask for them with --where"] if told else [line]


BITS = {
    "none": "",
    "static": ", binarised once",
    "dynamic": ", binarised again in each epoch",
}


MODALITY = Modality(
    name="images",
    datum="image",
    schema=ImageSchema,
    source=Source(
        forms="a folder of pictures, an .npz or .npy file, a folder of idx files, hf:owner/name, digits",
        recognises=recognises,
        read=_read,
        reread=_reread,
        load=_load,
        recipes=recipes.RECIPES,
        suffixes=(".gz", *arrays.SUFFIXES),
        presets={"digits": "digits"},
    ),
    values=Values(
        prepare=prepare,
        to_tensor=to_tensor,
        require_fits=_require_fits,
        augment=augment.augmentation,
        freeze=fixed_bits,
    ),
    model=Modelling(
        settle=_settle,
        candidates=_candidates,
        discrete=lambda network, schema: _of(network, schema).discrete,
        parts=_parts,
        init_decoder=_init_decoder,
        hierarchy=_hierarchy,
        grid=lambda schema: networks.grid(schema.shape),
    ),
    output=Output(
        as_data=picture,
        readings={"mean": picture, "sample": drawn_picture},
        write=_write,
        check=check_named,
        describe=_describe,
        impute="pictures have no missing values",
        augment=augmented.augment,
        number=lambda named: 1 if named is not None and is_picture_file(named) else 64,
        next=("generate {} -n 64 --seed 1", "reconstruct {}"),
    ),
    measures=Measures(
        named=quality.MEASURES,
        report=sections,
        check=quality.check,
        illustrate=illustrate,
    ),
    options=OPTIONS,
)
