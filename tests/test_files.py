"""Files and folders are there whole or not at all, whatever ends their writer."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from support.commands import TESTS, run_python
from vkd import files
from vkd.files import append_whole, whole_file, whole_files, whole_folder, write_json, write_whole
from vkd.partials import PARTIAL, new_partial, remove_leftovers

HEADER = """
from pathlib import Path
from vkd.files import *
OLD, NEW = "old" * 100, "new" * 200_000
"""
KILLS = {
    "a new file": """
def prepare(folder): pass
def work(folder): write_whole(folder / "a.txt", NEW)
def check(folder):
    assert not (folder / "a.txt").exists() or (folder / "a.txt").read_text() == NEW
""",
    "a file that is replaced": """
def prepare(folder): (folder / "a.txt").write_text(OLD)
def work(folder): write_whole(folder / "a.txt", NEW)
def check(folder): assert (folder / "a.txt").read_text() in (OLD, NEW)
""",
    "two files, of which the first needs the other": """
def prepare(folder): pass
def work(folder):
    with whole_files([folder / "a.npy", folder / "a.names.json"]) as places:
        for place in places: place.write_text(NEW)
def check(folder):
    for name in ("a.npy", "a.names.json"):
        assert not (folder / name).exists() or (folder / name).read_text() == NEW
    assert not (folder / "a.npy").exists() or (folder / "a.names.json").exists()
""",
    "a new folder": """
def prepare(folder): pass
def work(folder):
    with whole_folder(folder / "run") as place:
        for name in "abc": (place / name).write_text(NEW)
def check(folder):
    found = {path.name: path.read_text() for path in folder.glob("run/*")}
    assert not (folder / "run").exists() or found == dict.fromkeys("abc", NEW)
""",
    "a folder that is replaced": """
def prepare(folder):
    (folder / "run").mkdir()
    for name in "xyz": (folder / "run" / name).write_text(OLD)
def work(folder):
    with whole_folder(folder / "run") as place:
        for name in "abc": (place / name).write_text(NEW)
def check(folder):
    found = {path.name: path.read_text() for path in folder.glob("run/*")}
    assert found in (dict.fromkeys("abc", NEW), dict.fromkeys("xyz", OLD)), found
""",
}


def partials(folder):
    return [path for path in folder.rglob("*") if PARTIAL in path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names cannot trade places")
@pytest.mark.parametrize("what", KILLS)
def test_a_process_killed_before_each_file_event(what):
    done = run_python(TESTS / "support" / "killed.py", HEADER + KILLS[what])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5


def test_a_folder_is_replaced_where_names_cannot_trade_places(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchanged", lambda one, other: False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").touch()
    with whole_folder(tmp_path / "run") as place:
        (place / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "new"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with whole_file(tmp_path / "a") as place:
            place.touch(0o600)
            place.chmod(0o600)  # as safetensors and tempfile do
        write_json(tmp_path / "b", {})
        with whole_folder(tmp_path / "c") as place:
            (place / "d").touch()
            (place / "d").chmod(0o600)
        append_whole(tmp_path / "e", "x")
    finally:
        os.umask(before)
    for name in ("a", "b", "c/d", "e"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask, name
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    write_whole(tmp_path / "a", "old")
    (tmp_path / "a").chmod(0o640)
    write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_what_was_there(tmp_path, error):
    write_whole(tmp_path / "a", "old")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "b").write_text("old")

    def half(write, name):
        with write as place:
            (place / name).write_text("half")
            raise error

    with pytest.raises(error):
        half(whole_file(tmp_path / "a"), "")
    with pytest.raises(error):
        half(whole_folder(tmp_path / "run"), "b")
    assert (tmp_path / "a").read_text() == (tmp_path / "run" / "b").read_text() == "old"
    assert not partials(tmp_path)


def test_an_error_of_the_system_names_the_file_that_was_asked_for(tmp_path):
    def full():
        with whole_file(tmp_path / "wanted") as place:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    with pytest.raises(OSError, match="No space left") as caught:
        full()
    assert caught.value.filename == str(tmp_path / "wanted")


def test_a_disk_that_is_full_when_the_file_is_synced(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (write_whole, append_whole):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "a", "text")
    assert not (tmp_path / "a").exists() or not (tmp_path / "a").read_text()
    assert not partials(tmp_path)


def test_a_file_system_that_cannot_wait_for_the_disk(tmp_path, monkeypatch):
    def unable(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", unable)
    write_whole(tmp_path / "a", "text")
    append_whole(tmp_path / "a", "more")
    assert (tmp_path / "a").read_text() == "textmore"


def test_a_reader_never_meets_half_a_file_of_two_writers(tmp_path):
    file = tmp_path / "a"
    code = """
import sys
from pathlib import Path
from vkd.files import write_whole
for _ in range(40):
    write_whole(Path(sys.argv[1]), sys.argv[2] * 300_000)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, file, letter]) for letter in "xy"]
    met = set()
    while any(writer.poll() is None for writer in writers):
        if file.exists():
            text = file.read_text()
            assert len(text) == 300_000
            assert len(set(text)) == 1
            met.add(text[0])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert met == {"x", "y"}
    assert not partials(tmp_path)


