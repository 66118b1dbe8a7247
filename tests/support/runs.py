"""Run folders that several tests read."""

from support.commands import run_here
from support.gan import small_gan
from vkd.api.train import train
from vkd.recipe import recipe


def digits_teacher_run(folder):
    """A digits teacher after three epochs."""
    config = recipe("digits-teacher", epochs=3, device="cpu", trackers="")
    train(config, folder, show=False)


def short_digits_run(folder, teacher):
    """A distilled digits student after twelve epochs, by the command."""
    done = run_here(
        "train", "digits", "--output", folder, "--epochs", 12, "--lr", 0.004, "--device", "cpu",
        "--teacher-checkpoint", teacher,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "stderr.txt").write_text(done.stderr)


def small_gan_run(folder, teacher):
    """A small GAN after two epochs."""
    networks = {"teacher_checkpoint": str(teacher), "extractor_checkpoint": str(teacher)}
    train(small_gan(**networks), folder, show=False)
