"""Writes tests/data/tokenizer/*.json: what Hugging Face tokenizers makes of some thousand strings.

    python make_goldens.py OUT_DIR          needs: pip install tokenizers   (written with 0.23.3)

For every pre-tokenizer a small byte-level BPE vocabulary is trained with the published patterns, for SPM one with byte
fallback; the strings are the same for all. strings.json holds them (as hex where they are not UTF-8); <name>.json holds
tokens, types, merges or scores, and the ids of every string with control tokens parsed ("on") and not ("off", null if equal).
"""
import json
import random
import re
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
NEWER = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?LETTERS+|NUMBERS| ?[^\sMARKS\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def newer(numbers, letters=r"\p{L}", marks=""):
    return NEWER.replace("LETTERS", letters).replace("NUMBERS", numbers).replace("MARKS", marks)


PATTERNS = {
    "llama-bpe": [newer(r"\p{N}{1,3}")],
    "qwen2": [newer(r"\p{N}")],
    "qwen35": [newer(r"\p{N}", r"[\p{L}\p{M}]", r"\p{M}")],
    "smollm": [r"\p{N}", GPT2],
    "gpt-2": [GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}
CONTROL = ["<|im_start|>", "<|im_end|>", "<|im|>"]
USER_DEFINED = ["<tool_call>", "    <keep>"]

PHRASES = [
    "AIの未来を予測してください。（100字）", "吾輩は猫である。名前はまだ無い。", "カタカナとひらがな、全角１２３と半角123", "東京都千代田区１－２－３", "ｶﾞｷﾞｸﾞ", "か\u3099き\u3099",
    "人工智能的未来是什么样的？", "床前明月光，疑是地上霜。", "中文English混合text", "價錢：￥１００", "𠮷野家𩸽",
    "인공지능의 미래를 예측해 주세요.", "안녕하세요 세계", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "ปัญญาประดิษฐ์ในอนาคต", "สวัสดีชาวโลก ๑๒๓", "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ ١٢٣٤", "שָׁלוֹם עוֹלָם", "नमस्ते दुनिया १२३", "Привет, мир! Ёлка", "Γειά σου Κόσμε", "Xin chào thế giới",
    "Zażółć gęślą jaźń", "naïve café", "nai\u0308ve cafe\u0301", "A\u030a Å Å", "ﬁne ﬂow", "Straße STRASSE ẞ", "İstanbul ıI", "long ſ 'ſ don'ſ",
    "👩‍👩‍👧‍👦", "👍🏽👍👍🏿", "🇯🇵🇫🇷", "🏳️‍🌈", "😀😃😄 😁", "❤️‍🔥", "1️⃣2️⃣", "☃ ★ ✓ → ∀x∈ℝ", "½ Ⅷ ² ₃ ①",
    "def f(x):\n    return x**2 + 1  # comment\n", "for (int i = 0; i < n; ++i) { a[i] += b[i] * c; }\r\n", "SELECT * FROM t WHERE a >= 10 AND b <> 'x';", "<div class=\"a\">&nbsp;</div>",
    "https://example.com/a?b=c&d=%20e#f", "foo_bar fooBar FooBAR foo-bar", "C:\\Users\\x\\n", "{\"a\": [1, 2.5e-10, null]}", "if(a&&b||!c)", "$HOME/.cache ~/x", "a\tb\t\tc", "#!/bin/sh\n\tls -la | grep x\n",
    "I'll can't WE'VE he'd it's 'S 'tis 'RE i'M", "Hello, world!", "The quick brown fox jumps over the lazy dog.", "it's 3.14159 or 1,000,000.00", "1234567890 12 123 1234", "0x1F 1e-10 007", "U.S.A. e.g. Mr.",
    "...!!!???", "-- — – ―", "“quoted” ‘single’ «guillemets»", "(([{<>}]))", "a,b;c:d", "$5 €5 £5 ^~|+<=>", "@user #tag", "```python\nprint(1)\n```",
    "\u200b", "a\u200bb", "\u200d", "x\u200dy", "\ufeffBOM", "a\u00a0b", "\u3000全角空白\u3000", "\u2028line\u2029para", "a\u0085b", "a\u180eb", "\u2003em \u2009thin", "\u00ad soft\u00adhyphen", "\u202eRTL\u202c", "\u0000nul\u0001\u0007", "\u0301alone", " \u0301x", "\ufffd", "\U0010ffff\ue000",
    " ", "  ", "   ", " " * 17, "\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", " \n \n ", "\t\n\t", "x  \n  y", "x \n\n\n  y", "\x0b\x0c", "a    ", "    a", "  a  b   c    d",
    "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im|>", "<|im_start", "<|im_start|><|im_start|>", " <|im_end|> ", "<tool_call>", "</tool_call>", "x<tool_call>y", "    <keep>", "     <keep> ", "<s>", "</s>", "<unk>", "<0x0A>", "<0x41>", "▁", "a▁b", "Ġ", "Ċ",
    "aaaaaaaaaaaaaaaa", "abababababab", "aAaAaA", "!!!!!!!!!!!!!!!!!!!!", "==========", "ーーーーー", "ああああああああ", "1111111111111111",
]
INVALID = [b"\xff", b"\x80", b"a\xffb", b"\xc3", b"\xe3\x81", b"abc\xe3\x81", b"\xf0\x9f\x98", b"\xf0\x9f\x98 x", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe3\x81\x82\xe3\x81 \xe3\x81\x84", b"  \xff  ", b"\xff\xfe\xfd\xfc", b"hello \xc3\x28 world", b"\n\x80\n"]


def strings():
    rng = random.Random(20260701)
    out = ["", *PHRASES]
    joins = ["", "", " ", "  ", "\n", "\n\n", "\r\n", "\t", ", ", "   \n"]
    while len(out) < 1000:
        parts = [rng.choice(PHRASES) for _ in range(rng.randint(2, 4))]
        cut = [p[rng.randrange(len(p)) :] if rng.random() < 0.3 else p for p in parts]
        out.append("".join(p + rng.choice(joins) for p in cut))
    ranges = [(32, 127), (0xA0, 0x250), (0x300, 0x370), (0x3040, 0x3100), (0x4E00, 0x4F00), (0xE00, 0xE5C), (0x600, 0x6F0), (0x1F300, 0x1F650), (0x2000, 0x2070), (9, 14)]
    while len(out) < 1150:  # characters at random: no language, all borders
        out.append("".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randint(1, 30))))
    return out


def corpus(texts):
    rng = random.Random(7)
    clean = [t for t in texts if not any(s in t for s in CONTROL + USER_DEFINED)]
    return clean + [" ".join(rng.choice(clean) for _ in range(5)) for _ in range(300)]


def splitter(pre):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in PATTERNS[pre]] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def both(make, control=CONTROL):
    """One tokenizer that parses control tokens, one that does not."""
    result = []
    for parsed in (control, []):
        tok = make()
        tok.add_tokens([AddedToken(t, normalized=False, special=False) for t in USER_DEFINED])
        tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in parsed])
        result.append(tok)
    return result


