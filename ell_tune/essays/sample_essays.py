"""Sample data: invented learner essays in FB3's format, so that ell-tune can be tried without any data.

Each essay's writer has a skill per target, correlated as FB3's scores are. The skills decide both what goes
into the essay (see `_WriterHand`) and, with a rater's noise, its scores: a model can learn the scores from
the text, but not perfectly.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ell_tune.errors import UserError
from ell_tune.essays import sample_language as language
from ell_tune.essays.csv_table import to_csv
from ell_tune.essays.data import FB3_TARGETS, DataConfig
from ell_tune.files.atomic import make_folder, write_whole

_MIN_ESSAYS = 20

# Chosen so that the scores come out as FB3's: mean 3.1, SD .65 and correlations of about .68.
_MEAN_SCORE = 3.1
_SKILL_TO_SCORE = 0.6
_RATER_NOISE = 0.2
_SKILL_CORRELATION = 0.78

_SLOT = re.compile(r"\{([vgp]):([^}]*)\}")
_SKILL_OF_SLOT = {"v": "vocabulary", "g": "grammar", "p": "phraseology"}


def write_sample_data(num_essays: int, seed: int, out_dir: Path) -> tuple[Path, Path]:
    """Writes `train.csv` (`num_essays`, labelled) and `test.csv` (a fifth as many, at least 20, unlabelled).

    The same seed gives the same bytes, and a larger number of essays only adds to the smaller.

    Returns:
        The two paths. `out_dir` is created where it does not exist.

    Raises:
        UserError: fewer than 20 essays, `out_dir` is a file, or it holds other files of these names.
    """
    if num_essays < _MIN_ESSAYS:
        raise UserError(
            f"--essays {num_essays}: at least {_MIN_ESSAYS} sample essays are needed, for folds that mean anything. "
            f"Ask for {_MIN_ESSAYS} or more; 300 make a good demonstration."
        )
    # Even numbers are train essays, odd ones test essays: no two share an id or a random stream.
    train = [_write_essay(seed, 2 * index) for index in range(num_essays)]
    test = [_write_essay(seed, 2 * index + 1) for index in range(max(20, num_essays // 5))]
    data = DataConfig()
    columns = [data.id_column, data.text_column]
    content = {
        out_dir / "train.csv": to_csv([*columns, *data.targets], ([e.id, e.text, *e.scores] for e in train)),
        out_dir / "test.csv": to_csv(columns, ([e.id, e.text] for e in test)),
    }
    make_folder(out_dir)
    for path, text in content.items():
        _refuse_to_replace(path, text)
    for path, text in content.items():
        write_whole(path, text)
    train_path, test_path = content
    return train_path, test_path


def _refuse_to_replace(path: Path, text: str) -> None:
    if path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
        raise UserError(
            f"{path}: sample data never replaces other data, but this exists and is not the same sample. "
            f"Give another --out, or remove it first."
        )


@dataclass(frozen=True)
class _SampleEssay:
    id: str
    text: str
    scores: tuple[str, ...]  # in the order of FB3_TARGETS


def _write_essay(seed: int, number: int) -> _SampleEssay:
    rng = np.random.default_rng([seed, number])
    skill_C = _draw_skills(rng)
    hand = _WriterHand(rng, dict(zip(FB3_TARGETS, skill_C, strict=True)))
    text = _compose(rng, hand)
    raw_C = _MEAN_SCORE + _SKILL_TO_SCORE * skill_C + rng.normal(0, _RATER_NOISE, len(skill_C))
    score_C = np.clip(np.round(raw_C * 2) / 2, 1.0, 5.0)
    # An odd factor permutes the 48-bit numbers: ids look random and never repeat, nor do those of another seed, whose
    # essays are others (below a million of them).
    id_ = f"{(seed * 1_000_000 + number + 1) * 0x9E3779B97F4B % 2**48:012X}"
    return _SampleEssay(id_, text, tuple(f"{score:.1f}" for score in score_C))


def _draw_skills(rng: np.random.Generator) -> NDArray[np.float64]:
    """One skill per target, each standard normal: a shared ability and a part of its own."""
    ability = rng.normal()
    own_C = rng.normal(size=len(FB3_TARGETS))
    skill_C: NDArray[np.float64] = math.sqrt(_SKILL_CORRELATION) * ability + math.sqrt(1 - _SKILL_CORRELATION) * own_C
    return skill_C


@dataclass(frozen=True)
class _WriterHand:
    """The choices of one writer. Each depends on the skill that its target is named after.

    cohesion: connectives, paragraphs, keeping to the topic. syntax: subordination against short or run-on
    sentences. vocabulary: rich words against basic ones. phraseology: collocations. grammar: agreement,
    tense, articles. conventions: spelling, capitals, commas and stops.
    """

    rng: np.random.Generator
    skills: dict[str, float]

    def succeeds(self, target: str, ease: float = 1.0) -> bool:
        """Whether this one choice turns out well: with probability sigmoid(ease + 1.3 skill)."""
        chance = 1 / (1 + math.exp(-(ease + 1.3 * self.skills[target])))
        return bool(self.rng.random() < chance)

    def pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def write_down(self, paragraph: str) -> str:
        """Turns a paragraph with slots into what this writer makes of it, errors and all."""
        return self._punctuate(self._spell(self._drop_articles(self._fill_slots(paragraph))))

    def _fill_slots(self, clause: str) -> str:
        """Decides each slot of `sample_language`'s clauses."""

        def fill(slot: re.Match[str]) -> str:
            kind, (first, *others) = slot[1], slot[2].split("|")
            if kind == "v":  # richness is harder to come by than correctness
                return self.pick(others) if self.succeeds("vocabulary", ease=0.0) else first
            return first if self.succeeds(_SKILL_OF_SLOT[kind]) else others[0]

        return _SLOT.sub(fill, clause)

    def _drop_articles(self, text: str) -> str:
        def article(match: re.Match[str]) -> str:
            return match[0] if self.succeeds("grammar", ease=2.5) else ""

        return re.sub(r"\b(a|an|the) (?=[a-z])", article, text)

    def _spell(self, text: str) -> str:
        def spelled(word: re.Match[str]) -> str:
            wrong = language.MISSPELLINGS.get(word[0].lower())
            if wrong is None or self.succeeds("conventions", ease=2.0):
                return word[0]
            return wrong.capitalize() if word[0][0].isupper() else wrong

        return re.sub(r"[A-Za-z]+", spelled, text)

    def _punctuate(self, text: str) -> str:
        """Capitalises sentences, and forgets some capitals, commas and stops."""

        def sentence_start(match: re.Match[str]) -> str:
            return match[1] + (match[2].upper() if self.succeeds("conventions", ease=2.0) else match[2])

        text = re.sub(r"(^|[.?] )([a-z])", sentence_start, text)
        text = re.sub(r"\bI\b", lambda m: m[0] if self.succeeds("conventions", ease=2.0) else "i", text)
        return re.sub(r"[,.](?= )", lambda m: m[0] if self.succeeds("conventions", ease=2.5) else "", text)


