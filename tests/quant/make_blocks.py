#!/usr/bin/env python3
"""Turns block vectors (<TYPE>.npz with raw, deq, fuzz_raw, fuzz_deq) into the flat files that tests/quant reads.

    make_blocks.py DIR_WITH_NPZ tests/data/blocks

A .blocks file is: magic "KBLK", u32 number of blocks, u32 bytes per block, u32 values per block, then all raw blocks, then
all decoded values as f32; little endian. Quantized rows come first (row by row), random blocks after them. inputs.f32 holds
the rows before they were quantized (inputs.npz, x). An .npz file
is a zip archive of .npy files, whose layout numpy.lib.format documents; the standard library is enough to read it.
"""
import ast
import pathlib
import struct
import sys
import zipfile

TYPES = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()


def read_npy(data):
    """(descr, shape, bytes) of a C-ordered .npy file."""
    assert data[:6] == b"\x93NUMPY"
    wide = data[6] > 1
    (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    start = 12 if wide else 10
    header = ast.literal_eval(data[start:start + length].decode("latin1"))
    assert not header["fortran_order"]
    return header["descr"], header["shape"], data[start + length:]


def convert(npz, out):
    with zipfile.ZipFile(npz) as z:
        raw, deq, fuzz_raw, fuzz_deq = (read_npy(z.read(f"{name}.npy")) for name in ("raw", "deq", "fuzz_raw", "fuzz_deq"))
    assert raw[0] == fuzz_raw[0] == "|u1" and deq[0] == fuzz_deq[0] == "<f4"
    block_bytes, block_values = fuzz_raw[1][1], fuzz_deq[1][1]
    raw_bytes, values = raw[2] + fuzz_raw[2], deq[2] + fuzz_deq[2]
    blocks = len(raw_bytes) // block_bytes
    assert len(raw_bytes) == blocks * block_bytes and len(values) == 4 * blocks * block_values
    out.write_bytes(b"KBLK" + struct.pack("<III", blocks, block_bytes, block_values) + raw_bytes + values)


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source / "inputs.npz") as z:
        (target / "inputs.f32").write_bytes(read_npy(z.read("x.npy"))[2])
    for name in TYPES:
        convert(source / f"{name}.npz", target / f"{name.lower()}.blocks")


if __name__ == "__main__":
    main()
