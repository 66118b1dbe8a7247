"""The names that weights have in published files, and those that they have here."""

import re

# Stored and never used: the copies of box heads and of CoaT's position encodings, level
# embeddings, parts of the coarsest fusion block, and what was meant for detection tokens in
# merging and after stages.
_UNUSED = re.compile(
    r"transformer\.level_embed$|transformer\.decoder\.bbox_embed\.|backbone\.norm\d\.|"
    r".*\.downsample\.(expansion|norm2)\.|.*\.relative_position_index$|.*\.attn_mask$|"
    r".*serial_blocks\d\.\d+\.(cpe|factoratt_crpe\.crpe)\.|"
    r"fusion\.multi_scaler\.refinenet_3\.(smoothing|resConfUnit1)\."
)
_BACKBONE = re.compile(
    r"patch_embed|layers\.|stages\.|cls_token\d|cpe\d|crpe\d|serial_blocks\d|det_exp"
)


# Of CoaT: what precedes a name, how much its stage is more than ours, and our name. What follows a
# stage there opens the next one here.
_COAT = (
    (re.compile(r"cls_token(\d)$"), 1, "stages.{}.class_token"),
    (re.compile(r"patch_embed([1-4])\."), 1, "stages.{}.patch_embed."),
    (re.compile(r"patch_embed(5)\."), 1, "last_embed."),
    (re.compile(r"cpe(\d)\."), 1, "stages.{}.cpe."),
    (re.compile(r"crpe(\d)\."), 1, "stages.{}.crpe."),
    (re.compile(r"serial_blocks(\d)\."), 1, "stages.{}.blocks."),
    (re.compile(r"det_exp_norm_(\d)\."), 0, "stages.{}.expand.1."),
    (re.compile(r"det_exp_(\d)\."), 0, "stages.{}.expand.0."),
)
_FUSION = (
    (re.compile(r"fusion\.multi_scaler\.layer_(\d)_rn\."), r"fusion.lateral.\1.0."),
    (re.compile(r"fusion\.multi_scaler\.p_norm_(\d)\."), r"fusion.lateral.\1.1."),
    (re.compile(r"fusion\.multi_scaler\.refinenet_(\d)\.smoothing\."), r"fusion.smoothing.\1."),
    (
        re.compile(r"fusion\.multi_scaler\.refinenet_(\d)\.resConfUnit1\."),
        r"fusion.refine_map.\1.",
    ),
    (
        re.compile(r"fusion\.multi_scaler\.refinenet_(\d)\.resConfUnit2\."),
        r"fusion.refine_sum.\1.",
    ),
)

# Of one tensor under several names, each name and the one that we know it by.
_AGAIN = (
    (re.compile(r"transformer\.decoder\.(?=bbox_embed\.)"), ""),
    (re.compile(r"backbone\.serial_blocks(\d)\.\d+\.cpe\."), r"backbone.cpe\1."),
    (
        re.compile(r"backbone\.serial_blocks(\d)\.\d+\.factoratt_crpe\.crpe\."),
        r"backbone.crpe\1.",
    ),
)
_HEADS = re.compile(r"(class|bbox|iou)_embed\.\d+\.")


def one_name(key: str, shares_heads: bool) -> str:
    """Return one of all the names that a tensor of a published file is stored under.

    Args:
        key: any of them.
        shares_heads: whether all layers have the same heads, as without box refinement.
    """
    for pattern, name in _AGAIN:
        key = pattern.sub(name, key)
    return _HEADS.sub(r"\1_embed.0.", key) if shares_heads else key


def detector_name(key: str) -> str | None:
    """Return the name here of a detector's weight; None for one that is never used."""
    if _UNUSED.match(key):
        return None
    prefix = "backbone."
    if key.startswith(prefix):
        return prefix + _coat_name(key.removeprefix(prefix))
    for pattern, name in _FUSION:
        key = pattern.sub(name, key)
    return key


def backbone_name(key: str) -> str | None:
    """Return the name here of a backbone's weight; None for what a detector's body lacks."""
    if _UNUSED.match(key) or not _BACKBONE.match(key):
        return None
    return _coat_name(key)


def _coat_name(key: str) -> str:
    for pattern, more, name in _COAT:
        found = pattern.match(key)
        if found:
            rest = key[found.end() :].replace("factoratt_crpe.", "attn.")
            return name.format(int(found[1]) - more) + rest
    return key