def _compose(rng: np.random.Generator, hand: _WriterHand) -> str:
    """An essay: opening, three to five argued points, closing; paragraphs are separated by blank lines."""
    topic = language.TOPICS[rng.integers(len(language.TOPICS))]
    num_points = int(rng.integers(3, 6))
    point_indices = rng.permutation(len(topic.points))[:num_points]
    about = {"opinion": topic.opinion, "other_side": topic.other_side}
    paragraphs = [hand.pick(language.OPENINGS).format(**about)]
    for position, index in enumerate(point_indices):
        paragraphs.append(_argue(hand, topic.points[index], is_first=position == 0))
    closing = hand.pick(language.CLOSINGS).format(**about)
    paragraphs.append(_connect(hand, language.LAST_CONNECTIVES) + closing)
    return _lay_out(hand, [hand.write_down(paragraph) for paragraph in paragraphs])


def _argue(hand: _WriterHand, point: language.Point, *, is_first: bool) -> str:
    """A paragraph for one point: the claim and its reason, an example, and often a comment."""
    connectives = language.FIRST_CONNECTIVES if is_first else language.NEXT_CONNECTIVES
    frames = language.COMPLEX_FRAMES if hand.succeeds("syntax", ease=0.0) else language.PLAIN_FRAMES
    argument = hand.pick(frames).format(claim=point.claim, reason=point.reason)
    sentences = [
        _connect(hand, connectives) + argument,
        _connect(hand, language.EXAMPLE_CONNECTIVES) + point.example + ".",
    ]
    if hand.rng.random() < 0.8:
        sentences.append(hand.pick(language.COMMENTS))
    if not hand.succeeds("cohesion", ease=1.5):
        sentences.append(hand.pick(language.DIGRESSIONS))
    return " ".join(sentences)


def _connect(hand: _WriterHand, connectives: tuple[str, ...]) -> str:
    return hand.pick(connectives if hand.succeeds("cohesion", ease=0.5) else language.WEAK_CONNECTIVES)


def _lay_out(hand: _WriterHand, paragraphs: list[str]) -> str:
    """Separates paragraphs by blank lines; a writer with little cohesion runs middle ones together."""
    text = paragraphs[0]
    for paragraph in paragraphs[1:-1]:
        text += ("\n\n" if hand.succeeds("cohesion") else " ") + paragraph
    return text + "\n\n" + paragraphs[-1]
