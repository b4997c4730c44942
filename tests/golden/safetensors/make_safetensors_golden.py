#!/usr/bin/env python3
"""Writes the folders of this directory: what `transformers` and the plain formula of FP8 blocks say that weights are.

    python tests/golden/safetensors/make_safetensors_golden.py     (torch 2.11, transformers 5.24, safetensors 0.8)

fp8       a tiny DeepSeek-V3 quantised as the published one: matrices in F8_E4M3, a scale per block of 128 x 128, blocks cut off at the
          edges (576 rows are five), scales in another shard, one layer for multi-token prediction at the end.
          expected.safetensors: some of its matrices as fp32, stored value times scale.
sharded   a tiny Qwen2 in bf16, as save_pretrained cuts it into shards.
dtypes    one tensor of each type that the format has and cohort reads, as safetensors.torch.save_file orders them.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
BLOCK = 128


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def blocks_of(values):
    """The scale of each element's block: repeats [ceil(R/128), ceil(C/128)] to [R, C]."""
    return lambda scale: scale.repeat_interleave(BLOCK, 0)[: values.shape[0]].repeat_interleave(BLOCK, 1)[:, : values.shape[1]]


def quantise(weight):
    rows, columns = -(-weight.shape[0] // BLOCK), -(-weight.shape[1] // BLOCK)
    padded = torch.zeros(rows * BLOCK, columns * BLOCK)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    largest = padded.view(rows, BLOCK, columns, BLOCK).abs().amax(dim=(1, 3))
    scale = (largest / 448.0).clamp_min(1e-12)
    stored = (weight / blocks_of(weight)(scale)).to(torch.float8_e4m3fn)
    return stored, scale


def write_fp8():
    folder = fresh("fp8")
    torch.manual_seed(3)
    config = DeepseekV3Config(
        vocab_size=40, hidden_size=160, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=144,
        moe_intermediate_size=40, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, n_group=2, topk_group=1,
        first_k_dense_replace=1, q_lora_rank=32, kv_lora_rank=512, qk_nope_head_dim=24, qk_rope_head_dim=64, v_head_dim=16,
        max_position_embeddings=64, tie_word_embeddings=False, initializer_range=0.05)
    model = DeepseekV3ForCausalLM(config).float()
    model.save_pretrained(folder / "plain")
    from safetensors.torch import load_file
    plain = load_file(folder / "plain" / "model.safetensors")
    published = json.loads((folder / "plain" / "config.json").read_text())
    shutil.rmtree(folder / "plain")
    kept = ("embed_tokens", "lm_head", "norm.weight", "layernorm", "mlp.gate.")
    shards, expected = [{}, {}], {}
    for name, weight in sorted(plain.items()):
        if any(part in name for part in kept):
            shards[0][name] = weight if "correction_bias" in name else weight.to(torch.bfloat16)
            continue
        stored, scale = quantise(weight * (1 + torch.rand(weight.shape[0], 1) * 30))  # scales that differ
        shards[0][name], shards[1][name + "_scale_inv"] = stored, scale
        if "0.self_attn.kv_a_proj" in name or "experts.3." in name or "1.self_attn.q_b_proj" in name:
            expected[name] = stored.float() * blocks_of(stored)(scale)
    extra, scale = quantise(torch.randn(40, 160))
    shards[1]["model.layers.2.mlp.experts.0.gate_proj.weight"], shards[0]["model.layers.2.mlp.experts.0.gate_proj.weight_scale_inv"] = extra, scale
    shards[1]["model.layers.2.enorm.weight"] = torch.ones(160, dtype=torch.bfloat16)
    shards[1]["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(32)
    weight_map = {}
    for i, tensors in enumerate(shards):
        name = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / name, metadata={"format": "pt"})
        weight_map.update({tensor: name for tensor in tensors})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1, sort_keys=True) + "\n")
    published.pop("dtype", None)
    published.update(torch_dtype="bfloat16", num_nextn_predict_layers=1, quantization_config={
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]})
    (folder / "config.json").write_text(json.dumps(published, indent=1, sort_keys=True) + "\n")
    save_file(expected, folder / "expected.safetensors")


def write_sharded():
    folder = fresh("sharded")
    torch.manual_seed(4)
    config = Qwen2Config(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
                         max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.2)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    for name, parameter in model.named_parameters():  # biases and norms that are not all 0 and 1
        if parameter.dim() == 1:
            parameter.data.copy_(torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="9KB")


def write_dtypes():
    types = [torch.bool, torch.uint8, torch.int8, torch.float8_e5m2, torch.float8_e4m3fn, torch.int16, torch.uint16, torch.float16,
             torch.bfloat16, torch.int32, torch.uint32, torch.float32, torch.float64, torch.int64, torch.uint64]
    (fresh("dtypes"))
    save_file({f"{i % 2}/{t}": torch.tensor([0, 1, 1]).to(t) for i, t in enumerate(types)}, HERE / "dtypes" / "model.safetensors",
              metadata={"format": "pt"})


write_fp8()
write_sharded()
write_dtypes()
