"""Experiments on images."""

from __future__ import annotations

from vaekit.config import Cost, Data, Experiment, Network, Training


def images(source: str) -> Experiment:
    """For any images: open settings are chosen by the images."""
    return Experiment(data=Data(source=source))


def digits(source: str) -> Experiment:
    """The 1,797 handwritten 8x8 digits that scikit-learn ships, in well under a minute on two cores.

    The means have no sigmoid, which does not help here: the held-out ELBO is 42.6 nats, and 41.5 with one.
    """
    return Experiment(
        data=Data(source=source),
        model=Network(architecture="conv", latent=8, prior="mixture:100", likelihood="gaussian"),
        train=Training(epochs=30, batch=64, lr=2e-3, weight_decay=1.0),
    )


def mnist_density(source: str) -> Experiment:
    """Density of dynamically binarised MNIST, with the layer sizes of the IWAE paper (784-200-200-50) and SiLU."""
    return Experiment(
        data=Data(source=source, holdout=1 / 12),
        model=Network(
            architecture="mlp",
            hidden=(200, 200),
            activation="silu",
            latent=50,
            likelihood="bernoulli",
            binarise="dynamic",
        ),
        objective=Cost(warmup=0.02),
        train=Training(epochs=300, batch=256, lr=5e-3, lr_floor=0.0, optimiser="soap"),
    )


def mnist_iwae(source: str) -> Experiment:
    """The same network trained on the importance-weighted bound of 50 draws (Burda et al. 2016); needs a GPU."""
    base = mnist_density(source)
    return base.model_copy(update={"objective": Cost(bound="iwae:50")})


RECIPES = {
    "images": images,
    "digits": digits,
    "mnist-density": mnist_density,
    "mnist-iwae": mnist_iwae,
}
"""The recipes by name; the first is for any images."""
