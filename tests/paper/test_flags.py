"""Every flag of the paper's release: one that acts there acts here, others are said to have no
effect, and what the release lacks is refused."""

import importlib.util
import re

import pytest

from support.commands import PAPER
from support.formula import GOLDEN
from vkd.errors import UserError

NEEDED = {"main_distributed.py": "--student-model deit_ti_distilled", "vidt/main.py": ""}
# By flag, what it needs beside it and two values, where these are not 1 and 2.
SAMPLES = {
    "--student-model": ("", "deit_ti_distilled", "deit_s"),
    "--teacher": ("", "regnety_160", "resnet50"),
    "--input-size": ("", "224", "192"),
    "--data-set": ("", "IMNET", "CIFAR"),
    "--opt": ("", "sgd", "adamw"),
    "--cutmix-minmax": ("", "0.1 0.5", "0.2 0.6"),
    "--mixup-prob": ("", "0.1", "0.2"),
    "--mixup-switch-prob": ("", "0.1", "0.2"),
    "--mixup-mode": ("", "pair", "elem"),
    "--smoothing": ("", "0.2", "0.3"),
    "--eval-crop-ratio": ("", "0.9", "1.0"),
    "--batch-size": ("", "8", "16"),
    "--method": ("", "vidt", "vidt_wo_neck"),
    "--backbone_name": ("--pre_trained none", "swin_tiny", "coat_lite_mini"),
    "--pre_trained": ("", "none", "imagenet"),
    "--iouaware_loss_coef": ("--iou_aware True", "1", "2"),
    "--token_loss_coef": ("--token_label True", "1", "2"),
    "--cross_indices": ("", "2 3", "3"),
    "--distil_model": ("", "vidt_base", "vidt_tiny"),
    "--distil_loss_coef": ("--distil_model vidt_base", "1", "2"),
    "--n_iter_to_acc": ("", "2", "4"),
    "--batch_size": ("", "8", "4"),
    "--device": ("", "cpu", "cuda"),
    "--dropout": ("", "0.2", "0.3"),
    "--decay-rate": ("--sched step", "0.2", "0.3"),
    "--dr": ("--sched step", "0.2", "0.3"),
    "--lr_drop": ("--sched step", "1", "2"),
    "--warmup-lr": ("--warmup-epochs 1", "1e-5", "1e-4"),
    "--distil_model_path": ("--distil_model vidt_base", "a.pth", "b.pth"),
    "--focal_alpha": ("", "0.2", "0.3"),
    "--eos_coef": ("--method vidt_wo_neck", "0.2", "0.3"),
    "--seed": ("", "1", "2"),
    **dict.fromkeys(
        ("--aux_loss", "--with_box_refine", "--cross_scale_fusion", "--iou_aware", "--token_label"),
        ("", "True", "False"),
    ),
}
SCHEDULES = {"main_distributed.py": ("step", "cosine"), "vidt/main.py": ("step", "warmupcos")}
SWITCHES = {
    "--bce-loss", "--unscale-lr", "--student-ema", "--src", "--disable-gray-solar-and-blur",
    "--no-pin-mem",
}  # fmt: skip
# What the command itself does, tested with it: not by the recipe.
RUNS = {"--eval-student", "--eval", "--resume", "--output_dir", "--student-ckpt"}
# As if they were not there, as in the release.
USUAL = {"--no-student-ema", "--pin-mem"}
# One value alone has a meaning here: bodies have four maps; runs know their epoch; a folder of VOC
# in COCO's format is read like any other.
SINGLE = {"--num_feature_levels": "4", "--start_epoch": "0", "--dataset_file": "coco"}


def load(name):
    """The release's command as a module."""
    spec = importlib.util.spec_from_file_location(name.replace("/", "_")[:-3], PAPER / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS = {name: load(name) for name in NEEDED}


def table(command):
    """The flags of a command's table, each with what it does."""
    text = (GOLDEN / "release-flags.md").read_text()
    part = text.split(f"## {command}", 1)[1].split("\n## ", 1)[0]
    for line in part.splitlines():
        if line.startswith("| `"):
            first, *_, acts = (cell.strip() for cell in line.strip().strip("|").split("|"))
            for flag in re.findall(r"`(--[\w-]+\*?)`", first):
                names = [flag]
                if flag == "--lr-noise*":
                    names = ["--lr-noise", "--lr-noise-pct", "--lr-noise-std"]
                yield from ((name, acts) for name in names)


ROWS = [(command, flag, acts) for command in NEEDED for flag, acts in table(command)]
ACTING = [row[:2] for row in ROWS if row[2] != "no" and "launchers" not in row[2]]
IDLE = [row[:2] for row in ROWS if row[2] == "no"]
LAUNCHED = [row[:2] for row in ROWS if "launchers" in row[2]]


def fields(command, *words):
    return COMMANDS[command].parse(" ".join([NEEDED[command], *words]).split())[1]


def test_the_table_is_whole():
    counts = [sum(row[0] == command for row in ROWS) for command in NEEDED]
    assert counts == [74, 71]
    assert len(ACTING) + len(IDLE) + len(LAUNCHED) == len(ROWS)


@pytest.mark.parametrize(("command", "flag"), ACTING)
def test_a_flag_that_acts_changes_what_is_done(command, flag):
    if flag in RUNS:
        assert flag in {**COMMANDS[command].OWN, **getattr(COMMANDS[command], "SWITCHES", {})}
    elif flag in SINGLE:
        usual = fields(command)
        assert fields(command, flag, SINGLE[flag]) == usual
        with pytest.raises(UserError, match=re.escape(flag)):
            fields(command, flag, "3")
    elif flag in SWITCHES:
        assert fields(command, flag) != fields(command)
    elif flag in USUAL:
        assert fields(command, flag) == fields(command)
    else:
        needed, *values = SAMPLES.get(flag, ("", "1", "2"))
        values = SCHEDULES[command] if flag == "--sched" else values
        assert fields(command, needed, flag, values[0]) != fields(command, needed, flag, values[1])


@pytest.mark.parametrize(("command", "flag"), IDLE)
def test_a_flag_without_effect_is_said_to_have_none(command, flag, capsys):
    assert fields(command, flag) == fields(command)
    name = "--decay-rate" if flag == "--dr" else flag
    assert f"{name} has no effect, as in the release" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "flag"), LAUNCHED)
