"""Text that comes as a list of words: told to a tokenizer word by word, and put together again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peftkit.contracts import Example
from peftkit.errors import UserError
from peftkit.examples.tokens import MADE_WHEN_PADDED
from peftkit.tasks.token_classification.windows import windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Han characters and Japanese kana: writing without spaces between words."""


def words_of(line: str) -> list[str]:
    """A line of text as words: its characters where any is Chinese or Japanese, else what stands between spaces."""
    return [sign for sign in line if not sign.isspace()] if _UNSPACED.search(line) else line.split()


def text_of(words: Sequence[str]) -> str:
    """Words as text, with a space between two of them unless both sides are Chinese or Japanese."""
    text = ""
    for word in words:
        between = "" if not text or (_UNSPACED.match(text[-1]) and _UNSPACED.match(word)) else " "
        text += between + word
    return text


def takes_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokens of a word include the space before it, as byte-level BPE has it (GPT-2, RoBERTa, Llama 3).

    Asked of the tokenizer itself: such a one reads the split words ``the``, ``the`` unlike the text ``the the``, and
    like it once the space is put back. transformers' ``add_prefix_space=True`` does the same for some of them.
    """

    def ids(text: str | list[str]) -> Any:
        split = isinstance(text, list)
        return tokenizer(text, is_split_into_words=split, add_special_tokens=False)["input_ids"]

    running = ids("the the")
    return bool(running != ids(["the", "the"]) and running == ids(["the", " the"]))


def tokenize_words(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[str]], spaced: bool
) -> list[tuple[dict[str, list[int]], list[int | None]]]:
    """The model inputs of each row, whole, and for each token the word it comes from, None for special tokens.

    With `spaced` (see `takes_space`) every word gets the space before it, the first too, so that a word's tokens do not
    depend on where it stands; Chinese and Japanese characters do not. An empty word has no tokens.
    """
    if spaced:
        rows = [[_spaced(word) for word in row] for row in rows]
    found = tokenizer([list(row) for row in rows], is_split_into_words=True, verbose=False)
    names = [name for name in found if name not in MADE_WHEN_PADDED]
    return [({name: found[name][row] for name in names}, found.word_ids(row)) for row in range(len(rows))]


def in_windows(
    inputs: Mapping[str, list[int]], owners: Sequence[int | None], max_length: int, overlap: int
) -> list[Example]:
    """One row of `tokenize_words` as examples of no more than `max_length` tokens, special tokens in each.

    ``words`` are those that are taught and read in an example, ``places`` their first tokens; over a row's examples
    each word that has tokens comes once. A word longer than a window is ``cut``: its first tokens are kept. A row none
    of whose words has tokens gives no example.

    Raises:
        UserError: the special tokens leave no room.
    """
    tokens: dict[int, list[int]] = {}
    for place, word in enumerate(owners):
        if word is not None:
            tokens.setdefault(word, []).append(place)
    special = [place for place, word in enumerate(owners) if word is None]
    room = max_length - len(special)
    if room < 1:
        told = f"{max_length} tokens leave no room beside the {len(special)} that the tokenizer adds"
        raise UserError(told, ("training", "max_length"))
    readable = sorted(tokens)
    examples: list[Example] = []
    for window in windows([min(len(tokens[word]), room) for word in readable], room, overlap):
        seen, own = readable[window.start : window.end], readable[window.first : window.last]
        kept = sorted([*special, *(place for word in seen for place in tokens[word][:room])])
        example: Example = {name: [values[place] for place in kept] for name, values in inputs.items()}
        example["words"], example["places"] = own, [kept.index(tokens[word][0]) for word in own]
        if any(len(tokens[word]) > room for word in own):
            example["cut"] = True
        examples.append(example)
    return examples


def _spaced(word: str) -> str:
    return word if not word or word[0].isspace() or _UNSPACED.match(word) else f" {word}"
