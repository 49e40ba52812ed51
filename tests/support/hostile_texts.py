"""YAML that is small and stands for much, or for nothing that can be: as a recipe, and as the value of an option."""


def alias_bomb(levels=9, width=9):
    """Lists of aliases of lists of aliases: WIDTH ** LEVELS values in a few hundred characters."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


def long_text_bomb():
    """One long text a thousand times."""
    return f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]\n"


def merge_bomb(levels=30):
    """Mappings that merge the one before twice."""
    lines = ["m0: &m0 {k: 1}"]
    lines += [f"m{n}: &m{n} {{one: *m{n - 1}, <<: *m{n - 1}, other: *m{n - 1}}}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


HOSTILE_YAML = {
    "aliases of aliases": alias_bomb(),
    "merged mappings": merge_bomb(),
    "a long text many times": long_text_bomb(),
    "a list of itself": "data: &a [*a]\n",
    "a mapping of itself": "data: &a {b: {c: *a}}\n",
    "a merge of itself": "data: &a {<<: *a}\n",
    "deep lists": "data: " + "[" * 100_000 + "]" * 100_000,
    "deep lists that never end": "data: " + "[" * 100_000,
    "deep mappings": "data: " + "{a: " * 2_000 + "}" * 2_000,
    "deep blocks": "".join(" " * n + "a:\n" for n in range(1_500)),
    "depth by aliases": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3_000)),
    "many values": "a: [" + "1, " * 200_000 + "]",
    "much text": "a: " + "x" * 5_000_000,
    "an alias of nothing": "data: *a\n",
    "a list as a key": "? [a, b]\n: 1\n",
    "a mapping as a key": "{{a: 1}: 2}\n",
    "an object": "data: !!python/object/apply:os.system [true]\n",
    "an unknown tag": "data: !x 1\n",
    "a date that is none": "data: 2026-13-45\n",
    "no base 64": "data: !!binary '****'\n",
    "no number": "data: !!int x\n",
    "a number of many digits": "data: " + "9" * 10_000 + "\n",
    "a set": "data: !!set {a, b}\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "keys that are no texts": "1: 2\nnull: 3\n2.5: {true: 1}\n",
    "control characters": "a: \x01\n",
    "a tab": "a:\n\t- 1\n",
    "nothing": "",
    "a text": "just words",
}
