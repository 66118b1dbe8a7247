"""What the system refuses to write is a sentence with exit code 1, of every command."""

import sys

import pytest

from support.commands import ENVIRONMENT, run_python
from vkd.errors import RunError, refusal_of_the_system

# A file may have so many bytes; writing more fails, as it does where a disk is full.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from vkd.cli import main
sys.exit(main(sys.argv[2:]))
"""


def one_sentence(done):
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vkd: ")
    assert len(last) <= 300
    return last


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 20_000])
@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "digits", "--method", "none", "--epochs", "1", "--warmup-epochs", "0",
         "--device", "cpu", "--output"),
        ("report", "RUN", "--output"),
        ("export", "--checkpoint", "RUN", "OUT.pt2"),
        ("export", "--checkpoint", "RUN", "OUT.onnx"),
        ("convert", "RUN/model.safetensors", "OUT.safetensors"),
        ("cache", "digits", "--teacher-checkpoint", "TEACHER", "--device", "cpu", "--output"),
    ],
)  # fmt: skip
def test_a_disk_that_is_full(arguments, size, digits_run, digits_teacher, tmp_path, monkeypatch):
    if arguments[0] == "report" and size > 100:
        size = 2000
    words = [
        word.replace("RUN", str(digits_run)).replace("TEACHER", str(digits_teacher))
        for word in arguments
    ]
    words = [word.replace("OUT", str(tmp_path / "out")) for word in words]
    if words[-1] == "--output":
        words.append(str(tmp_path / "out"))
    # Nor could coverage.py write what it has measured.
    monkeypatch.delitem(ENVIRONMENT, "COVERAGE_PROCESS_CONFIG", raising=False)
    done = run_python("-c", LIMITED, size, *words)
    assert "File too large" in one_sentence(done) or "disk full" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("command", ["recipes", "--version"])
def test_output_that_cannot_be_written(command):
    code = f"""if True:
        import sys
        sys.stdout = sys.__stdout__ = open("/dev/full", "w")
        from vkd.cli import main
        sys.exit(main(["{command}"]))
    """
    done = run_python("-c", code)
    assert "No space left" in one_sentence(done)


def test_errors_that_are_ours_are_raised():
    assert refusal_of_the_system(ValueError("os error")) is None
    assert refusal_of_the_system(RuntimeError("shapes differ")) is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "A file could not .*: No space left on device"),
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b could not .*: Permission denied"),
        (ValueError("I/O error: No space (os error 28)"), "A file could .*: No space left on"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed"), "is the disk full"),
        (OSError("image broken"), "image broken"),
    ],
)
def test_refusals_are_sentences(error, text):
    with pytest.raises(RunError, match=text):
        raise refusal_of_the_system(error)
