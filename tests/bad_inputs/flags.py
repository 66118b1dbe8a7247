"""Values of the flags of ``vkd train`` that no task takes; the flags of other commands likewise."""

from bad_inputs.table import Case

HUGE = "1" + "0" * 30
LONG = "x" * 5000

_ALONE = "--method none --feature-weight 0 --teacher '' --teacher-recipe ''"
TRAINING = {
    "digits": "train digits --teacher-checkpoint teacher --output out",
    "digits-detection": f"train digits-detection {_ALONE} --output out",
    "gan-digits": "train gan-digits --teacher-checkpoint teacher --extractor-checkpoint teacher "
    "--output out",
    "digits-embedding": "train digits-embedding --teacher-checkpoint teacher --output out",
}
# By recipe, values of a flag that are refused; each names the flag and what was found.
VALUES = {
    "digits": {
        "--epochs": ("0", "-1", "1.5", "word", "''", HUGE, "1000000000000"),
        "--batch-size": ("0", "nan", "1000000000000"),
        "--accumulation": ("0", "1000000000000"),
        "--lr": ("-1", "nan", "inf", "1e400", "word", "''"),
        "--lr-reference-batch": ("-1", "0.5"),
        "--min-lr": ("-1", "inf"),
        "--weight-decay": ("-1", "nan"),
        "--beta1": ("1", "-0.1", "nan"),
        "--clip-grad": ("-1", "inf"),
        "--ema-decay": ("1", "-1", "nan"),
        "--ema-decay-end": ("2",),
        "--decay-rate": ("0", "2"),
        "--warmup-epochs": ("-1", "1000"),
        "--optimizer": ("adamv",),
        "--schedule": ("cosin", "''"),
        "--schedule-step": ("never",),
        "--decayed": ("some",),
        "--mixed-precision": ("fp8",),
        "--device": ("cpu:9", "foo", "''", "cuda:0", "CPU"),
        "--workers": ("-1", "1000000", "nan"),
        "--seed": ("-1", "18446744073709551616", "4294967296", "1.5", "word"),
        "--evaluate-every": ("0",),
        "--checkpoint-every": ("0", "-3"),
        "--rollbacks": ("-1",),
        "--log-every": ("-1",),
        "--trackers": ("spreadsheet",),
        "--compile": ("maybe",),
        "--pin-memory": ("2",),
        "--crop-padding": ("-1", "1000000"),
        "--flip": ("sideways",),
        "--train-fraction": ("0", "2", "nan"),
        "--mixup": ("-1", "nan"),
        "--cutmix-max": ("2",),
        "--mixup-mode": ("triple",),
        "--repeated-augmentation": ("0", "1000000000000"),
        "--drop-path": ("1", "-1", "nan"),
        "--temperature": ("0", "-1", "inf"),
        "--label-smoothing": ("1", "-1"),
        "--label-fraction": ("0", "1.5"),
        "--label-loss": ("hinge",),
        "--feature-weight": ("-1", "nan", "1e400"),
        "--logit-weight": ("-1", "inf"),
        "--projection": ("orthogonl", "''"),
        "--normalization": ("batch",),
        "--distance": ("l3",),
        "--method": ("vdk",),
        "--method-options": ("word", "'[1]'"),
        "--teacher-precision": ("int8",),
        "--validation-fraction": ("0", "1", "nan"),
        "--max-corrupt": ("-1",),
        "--dataset": ("digit", "''"),
        "--input-size": ("0", "1000000"),
        "--student-layer": ("no.such.layer",),
        "--epoch": ("3",),
    },
    "digits-detection": {
        "--num-classes": ("-1", "100000000000"),
        "--num-det-tokens": ("-1", "1000000000"),
        "--short-side": ("-1", "1000000"),
        "--long-side": ("1000000000",),
        "--class-weight": ("-1", "nan"),
        "--box-cost": ("-1",),
        "--focal-alpha": ("2", "nan"),
        "--backbone-lr": ("-1",),
        "--architecture": ("detr",),
        "--augmentation": ("mosaic",),
        "--device": ("cpu:9",),
        "--seed": ("-1",),
        "--student": ("resnet18", "vidt_nan"),
        "--student-options": ("'{num_layers: 2, heads: x}'",),
    },
    "gan-digits": {
        "--channels": ("0", "3", "1000000"),
        "--noise-dim": ("0", "1000000000"),
        "--samples": ("0", "100000000000"),
        "--fraction": ("0", "2", "nan"),
        "--subset-seed": ("-1", HUGE),
        "--generator-every": ("0",),
        "--whitening": ("none",),
        "--teacher-pool": ("mean",),
        "--diff-augment": ("perhaps",),
        "--student": ("resnet18", "bigan"),
        "--extractor": ("incepton",),
        "--device": ("foo",),
    },
    "digits-embedding": {
        "--layers": ("word", "'{a: 1, a.b: [2]}'"),
        "--layer-weights": ("'{nothing: 1}'", "'{x: word}'"),
        "--teachers": ("word", "'[word]'"),
        "--teacher-size": ("-1", "1000000"),
        "--dense": ("perhaps",),
        "--dataset": ("digts",),
        "--device": ("cpu:9",),
    },
}
# What the sentence says in place of the flag as it was given.
_NAMED = {"--epoch": "--epochs"}


