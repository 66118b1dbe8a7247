"""What every reader owes to any bytes: an answer or one sentence, soon and in little memory."""

import logging
import os
import resource
import time

from hypothesis import HealthCheck, Phase, settings

from vkd.errors import RunError, UserError

LONGEST_SENTENCE, SECONDS, MEGABYTES = 300, 1.0, 500
# For a longer search, with other examples each time: VKD_FUZZ_TIMES=20 pytest tests/fuzzing
_TIMES = int(os.environ.get("VKD_FUZZ_TIMES", 0))


def fuzzed(examples):
    """Return settings for so many examples, always the same, or for so many times more as asked."""
    return settings(
        max_examples=examples * max(1, _TIMES),
        derandomize=not _TIMES,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def answer_of(read, seconds=SECONDS):
    """Call a reader and return what it returns, or its refusal; assert that it is proper."""
    logging.getLogger("vkd").setLevel(logging.CRITICAL)
    began, before = time.thread_time(), _memory()
    try:
        found = read()
    except (UserError, RunError) as error:
        found = error
    took, grown = time.thread_time() - began, _memory() - before
    if isinstance(found, Exception):
        assert 0 < len(str(found)) <= LONGEST_SENTENCE, str(found)
        assert "\n" not in str(found), str(found)
    assert took < seconds, f"{took:.1f} s"
    assert grown < MEGABYTES, f"{grown} MB"
    return found


def _memory():
    """The most that this process has taken, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
