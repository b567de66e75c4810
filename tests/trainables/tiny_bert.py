"""A BERT of three layers with random weights and a tokenizer of its own: as unlike the tiny DeBERTa as it can be."""

from pathlib import Path

import torch
from tiny_deberta import WORDS
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

HIDDEN_SIZE, NUM_LAYERS = 24, 3


def make_tiny_bert(out_dir: Path) -> Path:
    """Writes config.json, model.safetensors and the tokenizer's files; returns the folder."""
    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", ".", *WORDS]
    tokenizer = Tokenizer(WordPiece({word: k for k, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(out_dir)
    architecture = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=80,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(architecture).save_pretrained(out_dir)
    return out_dir
