"""Small GANs."""

from vkd.recipe import recipe


def small_gan(**changes):
    """The recipe of a small GAN on digits, whose teacher and extractor are to be given."""
    values = {
        "channels": 4, "noise_dim": 8, "epochs": 2, "samples": 200, "evaluate_every": 1,
        "checkpoint_every": 1, "device": "cpu", "trackers": "", "fraction": 0.2,
    }  # fmt: skip
    return recipe("gan-digits", **(values | changes))
