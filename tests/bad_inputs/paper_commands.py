"""Bad command lines of the paper's release."""

from bad_inputs.table import Case

_DEIT, _VIDT = "main_distributed.py", "vidt/main.py"
# By command, flags with values that are refused.
VALUES = {
    _DEIT: {
        "--lr": ("inf", "nan", "-1", "word", "1e400"),
        "--batch-size": ("0", "-1", "1000000000000", "7"),
        "--epochs": ("0", "1.5"),
        "--num_workers": ("-1", "1000000"),
        "--seed": ("-1", "word", "18446744073709551616"),
        "--device": ("foo", "cpu:9"),
        "--input-size": ("0", "1000000"),
        "--smoothing": ("2",),
        "--mixup-mode": ("triple",),
        "--cutmix-minmax": ("1", "'0.9 0.1'"),
        "--data-set": ("INAT",),
        "--start_epoch": ("-1", "7", "x"),
        "--opt": ("adamv",),
        "--teacher": ("regnety",),
        "--student-ckpt": ("nowhere",),
        "--resume": ("nowhere",),
        "--no-such-flag": ("1",),
        "--output_dir": ("/proc/x", "/dev/null/x", "'\udcff'"),
    },
    _VIDT: {
        "--lr": ("inf", "nan", "-1", "word"),
        "--batch_size": ("0", "-1", "1000000000000"),
        "--n_iter_to_acc": ("0", "3", "word"),
        "--eval_size": ("-1", "1000000"),
        "--seed": ("-1", "18446744073709551616"),
        "--device": ("foo", "cpu:9"),
        "--num_workers": ("-1",),
        "--method": ("detr",),
        "--backbone_name": ("swin",),
        "--aux_loss": ("perhaps",),
        "--focal_alpha": ("2", "nan"),
        "--det_token_num": ("-1", "1000000000"),
        "--cross_indices": ("9", "x"),
        "--num_feature_levels": ("3",),
        "--start_epoch": ("7",),
        "--dataset_file": ("lvis",),
        "--coco_path": ("nowhere",),
        "--no_such_flag": ("1",),
    },
}
_NEEDED = {
    _DEIT: "--student-model deit_ti_distilled --data-path nowhere",
    _VIDT: "--pre_trained none --backbone_name swin_nano",
}
# What the sentence names in place of the flag.
_NAMED = {"--coco_path": "nowhere", "--student-ckpt": "nowhere"}


def _cases():
    for program, flags in VALUES.items():
        for flag, values in flags.items():
            for value in values:
                words = " ".join([_NEEDED[program], flag, value.strip("'")])
                yield Case(
                    f"{program} {flag} {ascii(value)[1:25]}", words, (_NAMED.get(flag, flag),),
                    program=program,
                )  # fmt: skip


CASES = list(_cases())
