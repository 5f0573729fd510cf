"""GSM8K's scoring rules, written from their description alone, and generated answers of many kinds."""

import decimal
import random
import re

RULES = ("strict", "flexible", "openai", "numeric")
STOPS = ("Question:", "</s>", "<|im_end|>")


def comparable(answer):
    """What the harness compares, of a match and of a whole reference answer alike."""
    for pattern in (",", r"\$", r"(?s).*#### ", r"\.$"):
        answer = re.sub(pattern, "", answer)
    return answer


def number(text):
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        return None


def cut(text):
    places = [text.find(stop) for stop in STOPS if stop in text]
    return text[:min(places)] if places else text


def verdict(rule, text, answer):
    """(extracted or None, right or wrong) for a generated text and a problem's whole answer."""
    text = cut(text)
    if rule in ("strict", "openai"):
        found = re.search(r"#### (\-?[0-9\.\,]+)", text)
        extracted = found.group(1) if found else None
    else:
        found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)
        extracted = next(group for group in found[-1] if group) if found else None
    if extracted is None:
        return None, False
    if rule == "openai":
        gold = re.search(r"#### (\-?[0-9\.\,]+)", answer).group(1)
        return extracted, extracted.replace(",", "") == gold.replace(",", "")
    ours, theirs = comparable(extracted), comparable(answer)
    if rule == "numeric":
        return extracted, number(ours) is not None and number(ours) == number(theirs)
    return extracted, ours == theirs


def with_commas(digits):
    return f"{int(digits):,}"


def spellings(gold):
    """The gold answer as models write it, rightly and not quite."""
    bare = gold.replace(",", "")
    return [gold, bare, with_commas(bare), f"${bare}", f"${with_commas(bare)}", f"{bare}.00", f"${bare}.00",
            f"{bare}.", f"{bare}...", f"{bare},", f"-{bare}", f"0{bare}", f"{bare}.50", f"{bare}$", f" {bare}",
            f"{bare} (see step 2)", f"{bare}%", f"{bare} dollars", rf"\boxed{{{bare}}}", rf"$\boxed{{{bare}}}$",
            f"**{bare}**", f"{bare[:-1]}", f"{bare}0", "7", "-3.5", "1,2,3", "$", "-", ".", "...", "", "1.2.3",
            "".join(chr(0x660 + int(d)) if d.isdigit() else d for d in bare),
            "".join(chr(0xFF10 + int(d)) if d.isdigit() else d for d in bare), "½", f"€{bare}", f"{bare}\u00a0000",
            f"{bare}e2", f"+{bare}", f"−{bare}"]


def generated(draw, gold):
    """One text; `draw` is a random.Random."""
    newline = draw.choice(["\n", "\n", "\r\n", "\r", "\n\n", " ", "\u2028"])
    marks = draw.choice(["#### "] * 30 + ["####", "###### ", "### ", "####\t", "####  ", "#### $", "# ", "Answer: "])
    steps = "".join(f"She has {draw.randrange(99)}*{draw.randrange(9)}=<<{draw.randrange(999)}>>{draw.randrange(999)}"
                    f"{draw.choice(['.', ' apples.', '', '…'])}{newline}" for _ in range(draw.randrange(3)))
    spelling = draw.choice([gold, *spellings(gold)]) if draw.random() < 0.8 else draw.choice(["", "none", "$"])
    text = steps + draw.choice([marks + spelling] * 4 + [f"The answer is {spelling}", spelling])
    tail = draw.choice([""] * 5 + [newline, newline + "#### 7", f"{newline}#### {gold}", " That is 2 more.", ".",
                                   newline + "Question: How many? #### 5", f"</s>{gold}", "<|im_end|>9",
                                   newline + "Quest", " $1,000.00", " 12:30", " #### ####", "\0", "é🙂"])
    text += tail
    return text[:draw.randrange(len(text) + 1)] if draw.random() < 0.1 else text
