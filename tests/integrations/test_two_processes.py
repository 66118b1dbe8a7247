"""Every integration in two processes."""

import pytest

pytest.importorskip("lightning")
pytest.importorskip("transformers")

from support import two_process_integrations


@pytest.mark.slow
def test_two_processes_with_half_of_a_batch_train_as_one_with_all(torchrun, tmp_path):
    told = torchrun(two_process_integrations.__file__, tmp_path)
    assert "equal: timm, transformers, lightning" in told