def _cases():
    for recipe, flags in VALUES.items():
        needs = () if recipe == "digits-detection" else ("teacher",)
        for flag, values in flags.items():
            for value in values:
                yield Case(
                    f"{recipe} {flag} {value[:30]}",
                    f"{TRAINING[recipe]} {flag}={value}",
                    (_NAMED.get(flag, flag),),
                    needs=needs,
                )


CASES = [
    *_cases(),
    Case("no recipe", "train --lr 1", ("--lr",)),
    Case("unknown recipe", "train digit", ("digit", "did you mean digits?")),
    Case("a recipe of 5000 letters", f"train {LONG}", ("xxx",)),
    Case("a recipe of bytes", "train '\udcff.yaml'", ("recipe",)),
    Case("unknown flag", "train digits --learning-rate 1", ("--learning-rate",)),
    Case("a flag without a value", "train digits --lr", ("lr",)),
    Case("a stray word", "train digits word", ("word",)),
    Case("unknown command", "trian digits", ("trian", "did you mean train?")),
    Case("unknown flag of vkd", "--versoin", ("--versoin",)),
    Case("student empty", "train digits --student=", ("--student",)),
    Case(
        "student a detector", "train digits --student vidt_digits --teacher-checkpoint teacher "
        "--output out", ("vidt_digits",), needs=("teacher",),
    ),
    Case(
        "student of 224 pixels",
        "train digits --student vit_tiny_patch16_224 --teacher-checkpoint teacher --output out",
        ("vit_tiny_patch16_224",), needs=("teacher",),
    ),
    Case("teacher unknown", "train digits --teacher cnn_digit --output out", ("cnn_digit",)),
    Case(
        "teacher of other weights", "train digits --teacher resnet18 --teacher-checkpoint teacher "
        "--output out", ("teacher", "ResNet"), needs=("teacher",),
    ),
    Case(
        "teacher a detector's weights", "train digits --teacher-checkpoint detector --output out",
        ("detector",), needs=("detector",),
    ),
    Case(
        "teacher a generator's weights", "train digits --teacher-checkpoint gan --output out",
        ("gan",), needs=("gan",),
    ),
    Case(
        "teacher a student's weights", "train digits --teacher-checkpoint student --output out",
        ("student",), needs=("student",),
    ),
    Case(
        "teacher not there", "train digits --teacher-checkpoint nowhere --output out", ("nowhere",)
    ),
    Case(
        "teacher of 5000 letters", f"train digits --output out --teacher-checkpoint {LONG}",
        ("xxx",),
    ),
    Case(
        "teacher below a file", "train digits --teacher-checkpoint teacher/recipe.yaml/x "
        "--output out", ("teacher/recipe.yaml/x",), needs=("teacher",),
    ),
    Case(
        "a store that is none", "train digits --teacher-store pictures --output out",
        ("--teacher-store", "pictures"), needs=("pictures",),
    ),
    Case(
        "a store of 5000 letters", f"train digits --teacher-store {LONG} --output out", ("xxx",)
    ),
    Case(
        "a recipe that trains another", "train digits --teacher-recipe digits-detection --output "
        "out", ("--teacher-recipe", "digits-detection"),
    ),
    Case(
        "a recipe beside the teacher's weights", "train digits --teacher-checkpoint teacher "
        "--teacher-recipe digits-teacher --output out",
        ("--teacher-recipe", "--teacher-checkpoint"), needs=("teacher",),
    ),
    Case(
        "a recipe beside the extractor's weights", "train gan-digits --teacher-checkpoint teacher "
        "--extractor-checkpoint teacher --extractor-recipe digits-teacher --output out",
        ("--extractor-recipe", "no effect"), needs=("teacher",),
    ),
    Case(
        "a method of logits for boxes", "train digits-detection --method kd --output out", ("kd",)
    ),
    Case(
        "an option that the method lacks", "train digits --method-options '{alhpa: 2}' "
        "--teacher-checkpoint teacher --output out", ("alhpa",), needs=("teacher",),
    ),
    Case(
        "student from a file that is none", "train digits --student-checkpoint nowhere "
        "--teacher-checkpoint teacher --output out", ("nowhere",), needs=("teacher",),
    ),
    Case("data that are none", "train digits --data-path nowhere --output out", ("--data-path",)),
    Case(
        "pictures that are none", "train digits-embedding --teacher-checkpoint teacher --dataset "
        "folder --data-path nowhere --output out", ("nowhere",), needs=("teacher",),
    ),
]  # fmt: skip
