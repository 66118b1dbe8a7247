"""Bad data sets, stores and run folders, each answered by one sentence."""

import pytest

from bad_inputs import coco, comparisons, idx, indexes, photographs, reports, shards, stores, tables
from bad_inputs.table import check

TABLES = {
    "IDX": idx, "COCO": coco, "photographs": photographs, "shards": shards, "tables": tables,
    "store": stores, "report": reports, "index": indexes, "comparison": comparisons,
}  # fmt: skip
CASES = [
    pytest.param(case, id=f"{name}: {case.name}")
    for name, table in TABLES.items()
    for case in table.CASES
]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_input_is_answered_by_a_sentence(case, tmp_path, beside):
    check(case, tmp_path, beside)
