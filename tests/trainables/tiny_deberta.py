"""A DeBERTa-v2 of two layers with random weights, in the files that the hub has for the real ones."""

import io
import json
import random
from pathlib import Path

import sentencepiece
import torch
from transformers import DebertaV2Config, DebertaV2Model

WORDS = "student school teacher write essay good bad because people think they learn many time help".split()


def generate_essays(num_essays: int, seed: int) -> list[str]:
    """Essays of 5 to 60 words in one to four paragraphs."""
    generator = random.Random(seed)
    return [_generate_essay(generator) for _ in range(num_essays)]


def _generate_essay(generator: random.Random) -> str:
    words = generator.choices(WORDS, k=generator.randint(5, 60))
    num_paragraphs = generator.randint(1, 4)
    size = -(-len(words) // num_paragraphs)
    return "\n\n".join(" ".join(words[i : i + size]) + "." for i in range(0, len(words), size))


def make_tiny_deberta(out_dir: Path) -> Path:
    """Writes config.json, model.safetensors, spm.model and tokenizer_config.json; returns the folder.

    Small enough for a fit in a second, with all that makes DeBERTa-v3 special: relative positions in buckets,
    both disentangled terms, shared projections, rows to spare in the embeddings, and a SentencePiece
    tokenizer that drops line breaks.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    spm_model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(generate_essays(200, seed=0)),
        model_writer=spm_model,
        vocab_size=120,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        num_threads=1,
        minloglevel=2,
    )
    (out_dir / "spm.model").write_bytes(spm_model.getvalue())
    (out_dir / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    architecture = DebertaV2Config(
        vocab_size=121,  # with DeBERTa's [MASK], which SentencePiece does not know
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        DebertaV2Model(architecture).save_pretrained(out_dir)
    return out_dir
