"""`oasis tokenize` gives the ids and texts of the Python package `tokenizers`."""

import functools
import json
import os
import random
import unicodedata

import pytest
import text_data
from tokenizer_families import FAMILIES, O200K_PATTERN, repository_text, train
from tokenizers import AddedToken, Tokenizer

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # pytest's own workers use the cores
FEWER = 50 if "OASIS_SANITIZED" in os.environ else 1  # the program is as many times slower then
BATCH = 20_000  # texts in the library at a time: it keeps far more of each than the ids

needs_data = pytest.mark.skipif(
    not text_data.data_home().is_dir(),
    reason=f"no data folder at {text_data.data_home()}: name one in OASIS_DATA_HOME")


@functools.cache
def training_lines():
    return text_data.lines("books/valid.jsonl.zst") or repository_text()


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(request):
    return train(request.param, training_lines())


def batches(texts):
    return (texts[i:i + BATCH] for i in range(0, len(texts), BATCH))


class Ours:
    def __init__(self, program, tokenizer):
        self.program, self.file = program, program.file("tokenizer.json")
        tokenizer.save(str(self.file))

    def lines(self, values, *flags):
        given = self.program.file("jsonl")
        given.write_text("".join(json.dumps(value) + "\n" for value in values))
        printed = self.program.run("tokenize", "--tokenizer", self.file, *flags, given).stdout.split("\n")
        assert printed.pop() == ""
        return json.loads(f"[{','.join(printed)}]")

    def encode(self, texts, *flags):
        return self.lines(texts, "--json-lines", *flags)

    def decode(self, ids):
        return self.lines(ids, "--decode")


