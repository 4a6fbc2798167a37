"""The header of a GGUF file, read independently of kerf (the format: ggml/docs/gguf.md)."""

import math
import pathlib
import struct

SCALARS = {
    0: ("u8", "B"),
    1: ("i8", "b"),
    2: ("u16", "H"),
    3: ("i16", "h"),
    4: ("u32", "I"),
    5: ("i32", "i"),
    6: ("f32", "f"),
    7: ("bool", "?"),
    10: ("u64", "Q"),
    11: ("i64", "q"),
    12: ("f64", "d"),
}
STRING, ARRAY = 8, 9
# ids of tensor types: name, values in a block, bytes of a block
TYPES = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    8: ("q8_0", 32, 34),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    20: ("iq4_nl", 32, 18),
    23: ("iq4_xs", 256, 136),
}


class Header:
    """version, metadata {key: (type, value)}, tensors {name: dict}, data: the offset where tensor data begins."""

    def __init__(self, path):
        self.bytes = pathlib.Path(path).read_bytes()
        self.at = 0
        assert self.take(4) == b"GGUF"
        self.version, n_tensors, n_kv = self.number("I"), self.number("Q"), self.number("Q")
        self.metadata = {}
        for _ in range(n_kv):
            key = self.string()
            self.metadata[key] = self.value(self.number("I"))
        self.metadata_end = self.at
        self.tensors = {}
        for _ in range(n_tensors):
            name = self.string()
            ne = [self.number("Q") for _ in range(self.number("I"))]
            kind, block, size = TYPES[self.number("I")]
            self.tensors[name] = {"ne": ne, "dtype": kind, "offset": self.number("Q"), "bytes": math.prod(ne) // block * size}
        self.end = self.at
        alignment = self.metadata.get("general.alignment", ("u32", 32))[1]
        self.data = -(-self.at // alignment) * alignment

    def take(self, n):
        self.at += n
        return self.bytes[self.at - n : self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self):
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return "string", self.string()
        if kind == ARRAY:
            element, n = self.number("I"), self.number("Q")
            return "array", [self.value(element)[1] for _ in range(n)]
        name, code = SCALARS[kind]
        return name, self.number(code)

    def place(self, name):
        """Offset of a tensor's first byte in the file."""
        return self.data + self.tensors[name]["offset"]


def with_nan(path, tensor):
    """The file's bytes with NaN as the first value of an f32 or f16 tensor."""
    header = Header(path)
    code = {"f32": struct.pack("<f", math.nan), "f16": struct.pack("<e", math.nan)}[header.tensors[tensor]["dtype"]]
    at = header.place(tensor)
    return header.bytes[:at] + code + header.bytes[at + len(code) :]


def with_text(path, key, text):
    """The file's bytes with one more string in its metadata."""
    header = Header(path)
    entry = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<IQ", STRING, len(text.encode())) + text.encode()
    n_kv = struct.unpack("<Q", header.bytes[16:24])[0]
    head = header.bytes[:16] + struct.pack("<Q", n_kv + 1) + header.bytes[24 : header.metadata_end] + entry
    head += header.bytes[header.metadata_end : header.end]
    return head + bytes(-len(head) % 32) + header.bytes[header.data :]


def endless(path):
    """The file's bytes with a vocabulary in which no token ends an answer: generation goes on until -n."""
    data = pathlib.Path(path).read_bytes()
    for name in (b"<|end_of_text|>", b"<|eot_id|>", b"<|endoftext|>", b"<|im_end|>"):
        data = data.replace(name, name[:-3] + b"_|>")
    key = b"tokenizer.ggml.eos_token_id" + struct.pack("<I", 4)
    assert key in data
    at = data.index(key) + len(key)
    return data[:at] + struct.pack("<I", 0xFFFFFFFF) + data[at + 4 :]  # no token: a warning, and it is treated as absent