def test_what_launchers_set_is_taken_without_a_word(command, flag, capsys):
    usual = fields(command)
    capsys.readouterr()
    assert fields(command, flag, "1") == usual
    assert flag not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *(("main_distributed.py", flag) for flag in (
            "--model-ema", "--ThreeAugment", "--crop-ratio", "--decay-lr", "--print-freq", "--gpu",
            "--rank", "--dist-backend")),
        *(("vidt/main.py", flag) for flag in (
            "--drop_path_rate", "--lr_backbone_names", "--iou_aware_loss_coef", "--dist_url",
            "--gpu", "--cache_mode")),
    ],
)  # fmt: skip
def test_what_the_release_lacks_is_refused_by_name(command, flag):
    with pytest.raises(UserError, match=f"no flag {flag} of"):
        fields(command, flag, "1")


def test_no_flag_is_here_that_the_release_lacks():
    for command in NEEDED:
        known = {flag for name, flag, _ in ROWS if name == command}
        own = COMMANDS[command].TRANSLATION.flags()
        assert own - known <= {"--local_rank", "--local-rank"}
        assert known - own == set()


def test_the_releases_defaults_hold():
    deit = fields("main_distributed.py")
    assert (deit["batch_size"], deit["epochs"], deit["seed"]) == (256, 300, 14159265)
    assert (deit["min_lr"], deit["label_smoothing"], deit["workers"]) == (5e-6, 0.1, 12)
    vidt = fields("vidt/main.py")
    assert (vidt["batch_size"], vidt["student"], vidt["seed"]) == (16, "vidt_tiny", 42)
    assert (vidt["box_refinement"], vidt["auxiliary_losses"]) == (False, False)
    assert (vidt["decayed"], vidt["schedule_step"]) == ("all", "epoch")
    assert (vidt["backbone_checkpoint"], vidt["lr"]) == ("hub", 1e-4)


def test_accumulated_steps_divide_the_batch():
    found = fields("vidt/main.py", "--batch_size 16 --n_iter_to_acc 4")
    assert (found["batch_size"], found["accumulation"]) == (4, 4)
    with pytest.raises(UserError, match="--n_iter_to_acc must divide --batch_size 16, found 3"):
        fields("vidt/main.py", "--n_iter_to_acc 3")


def test_a_detector_without_a_neck_has_what_the_release_fixes(capsys):
    found = fields("vidt/main.py", "--method vidt_wo_neck --cls_loss_coef 3")
    assert (found["architecture"], found["class_weight"]) == ("vidt_wo_neck", 1.0)
    assert "--cls_loss_coef has no effect with vidt_wo_neck" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "flag", "reason"),
    [
        ("--lr_drop 30", "--lr_drop", "--sched warmupcos"),
        ("--dr 0.5", "--decay-rate", "--sched warmupcos"),
        ("--warmup-lr 1e-5", "--warmup-lr", "--warmup-epochs 0"),
        ("--eos_coef 0.2", "--eos_coef", "vidt"),
        ("--method vidt_wo_neck --dec_layers 4", "--dec_layers", "vidt_wo_neck"),
        ("--method vidt_wo_neck --aux_loss True", "--aux_loss", "vidt_wo_neck"),
        ("--iouaware_loss_coef 1", "--iouaware_loss_coef", "--iou_aware False"),
        ("--distil_loss_coef 1", "--distil_loss_coef", "no --distil_model"),
    ],
)
def test_a_flag_of_what_is_off_is_said_to_have_no_effect(words, flag, reason, capsys):
    method = words.split(" --")[0] if words.startswith("--method") else ""
    usual = fields("vidt/main.py", method)
    capsys.readouterr()
    assert fields("vidt/main.py", words) == usual
    said = f"vkd: {flag} has no effect with {reason}, as in the release.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("vidt/main.py", "--cross_indices 4", "must be of 0 to 3"),
        ("vidt/main.py", "--dec_layers 0", "above 0"),
        ("vidt/main.py", "--nheads many", "must be a whole number"),
        ("vidt/main.py", "--num_feature_levels 3", "must be 4"),
        ("vidt/main.py", "--sched cosin", "must be one of warmupcos, step"),
        ("main_distributed.py", "--cutmix-minmax 0.5", "must be two numbers"),
        ("main_distributed.py", "--cutmix-minmax 0.5 0.2", "must rise within 0 to 1"),
        ("main_distributed.py", "--data-set CIFAR10", "must be IMNET or CIFAR"),
    ],
)
def test_values_out_of_range_are_refused_with_the_range(command, words, message):
    with pytest.raises(UserError, match=message):
        fields(command, words)
