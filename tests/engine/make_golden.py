"""Copies the golden models the tests use and turns their oracles into plain files.

usage: make_golden.py GOLDEN_FOLDER OUT_FOLDER [MODEL...]      (needs numpy)

The golden folder holds tiny random models with logits from Hugging Face transformers (float32, eager attention) and, for
quantized files, from the same model with dequantized weights (hf_*) and from llama.cpp's CPU backend (lcpp_*).
Written for each model: the GGUF files, golden.json (tokens, greedy continuation, llama.cpp's own NMSE) and raw float32 rows.

Models of experts (EXPERTS) come with K-quants only: their F16 files are too large, the F16 models of tests/data/golden/tiny_* (see
make_tiny_golden.py) stand in for them. Where 8-bit activations make two experts change places a position is far off, in llama.cpp
as well, so the measure of such a file is the median over positions: the oracle of all 33 of them is kept too, in f16
(its rounding is 1e-7 of the logits, the median 1e-3), and the median llama.cpp has.
"""
import json
import pathlib
import shutil
import sys

import numpy as np

MODELS = {"llama": ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q8_0"], "llama_tied": [], "qwen2": [], "qwen3": []}
EXPERTS = {"qwen3_moe_kq": ["Q2_K", "Q4_K_M"], "qwen3_5_moe_kq": ["Q2_K"]}


def nmse(got, want):
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(((got - want) ** 2).sum() / (want**2).sum())


def copy_float(source, folder, golden):
    shutil.copyfile(source / "model-f16.gguf", folder / "f16.gguf")
    np.load(source / "logits_33.npy").astype("<f4").tofile(folder / "f16_33.f32")
    np.load(source / "logits_150_last8.npy").astype("<f4").tofile(folder / "f16_150_last8.f32")
    golden["greedy_24"] = json.loads((source / "ref.json").read_text())["greedy_24"]


def copy_quantized(source, kind, folder, golden, experts):
    shutil.copyfile(source / "quant" / f"{kind}.gguf", folder / f"{kind}.gguf")
    z = np.load(source / "quant" / f"{kind}.npz")
    for rows in ("33_last8", "150_last4"):
        z[f"hf_{rows}"].astype("<f4").tofile(folder / f"{kind}_{rows}.f32")
        if not experts:
            golden.setdefault("llama_cpp_nmse", {}).setdefault(kind, {})[rows] = nmse(z[f"lcpp_{rows}"], z[f"hf_{rows}"])
    if experts:
        notes = json.loads((source / "quant" / "quant.json").read_text())[kind]
        z["hf_33_all_f16"].astype("<f2").tofile(folder / f"{kind}_33_all.f16")
        golden.setdefault("llama_cpp_median", {})[kind] = float(np.median(notes["pos_nmse_lcpp_vs_hf_33"]))
        golden.setdefault("greedy_of", {})[kind] = notes["greedy_hf"]


def main(source, out, names):
    for model, types in (MODELS | EXPERTS).items():
        if names and model not in names:
            continue
        folder = out / model
        folder.mkdir(parents=True, exist_ok=True)
        ref = json.loads((source / model / "ref.json").read_text())
        golden = {key: ref[key] for key in ("tokens_33", "tokens_150")}
        if model in MODELS:
            copy_float(source / model, folder, golden)
        golden["vocab"] = ref["vocab"]
        for kind in types:
            copy_quantized(source / model, kind, folder, golden, model in EXPERTS)
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:])
