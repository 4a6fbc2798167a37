"""Copies the golden models the tests use and turns their oracles into plain files.

usage: make_golden.py GOLDEN_FOLDER OUT_FOLDER      (needs numpy)

The golden folder holds tiny random models with logits from Hugging Face transformers (float32, eager attention) and, for
quantized files, from the same model with dequantized weights (hf_*) and from llama.cpp's CPU backend (lcpp_*).
Written for each model: the GGUF files, golden.json (tokens, greedy continuation, llama.cpp's own NMSE) and raw float32 rows.
"""
import json
import pathlib
import shutil
import sys

import numpy as np

MODELS = {"llama": ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q8_0"], "llama_tied": [], "qwen2": [], "qwen3": []}


def nmse(got, want):
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(((got - want) ** 2).sum() / (want**2).sum())


def main(source, out):
    for model, types in MODELS.items():
        folder = out / model
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / model / "model-f16.gguf", folder / "f16.gguf")
        ref = json.loads((source / model / "ref.json").read_text())
        golden = {key: ref[key] for key in ("tokens_33", "tokens_150", "greedy_24", "vocab")}
        np.load(source / model / "logits_33.npy").astype("<f4").tofile(folder / "f16_33.f32")
        np.load(source / model / "logits_150_last8.npy").astype("<f4").tofile(folder / "f16_150_last8.f32")
        for kind in types:
            shutil.copy(source / model / "quant" / f"{kind}.gguf", folder / f"{kind}.gguf")
            z = np.load(source / model / "quant" / f"{kind}.npz")
            for rows in ("33_last8", "150_last4"):
                z[f"hf_{rows}"].astype("<f4").tofile(folder / f"{kind}_{rows}.f32")
                golden.setdefault("llama_cpp_nmse", {}).setdefault(kind, {})[rows] = nmse(z[f"lcpp_{rows}"], z[f"hf_{rows}"])
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