def byte_level(pre, texts, alphabet):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = splitter(pre)
    trained.train_from_iterator(corpus(texts), trainers.BpeTrainer(vocab_size=1400, initial_alphabet=sorted(alphabet.values()), show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    whole = ["Ġquick", "Ġworld", "fox", "Hello"]  # tokens no merge leads to: found only where merges are ignored
    tokens += [t for t in whole if t not in model["vocab"]]
    merges = [tuple(m) for m in model["merges"]]
    # The control tokens are in the vocabulary in both cases, so that ids agree.
    vocab = {t: i for i, t in enumerate(tokens + USER_DEFINED + CONTROL)}
    llama3 = pre == "llama-bpe"

    def make():
        tok = Tokenizer(models.BPE(vocab, merges, ignore_merges=llama3))
        tok.pre_tokenizer = splitter(pre)
        tok.decoder = decoders.ByteLevel()
        return tok

    types = [1] * len(tokens) + [4] * len(USER_DEFINED) + [3] * len(CONTROL)
    head = {"model": "gpt2", "pre": pre, "ignore_merges": llama3, "tokens": list(vocab), "types": types, "merges": [" ".join(m) for m in merges]}
    return head, both(make)


def sentencepiece_like(texts):
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.train_from_iterator(corpus(texts), trainers.BpeTrainer(vocab_size=1800, show_progress=False))
    model = json.loads(words.to_str())["model"]
    merged = ["".join(m) for m in model["merges"]]
    merged += ["▁" * n for n in (2, 4, 8, 16) if "▁" * n not in merged]
    merged = list(dict.fromkeys(merged))
    singles = [t for t in sorted(model["vocab"], key=model["vocab"].get) if len(t) == 1]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + merged + singles + USER_DEFINED + CONTROL
    types = [2, 3, 3] + [6] * 256 + [1] * (len(merged) + len(singles)) + [4] * len(USER_DEFINED) + [3] * len(CONTROL)
    vocab = {t: i for i, t in enumerate(tokens)}
    scores = [0.0] * 259 + [-float(i) for i in range(len(merged) + len(singles))] + [0.0] * 5
    known = set(merged) | set(singles)
    merges = [(t[:k], t[k:]) for t in merged for k in range(1, len(t)) if t[:k] in known and t[k:] in known]

    def make():
        tok = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        return tok

    return {"model": "llama", "tokens": tokens, "types": types, "scores": scores}, both(make, ["<unk>", "<s>", "</s>", *CONTROL])


def invalid_ids(tok, data, alphabet):
    """UTF-8 runs as HF encodes them, every other run of bytes merged by the model alone."""
    ids = []
    text = data.decode(errors="surrogateescape")
    for run in re.findall("[\udc80-\udcff]+|[^\udc80-\udcff]+", text):
        raw = run.encode(errors="surrogateescape")
        if "\udc80" <= run[0] <= "\udcff":
            ids += [t.id for t in tok.model.tokenize("".join(alphabet[b] for b in raw))]
        else:
            ids += tok.encode(run, add_special_tokens=False).ids
    return ids


def byte_alphabet():
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return {b: chr(b) if b in own else chr(next(others)) for b in range(256)}


def main():
    out = Path(sys.argv[1])
    texts, alphabet = strings(), byte_alphabet()
    (out / "strings.json").write_text(json.dumps({"text": texts, "invalid": [b.hex() for b in INVALID]}, ensure_ascii=False, separators=(",", ":")))
    for name in [*PATTERNS, "spm"]:
        head, (on, off) = sentencepiece_like(texts) if name == "spm" else byte_level(name, texts, alphabet)
        ids_on = [on.encode(t, add_special_tokens=False).ids for t in texts]
        ids_off = [off.encode(t, add_special_tokens=False).ids for t in texts]
        head["on"] = ids_on
        head["off"] = [b if a != b else None for a, b in zip(ids_on, ids_off)]
        if name != "spm":
            head["invalid"] = [invalid_ids(off, b, alphabet) for b in INVALID]
        (out / f"{name}.json").write_text(json.dumps(head, ensure_ascii=False, separators=(",", ":")))
        print(name, len(head["tokens"]), "tokens,", len(texts), "strings")


main()
