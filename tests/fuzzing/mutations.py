"""Strategies that damage what is valid: single values of a tree, and bytes of a file."""

import copy
import json

from hypothesis import strategies as st

# What breaks readers: other types, the ends of ranges, what is no number, paths, depths.
HOSTILE = [
    None, True, False, 0, 1, -1, 0.5, -0.0, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63), 10**12,
    10**30, 10**400, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, "", " ", "0",
    "1e400",
    "nan", "a" * 1000, "\0", "\udcff", "../../x", "/etc/passwd", "<script>", "é\u202e", [], {},
    [[]],
    [None], [1, 2, 3], {"": None}, {"a": 1},
]  # fmt: skip


# Texts that stand for lists in lists, so deep that Python could not copy them: one that a parser
# reads and one that it does not.
DEEP = {f"deep-{depth}": b"[" * depth + b"]" * depth for depth in (100, 900, 50_000)}


def paths(tree, above=()):
    """Yield the path of each value of a tree of lists and dicts, but for very deep ones."""
    yield above
    if isinstance(tree, dict | list) and len(above) < 20:
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths(value, (*above, key))


def _at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def hostile_values():
    """Values that readers do not expect."""
    # Copied, as what is put into a tree may be changed there.
    known = st.sampled_from([*HOSTILE, *DEEP]).map(copy.deepcopy)
    numbers = st.integers() | st.floats() | st.text(max_size=20)
    small = st.recursive(
        st.none() | st.booleans() | numbers,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    )
    return known | small


@st.composite
def mutated(draw, valid, most=4):
    """Return a copy of a tree of which some values are replaced, removed, added or moved."""
    tree = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, most))):
        known = list(paths(tree))
        path = draw(st.sampled_from(known))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(hostile_values())
            continue
        holder, key = _at(tree, path[:-1]), path[-1]
        match draw(st.sampled_from(["replace", "replace", "remove", "copy", "move", "add"])):
            case "replace":
                holder[key] = draw(hostile_values())
            case "remove":
                del holder[key]
            case "copy" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case "move":
                holder[key] = copy.deepcopy(_at(tree, draw(st.sampled_from(known))))
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = draw(hostile_values())
            case _:
                holder[key] = draw(hostile_values())
    return tree


def dumped(tree):
    """Return a tree as JSON, with lists in lists for the texts that stand for them."""
    content = json.dumps(tree).encode(errors="surrogatepass")
    for name, deep in DEEP.items():
        content = content.replace(f'"{name}"'.encode(), deep)
    return content


@st.composite
def damaged(draw, valid, most=4):
    """Return bytes of which some are changed, removed, repeated or put in."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        size = draw(st.integers(1, 8) | st.integers(1, 1 + len(content)))
        match draw(st.sampled_from(["set", "flip", "cut", "end", "repeat", "insert"])):
            case "set":
                content[place : place + 1] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\n"]))
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[place : place + size]
            case "end":
                del content[place:]
            case "repeat":
                content[place:place] = content[place : place + size]
            case _:
                content[place:place] = draw(st.binary(max_size=16))
    return bytes(content)


def files(*valid):
    """Return damaged bytes of one of some valid files, or any bytes."""
    return st.sampled_from(valid).flatmap(damaged) | st.binary(max_size=200)


def json_files(valid):
    """Return JSON that is mutated, damaged bytes of what is valid, or any bytes."""
    return mutated(valid).map(dumped) | mutated(valid).map(dumped) | files(dumped(valid))
