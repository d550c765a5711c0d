"""A tokenizer shaped as Phi-3's: its special ids, byte fallback, 32,064 entries (phi.md 2.1)."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

VOCABULARY = 32_064
FIRST_SPECIAL = 32_000
_NAMED = {0: "<|endoftext|>", 1: "<|assistant|>", 6: "<|system|>", 7: "<|end|>", 10: "<|user|>"}
_IMAGE = 44  # above it the real model has rows without a name
_ONSETS = (*"bcdfghjklmnprstvwz", "ch", "sh", "th", "br", "cr", "dr", "fl", "gr", "st", "tr")
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
_ENDS = ("", *"lmnrst")
_TRAINING = """
the quick brown fox jumps over the lazy dog and the team asks the assistant what time it is
please say which tool gives the answer and how the result of the tool reads in plain words
{"thought":"","step":[{"action":"final","arguments":{"answer":""}}]} a user sends an image
"""


def special_tokens() -> list[str]:
    """The texts of the ids from 32,000 on."""
    names = []
    for place in range(VOCABULARY - FIRST_SPECIAL):
        spare = f"<|placeholder{place}|>"
        names.append("<|image|>" if place == _IMAGE else _NAMED.get(place, spare))
    return names


def _words() -> list[str]:
    """Made-up words, so that what a random model writes can be read."""
    parts = itertools.product(_ONSETS, _VOWELS, _ENDS, _ONSETS, _VOWELS)
    return ["▁" + "".join(each) for each in itertools.islice(parts, 0, None, 5)]


def vocabulary() -> tuple[list[str], list[tuple[str, str]]]:
    """The 32,000 ordinary pieces by id, and the merges that make some of them."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    characters = sorted(set(_TRAINING) | {chr(code) for code in range(33, 127)} - {" "})
    pieces += ["▁", *(each for each in characters if each not in " \n")]
    known, merges = set(pieces), list[tuple[str, str]]()
    for word in dict.fromkeys(_TRAINING.split()):
        whole = "▁"
        for letter in word:
            if whole + letter not in known:
                pieces.append(whole + letter)
                known.add(whole + letter)
                merges.append((whole, letter))
            whole += letter
    fill = (word for word in _words() if word not in known)
    pieces += itertools.islice(fill, FIRST_SPECIAL - len(pieces))
    return pieces, merges


def write_tokenizer(folder: Path) -> None:
    """`tokenizer.json` and `tokenizer_config.json`, without a chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    pieces, merges = vocabulary()
    assert len(pieces) == FIRST_SPECIAL == len(set(pieces))
    model = models.BPE(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=merges,
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    tokenizer = Tokenizer(model)
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    undo = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*undo, decoders.Strip(" ", 1, 0)])
    for piece in ("<unk>", "<s>", "</s>", *special_tokens()):
        tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    end = "<|endoftext|>"
    roles = {"bos_token": "<s>", "eos_token": end, "pad_token": end, "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
