"""Damage that files suffer on their way to a reader, for the readers' fuzz tests."""

from collections.abc import Callable

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]


def _lines(data: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return b"\n".join(change(data.split(b"\n")))


@st.composite
def damages(draw) -> Damage:
    """One damage: a cut, a mark, other line ends, another encoding, bytes put in, a line lost, doubled or moved."""
    kind = draw(
        st.sampled_from(("cut", "mark", "ends", "encode", "insert", "lose", "double", "shuffle", "nan", "comma"))
    )
    where = draw(st.floats(0, 1, exclude_max=True))
    junk = draw(st.binary(min_size=1, max_size=6))
    rng = draw(st.randoms(use_true_random=False))

    def apply(data: bytes) -> bytes:
        at = int(where * len(data))
        line = int(where * (data.count(b"\n") + 1))
        if kind == "cut":
            return data[:at]
        if kind == "mark":
            return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + data
        if kind == "ends":
            return data.replace(b"\n", rng.choice((b"\r\n", b"\r")))
        if kind == "encode":
            text = data.decode("latin-1")
            return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32")))
        if kind == "insert":
            return data[:at] + junk + data[at:]
        if kind == "lose":
            return _lines(data, lambda lines: lines[:line] + lines[line + 1 :])
        if kind == "double":
            return _lines(data, lambda lines: lines[: line + 1] + lines[line:])
        if kind == "shuffle":
            return _lines(data, lambda lines: rng.sample(lines, len(lines)))
        if kind == "nan":
            return data[:at] + b"NaN" + data[at + 3 :]
        return data[:at] + rng.choice((b'"', b',"a,b",', b";", b"\t")) + data[at:]

    return apply


def damaged(data: bytes, *chosen: Damage) -> bytes:
    """The file's bytes after one damage and the next."""
    for damage in chosen:
        data = damage(data)
    return data
