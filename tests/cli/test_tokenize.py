"""kerf tokenize: text to ids and back."""

import json
import random

import program
from gguf_reader import Header
from program import MODELS, model


class Tokenize(program.Case):
    def encode(self, text, *words, name="llama"):
        return json.loads(self.kerf("tokenize", "-m", model(name), "-p", text, *words).text)

    def test_the_output_is_an_array_on_one_line(self):
        text = self.kerf("tokenize", "-m", model(), "-p", "Hello world").text
        self.assertRegex(text, r"\A\[\d+(,\d+)*\]\n\Z")
        document = self.kerf("tokenize", "-m", model(), "-p", "Hello world", "--json").json
        self.assertEqual(document["ids"], json.loads(text))
        self.assertEqual(document["n"], len(document["ids"]))

    def test_begin_token_and_special_tokens(self):
        metadata = Header(model()).metadata
        tokens, bos = metadata["tokenizer.ggml.tokens"][1], metadata["tokenizer.ggml.bos_token_id"][1]
        end = tokens.index("<|eot_id|>")
        plain = self.encode("a<|eot_id|>b")
        self.assertEqual((plain[0], plain.count(end)), (bos, 1))
        self.assertEqual(self.encode("a<|eot_id|>b", "--no-bos"), plain[1:])
        as_text = self.encode("a<|eot_id|>b", "--no-special")
        self.assertNotIn(end, as_text)
        self.assertNotIn(bos, as_text)
        self.assertGreater(len(as_text), len(plain))
        self.assertEqual(self.encode("", name="qwen2"), [])
        self.assertEqual(self.encode(""), [bos])
        self.assertNotIn(bos, self.encode("a", name="qwen2"))

    def test_there_and_back(self):
        random.seed(0x6B657266)
        texts = [
            "Hello world",
            "  two  spaces\n\n\ttab",
            "Grüße, 東京 🙂 é",
            "\u200b\ufeff",
            "x" * 3000,
            "<|eot_id|>",
            "0123456789 3.14e-5",
            "'s 're N't",
            "\r\n\r\n",
        ]
        texts += [
            "".join(
                chr(random.choice((random.randrange(1, 0x80), random.randrange(0xA0, 0x3000), random.randrange(0x1F300, 0x1F700))))
                for _ in range(200)
            )
            for _ in range(5)
        ]
        for name in MODELS:
            for text in texts:
                with self.subTest(name, text=text):
                    path = self.file("text.txt", text)
                    ids = json.loads(self.kerf("tokenize", "-m", model(name), "-f", path, "--no-special").text)
                    back = self.kerf("tokenize", "-m", model(name), "--decode", self.ids(ids))
                    self.assertEqual(back.out, text.encode())
                    self.assertEqual(ids, self.encode(text, "--no-special", name=name))

    def test_any_bytes_of_a_file(self):
        data = bytes(range(256)) * 3 + b"\xff\xfe\x00\xc3"
        result = self.kerf("tokenize", "-m", model(), "-f", self.file("raw.bin", data), "--no-special")
        back = self.kerf("tokenize", "-m", model(), "--decode", self.ids(json.loads(result.text)))
        self.assertEqual(back.out, data)
        self.assertIn("�", self.kerf("tokenize", "-m", model(), "--decode", self.ids(json.loads(result.text)), "--json").json["text"])

    def test_pieces(self):
        text = "Grüße 東京\n\x1b"
        document = self.kerf("tokenize", "-m", model("qwen2"), "-p", text, "--pieces", "--json").json
        self.assertEqual(len(document["pieces"]), document["n"])
        lines = self.kerf("tokenize", "-m", model("qwen2"), "-p", text, "--pieces").text
        self.assertEqual(lines.count("\n"), document["n"])
        self.assertNotIn("\x1b", lines)
        self.assertEqual([int(line.split()[0]) for line in lines.splitlines()], document["ids"])

    def test_decode_refuses_what_is_no_token(self):
        for content in ("[960]", "[-1]", "[1.5]", "{}", "[", '["a"]', "[18446744073709551615]", "[9223372036854775808]"):
            path = self.file("bad.json", content)
            with self.subTest(content):
                self.refused(3, "tokenize", "-m", model(), "--decode", path, says=[path])
        self.assertEqual(self.kerf("tokenize", "-m", model(), "--decode", self.ids([])).out, b"")

    def test_a_megabyte_of_one_letter(self):
        result = self.kerf("tokenize", "-m", model(), "-f", self.file("long.txt", "a" * (1 << 20)), timeout=20)
        self.assertGreater(len(json.loads(result.text)), 1000)


if __name__ == "__main__":
    program.main()