def assert_same_ids(program, tokenizer, texts):
    found = Ours(program, tokenizer).encode(texts)
    at = 0
    for batch in batches(texts):
        expected = [e.ids for e in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        if found[at:at + len(batch)] != expected:
            wrong = next(i for i in range(len(batch)) if found[at + i] != expected[i])
            assert found[at + wrong] == expected[wrong], repr(batch[wrong])
        at += len(batch)
    assert at == len(found)


MARKS = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)).startswith("M")]
SPACES = " \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u180e\u2000\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
KINDS = [
    lambda r: chr(r.randrange(0x20, 0x7f)),
    lambda r: chr(r.randrange(0x20, 0x7f)),
    lambda r: chr(r.randrange(0x20)),
    lambda r: r.choice(SPACES),
    lambda r: r.choice(SPACES[:4]),
    lambda r: chr(r.randrange(0xa0, 0x370)),  # Latin and combining marks
    lambda r: chr(r.randrange(0x370, 0x700)),  # Greek, Cyrillic, Armenian, Hebrew, Arabic
    lambda r: chr(r.randrange(0x900, 0x1200)),  # Indic, Thai, Hangul letters
    lambda r: r.choice(MARKS),
    lambda r: chr(r.randrange(0x3000, 0x3100)),  # CJK punctuation, kana and their voicing marks
    lambda r: chr(r.randrange(0x4e00, 0xa000)),
    lambda r: chr(r.randrange(0xac00, 0xd7a4)),
    lambda r: r.choice("0٣७²½Ⅷ〇𝟘㊿\U00011de0"),
    lambda r: chr(r.choice([r.randrange(0x1f300, 0x1fb00), 0x200d, 0xfe0f, 0x20e3, 0x1f1e6])),
    lambda r: chr(r.randrange(0x10000, 0x20000)),
    lambda r: chr(r.choice([r.randrange(0xd800), r.randrange(0xe000, 0x110000)])),  # no surrogates: not text
    lambda r: r.choice(["'s", "'LL", "'\u017f", "'Re", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|"]),
]


@functools.cache
def random_texts(count, seed):
    r = random.Random(seed)
    texts = []
    for _ in range(count):
        kinds = r.sample(KINDS, r.randrange(1, 5))
        texts.append("".join(r.choice(kinds)(r) for _ in range(r.randrange(20))))
    return texts


@needs_data
def test_every_line_of_the_data_sets(program, tokenizer, request):
    """Of the largest split each family takes another quarter of the lines; all of them with OASIS_EVERY_LINE=1."""
    lines = text_data.lines("books/valid*", "specs/valid*", "specs/test*", "gsm8k/*.jsonl", "wikitext-2/*.txt")
    large = text_data.lines("specs/train*")
    assert len(lines) > 100_000 and len(large) > 500_000
    if os.environ.get("OASIS_EVERY_LINE") != "1":
        large = large[list(FAMILIES).index(request.node.callspec.params["tokenizer"])::len(FAMILIES)]
    assert_same_ids(program, tokenizer, list(dict.fromkeys(lines + large))[::FEWER])


def test_random_unicode(program, tokenizer):
    assert_same_ids(program, tokenizer, random_texts(100_000 // FEWER, seed=1))


@pytest.mark.parametrize("family", ["qwen2", "smollm2"])
def test_every_character(program, family):
    """What each side's Unicode tables know of it: category, place among combining marks. Of ideographs a few."""
    codes = [*range(0xd800), *range(0xe000, 0x20000), *range(0x20000, 0x110000, 31)]
    probes = [f"a{chr(c)}1{chr(c)}q\u0345{chr(c)}\u0334." for c in codes[::FEWER]]
    texts = ["".join(probes[i:i + 20]) for i in range(0, len(probes), 20)]
    assert_same_ids(program, train(family, training_lines()[:1000]), texts)


def test_decoding(program, tokenizer):
    r = random.Random(2)
    ids = [[r.randrange(tokenizer.get_vocab_size()) for _ in range(r.randrange(20))] for _ in range(2000)]
    ids += [e.ids for e in tokenizer.encode_batch(random_texts(2000, seed=3))]
    assert Ours(program, tokenizer).decode(ids) == [tokenizer.decode(i) for i in ids]


def test_special_tokens_round_a_text(program, tokenizer):
    texts = random_texts(500, seed=4)
    assert Ours(program, tokenizer).encode(texts, "--add-special-tokens") == [tokenizer.encode(t).ids for t in texts]


def test_added_tokens(program, tokenizer):
    """Tokens that swallow white space, stand alone, overlap, are normalized, or are letters of the byte alphabet."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.add_special_tokens([AddedToken("<a>", lstrip=True), AddedToken("<b>", rstrip=True), "<a><b>"])
    tokenizer.add_tokens([AddedToken("<w>", single_word=True), AddedToken("e\u0301q", normalized=True),
                          AddedToken("o\u0308z", normalized=False), AddedToken("Ġé", normalized=False),
                          AddedToken("<x>", lstrip=True, rstrip=True, normalized=True), "x y"])
    parts = ["<a>", "<b>", "<a><b>", "<w>", "e\u0301q", "\u00e9q", "o\u0308z", "\u00f6z", "Ġé", "<x>", "x y", "a", "1",
             "_", ".", "\u0301", "日", "\u24b6", "\u2167", "\u200d", "\u1c89", *" \n\t\u3000\u00a0\u0085"]
    r = random.Random(5)
    texts = ["".join(r.choices(parts, k=r.randrange(12))) for _ in range(5000)]
    ours = Ours(program, tokenizer)
    expected = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    assert ours.encode(texts) == expected
    assert ours.decode(expected) == [tokenizer.decode(i) for i in expected]


@pytest.mark.parametrize("change", [
    lambda t: t["pre_tokenizer"].update(add_prefix_space=True),
    lambda t: t["pre_tokenizer"].update(use_regex=False, add_prefix_space=True),
    lambda t: t["model"].update(ignore_merges=True),
    lambda t: t["model"].update(merges=[" ".join(pair) for pair in t["model"]["merges"]]),
    lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": O200K_PATTERN}, "behavior": "Removed", "invert": True},
        t["pre_tokenizer"] | {"use_regex": False}]}),
    lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"String": "e"}, "behavior": "Removed", "invert": False},
        {"type": "Split", "pattern": {"Regex": r"[^\s]+|\s"}, "behavior": "Removed", "invert": True},
        {"type": "Digits", "individual_digits": False}, t["pre_tokenizer"] | {"add_prefix_space": True}]}),
])
def test_other_settings(program, change):
    description = json.loads(train("gpt2", training_lines()[:5000]).to_str())
    change(description)
    assert_same_ids(program, Tokenizer.from_str(json.dumps(description)), random_texts(3000, seed=6))


def test_what_is_not_supported_is_refused(program, tokenizer):
    description = json.loads(tokenizer.to_str())
    description["normalizer"] = {"type": "Lowercase"}
    file = program.file("tokenizer.json")
    file.write_text(json.dumps(description))
    done = program.run("tokenize", "--tokenizer", file, file, status=2)
    assert done.stderr == (f"oasis: {file}: normalizer: the type 'Lowercase' is not supported; supported: null, NFC, "
                           "Sequence\n")
    assert done.stdout == ""