def test_threads_of_a_process_write_one_file(tmp_path):
    def write(letter):
        for _ in range(10):
            write_whole(tmp_path / "a", letter * 50_000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set((tmp_path / "a").read_text())) == 1
    assert not partials(tmp_path)


@pytest.mark.parametrize(
    "name", ["x" * 255, "ü" * 127, "a" * 201 + ".onnx", "x\n[a]*", "b.partial"]
)
def test_names_as_long_and_odd_as_file_systems_take(tmp_path, name):
    write_whole(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    other = name[:-1] + "z"
    write_whole(tmp_path / other, "other")
    assert (tmp_path / name).read_text() == "text"


def test_names_that_are_too_long(tmp_path):
    with pytest.raises(OSError, match="too long"):
        write_whole(tmp_path / ("x" * 256), "text")
    assert not list(tmp_path.iterdir())


def test_links_stay_and_their_targets_are_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "a")
    for text in ("first", "second"):
        write_whole(tmp_path / "link", text)
        assert (tmp_path / "there" / "a").read_text() == text
    (tmp_path / "run").symlink_to(tmp_path / "there" / "run")
    for name in ("b", "c"):
        with whole_folder(tmp_path / "run") as place:
            (place / name).touch()
        assert [path.name for path in (tmp_path / "there" / "run").iterdir()] == [name]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "run").is_symlink()
    assert not partials(tmp_path)


def test_what_is_no_file_is_written_to_as_it_is(tmp_path):
    code = "import sys; from pathlib import Path; from vkd.files import write_whole\n"
    code += "write_whole(Path('/dev/stdout'), 'text'); write_whole(Path('/dev/null'), 'text')"
    done = run_python("-c", code)
    assert (done.returncode, done.stdout) == (0, "text"), done.stderr
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    write_whole(pipe, "text")
    assert reader.communicate()[0] == "text"


def test_folders_and_files_in_each_others_place(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match="folder"):
        write_whole(tmp_path / "folder", "text")
    with pytest.raises(NotADirectoryError, match="file"), whole_folder(tmp_path / "file"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}


def test_files_of_one_folder_come_together(tmp_path):
    with pytest.raises(FileNotFoundError), whole_files([tmp_path / "a", tmp_path / "b"]) as places:
        places[0].touch()
    assert not list(tmp_path.iterdir())


def test_leftovers_of_the_living_stay_and_those_of_the_dead_go(tmp_path):
    living = new_partial(tmp_path / "a")
    others = new_partial(tmp_path / "other")
    dead = tmp_path / f"a.{2**22 + 1}-0{PARTIAL}"
    # Of a process that has ended, whose number this one has now, as in a container that restarts.
    former = tmp_path / f"a.{os.getpid()}-99999{PARTIAL}"
    for place in (dead, former):
        place.mkdir()
        (place / "half").write_text("half")
    os.utime(former, (1, 1))
    mine = tmp_path / f"a.notes{PARTIAL}"
    mine.mkdir()
    write_whole(tmp_path / "a", "text")
    assert {*tmp_path.iterdir()} == {living, others, mine, tmp_path / "a"}
    remove_leftovers(tmp_path)
    assert {*tmp_path.iterdir()} == {mine, tmp_path / "a"}


def test_a_users_own_folder_is_never_taken_for_a_leftover(tmp_path):
    mine = tmp_path / f"run{PARTIAL}"
    mine.mkdir()
    with whole_folder(tmp_path / "run", shared=False) as place:
        (place / "a").touch()
    assert {*tmp_path.iterdir()} == {mine, tmp_path / "run"}


def test_appended_text_is_there_whole_or_not_at_all(tmp_path):
    code = """
import os, resource, signal, sys
from pathlib import Path
from vkd.files import append_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
file = Path(sys.argv[1])
append_whole(file, "x" * 60 + "\\n")
try:
    append_whole(file, "y" * 60 + "\\n")
except OSError as error:
    print(error.strerror)
append_whole(file, "z\\n")
"""
    done = run_python("-c", code, tmp_path / "a")
    assert done.stdout.strip() == "File too large", done.stderr
    assert (tmp_path / "a").read_text() == "x" * 60 + "\nz\n"


def test_a_folder_that_is_read_only(read_only):
    with pytest.raises(OSError, match="Read-only file system"):
        write_whole(read_only / "a", "text")
    with pytest.raises(OSError, match="Read-only file system"), whole_folder(read_only / "run"):
        pass


def test_a_disk_that_is_full_leaves_the_file_before(small_disk):
    file = small_disk / "a"
    write_whole(file, "old")
    with pytest.raises(OSError, match="No space left on device"):
        write_whole(file, "x" * 2_000_000)
    with pytest.raises(OSError, match="No space left on device"):
        append_whole(file, "x" * 2_000_000)
    assert [path.name for path in small_disk.iterdir()] == ["a"]
    assert file.read_text() == "old"
