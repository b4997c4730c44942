#!/usr/bin/env python3
"""Writes the fixtures in this folder from the reference implementations. The C++ tests read only the files, never this script.

Versions the committed files were made with: Python 3.11, torch 2.11.0 (CPU), transformers 5.24.0, safetensors 0.8.0.
    pip install torch transformers safetensors && python make_model_golden.py [OUTPUT_FOLDER [MODEL…]]

Models (one folder each: model_configs() and reward_configs())
  config.json            as transformers saves it (rope settings under "rope_parameters")
  config_published.json  the same model with the keys of the published checkpoints ("rope_theta", "rope_scaling")
  model.safetensors      fp32 weights under the names of published checkpoints: experts one by one, no lm_head when tied
  golden.safetensors     everything fp32 or int64, computed in fp32 with eager attention, batch of one, no cache:
      ids_i       [T_i]        input token ids of sequence i = 0, 1, 2
      logits_i    [T_i, V]
      loss        []           sum over i and t < T_i - 1 of -log softmax(logits_i[t])[ids_i[t + 1]], divided by the number of terms
      grad.NAME   as NAME      d loss / d NAME for every trained tensor NAME of model.safetensors (the router's selection bias has none)
      greedy_i    [64]         tokens that follow ids_i when the arg max of a full forward is appended 64 times
    of a reward model (sequence classification with one label) instead of logits, loss and greedy:
      score_i     []           the head's output at the last token of ids_i
      grad.NAME   as NAME      d (sum over i of score_i) / d NAME

Seeds are tried in order until nothing in the fixture hangs on rounding: top-2 logit gap >= MIN_LOGIT_GAP at every greedy step, routing choices
separated by >= MIN_ROUTE_GAP at every token, every gradient non-zero. The margins are printed.

Other files
  rope.json              inverse frequencies (default, yarn, llama3), the factor on cos and sin, and the softmax scale
  router.json            router logits (and selection bias) -> chosen experts (sorted) and their weights
  adamw.safetensors      ten AdamW steps, with and without clipping by global norm
"""

import json
import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, DeepseekV2Config, DeepseekV3Config, LlamaConfig, Qwen2Config,
                          Qwen3Config, Qwen3MoeConfig)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter, yarn_apply_mscale
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

GREEDY_TOKENS = 64
LENGTHS = (5, 13, 22)
MIN_LOGIT_GAP = 2e-3
MIN_ROUTE_GAP = 1e-4
MAX_SEEDS = 400

YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, beta_fast=4.0, beta_slow=0.5, mscale=1.0, mscale_all_dim=0.8,
            original_max_position_embeddings=32)


def model_configs():
    """Sizes differ from each other wherever they can, so that a swapped dimension cannot pass."""
    return {
        # Two layers (dense, MoE), low-rank queries, YaRN with a partial ramp, four groups of two experts.
        "deepseek_v3": DeepseekV3Config(
            vocab_size=47, hidden_size=32, intermediate_size=40, moe_intermediate_size=14, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, n_shared_experts=1, n_routed_experts=8, routed_scaling_factor=2.5, kv_lora_rank=12, q_lora_rank=20,
            qk_rope_head_dim=8, v_head_dim=6, qk_nope_head_dim=10, n_group=4, topk_group=2, num_experts_per_tok=3,
            first_k_dense_replace=1, norm_topk_prob=True, max_position_embeddings=128, rope_parameters=dict(YARN), num_mtp_layers=0),
        # Three layers (dense, MoE, MoE), direct queries, plain rope, one group, two shared experts.
        "deepseek_v3_plain": DeepseekV3Config(
            vocab_size=41, hidden_size=28, intermediate_size=36, moe_intermediate_size=10, num_hidden_layers=3, num_attention_heads=3,
            num_key_value_heads=3, n_shared_experts=2, n_routed_experts=6, routed_scaling_factor=1.5, kv_lora_rank=14, q_lora_rank=None,
            qk_rope_head_dim=6, v_head_dim=8, qk_nope_head_dim=4, n_group=1, topk_group=1, num_experts_per_tok=2,
            first_k_dense_replace=1, norm_topk_prob=True, max_position_embeddings=128,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0), num_mtp_layers=0),
        # Grouped-query attention, three query heads per key head, tied head.
        "qwen2_tied": Qwen2Config(
            vocab_size=53, hidden_size=36, intermediate_size=44, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
            max_position_embeddings=128, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
        # One key head for all query heads, own head, three layers.
        "qwen2_untied": Qwen2Config(
            vocab_size=43, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
            max_position_embeddings=128, tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
        # Softmax router, norms on queries and keys, head width that is not hidden / heads, a dense layer in between.
        "qwen3_moe": Qwen3MoeConfig(
            vocab_size=45, hidden_size=32, intermediate_size=40, moe_intermediate_size=12, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=10, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, mlp_only_layers=[1],
            max_position_embeddings=128, tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
    } | small_configs()


PLAIN = dict(rope_type="default", rope_theta=10000.0)
LLAMA3 = dict(rope_type="llama3", rope_theta=50.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
YARN_GQA = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=0.5)
YARN_LITE = dict(YARN, mscale=0.707, mscale_all_dim=0.707, factor=40.0)


def small_configs():
    """Awkward sizes, as small as they can be: odd numbers of heads, widths that do not follow from each other, every option once."""
    size = dict(num_hidden_layers=2, max_position_embeddings=128)
    experts = dict(moe_intermediate_size=6, num_experts_per_tok=2, first_k_dense_replace=1, intermediate_size=19)
    return {
        # Seven query heads on one key head; YaRN without mscale, so that cos and sin are multiplied.
        "qwen2_yarn": Qwen2Config(vocab_size=39, hidden_size=28, intermediate_size=17, num_attention_heads=7, num_key_value_heads=1,
                                  tie_word_embeddings=True, rope_parameters=dict(YARN_GQA), **size),
        # Three heads of width 10 on a hidden width of 20, tied.
        "qwen3_tied": Qwen3Config(vocab_size=37, hidden_size=20, intermediate_size=23, num_attention_heads=3, num_key_value_heads=1,
                                  head_dim=10, tie_word_embeddings=True, rope_parameters=dict(PLAIN), **size),
        # Heads together narrower than the hidden width, biases in q, k, v and o.
        "qwen3_biased": Qwen3Config(vocab_size=41, hidden_size=26, intermediate_size=15, num_attention_heads=5, num_key_value_heads=5,
                                    head_dim=4, attention_bias=True, tie_word_embeddings=False, rope_parameters=dict(PLAIN), **size),
        "qwen3_yarn": Qwen3Config(vocab_size=35, hidden_size=18, intermediate_size=21, num_attention_heads=6, num_key_value_heads=3,
                                  head_dim=8, tie_word_embeddings=False, rope_parameters=dict(YARN_GQA, attention_factor=1.1), **size),
        # Weights of the experts not normalised, tied.
        "qwen3_moe_tied": Qwen3MoeConfig(vocab_size=39, hidden_size=20, intermediate_size=19, moe_intermediate_size=7, num_attention_heads=3,
                                         num_key_value_heads=3, head_dim=6, num_experts=5, num_experts_per_tok=3, norm_topk_prob=False,
                                         tie_word_embeddings=True, rope_parameters=dict(PLAIN), **size),
        # No dense layer, biases, YaRN.
        "qwen3_moe_yarn": Qwen3MoeConfig(vocab_size=36, hidden_size=22, intermediate_size=19, moe_intermediate_size=5, num_attention_heads=5,
                                         num_key_value_heads=1, head_dim=8, num_experts=5, num_experts_per_tok=2, norm_topk_prob=True,
                                         attention_bias=True, tie_word_embeddings=False, rope_parameters=dict(YARN_GQA), **size),
        # Llama 3's scaling with all three bands, tied, head width explicit and apart from hidden / heads.
        "llama_scaled": LlamaConfig(vocab_size=43, hidden_size=21, intermediate_size=25, num_attention_heads=3, num_key_value_heads=1,
                                    head_dim=12, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters=dict(LLAMA3), **size),
        "llama_untied": LlamaConfig(vocab_size=38, hidden_size=30, intermediate_size=22, num_attention_heads=5, num_key_value_heads=5,
                                    rms_norm_eps=1e-5, tie_word_embeddings=False, rope_parameters=dict(PLAIN), **size),
        # Biases everywhere.
        "llama_biased": LlamaConfig(vocab_size=40, hidden_size=24, intermediate_size=18, num_attention_heads=6, num_key_value_heads=2,
                                    rms_norm_eps=1e-5, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
                                    rope_parameters=dict(LLAMA3), **size),
        # (transformers' rotary code for V2 needs even kv_lora_rank and qk_nope_head_dim.)
        # V2-Lite: no low-rank queries, softmax gate, greedy, not normalised, mscale 0.707, two shared experts.
        "deepseek_v2_lite": DeepseekV2Config(vocab_size=39, hidden_size=21, num_attention_heads=3, n_routed_experts=7, n_shared_experts=2,
                                             routed_scaling_factor=1.0, kv_lora_rank=10, q_lora_rank=None, qk_rope_head_dim=8, v_head_dim=5,
                                             qk_nope_head_dim=6, topk_method="greedy", n_group=1, topk_group=1,
                                             rope_parameters=dict(YARN_LITE), **experts, **size),
        # V2: low-rank queries, three groups of two experts of which two are kept, a scaling factor.
        "deepseek_v2_groups": DeepseekV2Config(vocab_size=37, hidden_size=20, num_attention_heads=5, n_routed_experts=6, n_shared_experts=1,
                                               routed_scaling_factor=2.5, kv_lora_rank=8, q_lora_rank=11, qk_rope_head_dim=6, v_head_dim=7,
                                               qk_nope_head_dim=4, topk_method="group_limited_greedy", n_group=3, topk_group=2,
                                               rope_parameters=dict(PLAIN), **experts, **size),
        "deepseek_v2_tied": DeepseekV2Config(vocab_size=41, hidden_size=18, num_attention_heads=3, n_routed_experts=4, n_shared_experts=1,
                                             routed_scaling_factor=1.5, kv_lora_rank=10, q_lora_rank=None, qk_rope_head_dim=4, v_head_dim=6,
                                             qk_nope_head_dim=6, topk_method="greedy", n_group=None, topk_group=None,
                                             tie_word_embeddings=True, rope_parameters=dict(YARN, mscale=0.0, mscale_all_dim=0.0), **experts,
                                             **size),
        # Three groups of two experts, tied, low-rank queries.
        "deepseek_v3_groups": DeepseekV3Config(vocab_size=36, hidden_size=18, num_attention_heads=3, num_key_value_heads=3,
                                               n_routed_experts=6, n_shared_experts=1, routed_scaling_factor=1.7, kv_lora_rank=9,
                                               q_lora_rank=10, qk_rope_head_dim=4, v_head_dim=5, qk_nope_head_dim=6, n_group=3, topk_group=2,
                                               norm_topk_prob=True, tie_word_embeddings=True,
                                               rope_parameters=dict(YARN, mscale=0.707, mscale_all_dim=1.0), **experts, **size),
    }


def reward_configs():
    return {
        "qwen3_reward": Qwen3Config(vocab_size=33, hidden_size=18, intermediate_size=21, num_attention_heads=3, num_key_value_heads=1,
                                    head_dim=8, num_hidden_layers=2, max_position_embeddings=64, tie_word_embeddings=False,
                                    rope_parameters=dict(PLAIN), num_labels=1),
    }


def init_weights(model, generator):
    """Wide enough that the logits are not flat; norms and biases away from one and zero so that leaving one out shows."""
    gain = 1.3 if model.config.tie_word_embeddings else 1.0  # with a tied head the model only repeats itself at 1.0
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if "norm" in name:
                value = 1.0 + 0.2 * noise
            elif name.endswith("e_score_correction_bias"):
                value = 0.15 + 0.1 * noise.clamp(-1.4, 1.4)
            elif name.endswith(".bias"):
                value = 0.3 * noise
            elif "embed_tokens" in name:
                value = 0.5 * noise
            elif "lm_head" in name:
                value = 0.25 * noise
            else:
                value = gain / math.sqrt(tensor.shape[-1]) * noise
            tensor.copy_(value)
    model.tie_weights()


def published_names(tensors):
    """Splits the fused experts of transformers 5: gate_up_proj [E, 2I, H] (gate first) and down_proj [E, H, I]."""
    out = {}
    for name, tensor in tensors.items():
        if name.endswith("mlp.experts.gate_up_proj"):
            base = name[: -len("gate_up_proj")]
            for expert, fused in enumerate(tensor):
                gate, up = fused.chunk(2, dim=0)
                out[f"{base}{expert}.gate_proj.weight"] = gate.contiguous().clone()
                out[f"{base}{expert}.up_proj.weight"] = up.contiguous().clone()
        elif name.endswith("mlp.experts.down_proj"):
            base = name[: -len("down_proj")]
            for expert, down in enumerate(tensor):
                out[f"{base}{expert}.down_proj.weight"] = down.contiguous().clone()
        else:
            out[name] = tensor.detach().contiguous().clone()
    return out


class RouteMargins:
    """Smallest distance, over all tokens seen, between what a router chose and what it left."""

    def __init__(self, model):
        self.smallest = math.inf
        for module in model.modules():
            if isinstance(module, (DeepseekV2TopkRouter, DeepseekV3TopkRouter, Qwen3MoeTopKRouter)):
                module.register_forward_hook(self._see)

    def _see(self, router, _inputs, outputs):
        logits = outputs[0].detach()
        if isinstance(router, Qwen3MoeTopKRouter):
            self._gap(logits.softmax(-1), router.top_k)
            return
        if isinstance(router, DeepseekV2TopkRouter):
            if router.topk_method == "greedy":
                self._gap(logits.softmax(-1), router.top_k)
                return
            groups = logits.softmax(-1).view(logits.shape[0], router.num_group, -1)
            group_scores = groups.amax(-1)
        else:
            choice = logits.sigmoid() + router.e_score_correction_bias
            assert choice.min() > 0, "a biased score <= 0 is masked differently by some versions"
            groups = choice.view(choice.shape[0], router.num_group, -1)
            group_scores = groups.topk(2, dim=-1)[0].sum(-1)
        if router.topk_group < router.num_group:
            self._gap(group_scores, router.topk_group)
        kept = torch.zeros_like(group_scores).scatter_(1, group_scores.topk(router.topk_group)[1], 1.0)
        self._gap(groups.masked_fill(kept.unsqueeze(-1) == 0, -math.inf).flatten(1), router.top_k)

    def _gap(self, scores, k):
        ordered = scores.sort(dim=-1, descending=True)[0]
        self.smallest = min(self.smallest, (ordered[:, k - 1] - ordered[:, k]).min().item())


def greedy(model, ids):
    """Continues ids; returns the new tokens and the smallest gap between the two best logits."""
    sequence, smallest = ids, math.inf
    with torch.no_grad():
        for _ in range(GREEDY_TOKENS):
            best = model(input_ids=sequence[None], use_cache=False).logits[0, -1].topk(2)
            smallest = min(smallest, (best.values[0] - best.values[1]).item())
            sequence = torch.cat([sequence, best.indices[:1]])
    return sequence[len(ids):].clone(), smallest


def build(config, seed):
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()
    init_weights(model, generator)
    model.config.architectures = [type(model).__name__]
    return model, [torch.randint(0, config.vocab_size, (n,), generator=generator) for n in LENGTHS]


def loss_of(model, sequences):
    logits = [model(input_ids=ids[None], use_cache=False).logits[0] for ids in sequences]
    total = sum(torch.nn.functional.cross_entropy(l[:-1], ids[1:], reduction="sum") for l, ids in zip(logits, sequences))
    return logits, total / sum(len(ids) - 1 for ids in sequences)


def find_model(name, config):
    """First seed whose fixture does not hang on rounding."""
    for seed in range(MAX_SEEDS):
        model, sequences = build(config, seed)
        margins = RouteMargins(model)
        found = []
        for ids in sequences:
            found.append(greedy(model, ids))
            if found[-1][1] < MIN_LOGIT_GAP or margins.smallest < MIN_ROUTE_GAP:
                break
        logit_gap = min(gap for _, gap in found)
        varied = min(len(set(tokens.tolist())) for tokens, _ in found)
        if logit_gap < MIN_LOGIT_GAP or margins.smallest < MIN_ROUTE_GAP or varied < 8:
            continue
        logits, loss = loss_of(model, sequences)
        loss.backward()
        grads = published_names({n: p.grad for n, p in model.named_parameters()})
        if any(g.abs().max() == 0 for g in grads.values()):
            continue
        print(f"{name}: seed {seed}, logit gap {logit_gap:.2e}, route gap {margins.smallest:.2e}, >= {varied} different tokens, "
              f"loss {loss.item():.4f}, max |logit| {max(l.abs().max().item() for l in logits):.2f}")
        golden = {"loss": loss.detach()}
        for i, ids in enumerate(sequences):
            golden |= {f"ids_{i}": ids, f"logits_{i}": logits[i].detach().clone(), f"greedy_{i}": found[i][0]}
        return model, golden | {f"grad.{n}": g for n, g in grads.items()}
    raise SystemExit(f"{name}: none of {MAX_SEEDS} seeds keeps the margins")


def published_config(config):
    """The keys of the published config.json files, which older versions of transformers wrote."""
    saved = config.to_dict()
    rope = dict(saved.pop("rope_parameters"))
    saved["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    saved["rope_scaling"] = None if kind == "default" else {"type": kind, **{k: v for k, v in rope.items() if v is not None}}
    saved["torch_dtype"] = "float32"
    for key in ("dtype", "transformers_version", "_name_or_path", "chunk_size_feed_forward", "id2label", "label2id", "problem_type",
                "is_encoder_decoder", "output_attentions", "output_hidden_states", "return_dict", "rope_interleave"):
        saved.pop(key, None)
    for new, old in {"num_mtp_layers": "num_nextn_predict_layers", "num_local_experts": "num_experts"}.items():
        if new in saved:
            saved[old] = saved.pop(new)
    if saved["model_type"].startswith("deepseek"):
        saved["n_routed_experts"] = config.n_routed_experts
        for key in ("num_experts", "head_dim", "qk_head_dim"):
            saved.pop(key, None)
        v3 = saved["model_type"] == "deepseek_v3"
        saved |= {"scoring_func": "sigmoid", "topk_method": "noaux_tc"} if v3 else {"scoring_func": "softmax"}
        saved["moe_layer_freq"] = 1
    return dict(sorted(saved.items()))


def write_model(folder, name, config):
    model, golden = find_model(name, config)
    folder.mkdir(parents=True, exist_ok=True)
    weights = published_names(model.state_dict())
    if config.tie_word_embeddings:
        del weights["lm_head.weight"]
    assert {n[len("grad."):] for n in golden if n.startswith("grad.")} == {n for n in weights if not n.endswith("e_score_correction_bias")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(golden, folder / "golden.safetensors")
    model.config.save_pretrained(folder)
    (folder / "config_published.json").write_text(json.dumps(published_config(model.config), indent=2) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    check_reload(folder, golden)


def check_reload(folder, golden):
    """The written folder, read back by transformers under either config, must give the same logits: the names and splits are right."""
    for file in ("config.json", "config_published.json"):
        config = type(AutoModelForCausalLM.from_pretrained(folder).config)(**json.loads((folder / file).read_text()))
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager",
                                                     experts_implementation="eager").eval()
        for i in range(len(LENGTHS)):
            with torch.no_grad():
                logits = model(input_ids=golden[f"ids_{i}"][None], use_cache=False).logits[0]
            assert torch.equal(logits, golden[f"logits_{i}"]), f"{folder}/{file}: logits_{i} differ after reload"


def write_reward(folder, config):
    """A reward model: the scalar head reads the last token."""
    generator = torch.Generator().manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    init_weights(model, generator)
    model.config.architectures = [type(model).__name__]
    sequences = [torch.randint(0, config.vocab_size, (n,), generator=generator) for n in LENGTHS]
    scores = [model(input_ids=ids[None], use_cache=False).logits[0, 0] for ids in sequences]
    sum(scores).backward()
    golden = {f"grad.{n}": p.grad.clone() for n, p in model.named_parameters()}
    for i, ids in enumerate(sequences):
        golden |= {f"ids_{i}": ids, f"score_{i}": scores[i].detach().clone()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: t.contiguous().clone() for n, t in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(golden, folder / "golden.safetensors")
    model.config.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    print(f"{folder.name}: scores {[round(s.item(), 3) for s in scores]}")


def rope_cases():
    r1 = dict(rope_type="yarn", rope_theta=10000.0, factor=40.0, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
              original_max_position_embeddings=4096)
    lite = dict(r1, mscale=0.707, mscale_all_dim=0.707)
    llama = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                 original_max_position_embeddings=8192)
    plain = dict(rope_type="default", rope_theta=1000000.0)
    yarn = lambda rope, limit, dim, nope: (DeepseekV3Config(rope_parameters=dict(rope), max_position_embeddings=limit,  # noqa: E731
                                                            qk_rope_head_dim=dim, qk_nope_head_dim=nope), rope, dim, dim + nope)
    head = lambda rope, limit, dim: (LlamaConfig(rope_parameters=dict(rope), max_position_embeddings=limit, hidden_size=32 * dim,  # noqa: E731
                                                 head_dim=dim, num_attention_heads=32), rope, dim, dim)
    return {
        "deepseek_r1": yarn(r1, 163840, 64, 128),
        "deepseek_v2_lite": yarn(lite, 163840, 64, 128),
        "tiny": yarn(YARN, 128, 8, 10),
        "llama_3_1_8b": head(llama, 131072, 128),
        "llama_3_2_1b": head(dict(llama, factor=32.0), 131072, 64),
        "qwen2": head(plain, 32768, 64),
    }


def write_rope(path):
    out = {}
    for name, (config, rope, dim, qk_dim) in rope_cases().items():
        if rope["rope_type"] == "default":
            inv_freq, factor = 1.0 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float) / dim), 1.0
        else:
            inv_freq, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
        out[name] = dict(parameters=rope, rope_dim=dim, qk_head_dim=qk_dim, max_position_embeddings=config.max_position_embeddings,
                         inv_freq=inv_freq.tolist(), cos_sin_factor=float(factor), softmax_scale=yarn_apply_mscale(rope, qk_dim**-0.5))
    # Values worked out by hand from the YaRN and Llama 3 formulas: the reference itself has been wrong in earlier versions.
    by_hand = {"deepseek_r1": {0: 1.0, 10: 0.0562341325, 11: 0.0390069266, 16: 0.0055, 22: 1.77827941e-4, 23: 3.33380358e-5, 31: 3.33380358e-6},
               "llama_3_1_8b": {28: 3.21144599e-3, 29: 2.16657076e-3, 31: 8.56751413e-4, 34: 1.78507813e-4, 35: 9.55621235e-5,
                                63: 3.06892599e-7}}
    for name, values in by_hand.items():
        for i, value in values.items():
            assert math.isclose(out[name]["inv_freq"][i], value, rel_tol=1e-6), (name, i, out[name]["inv_freq"][i], value)
    assert math.isclose(out["deepseek_r1"]["softmax_scale"], 0.13523378, rel_tol=1e-6)
    assert out["deepseek_r1"]["cos_sin_factor"] == 1.0
    path.write_text(json.dumps(out, indent=1) + "\n")


def sigmoid_case(generator, tokens, experts, groups, topk_group, top_k, norm, scale, shift):
    """Router weight = identity, so the hidden state is the logit. shift < 0 makes some selectable biased scores negative."""
    config = DeepseekV3Config(hidden_size=experts, n_routed_experts=experts, n_group=groups, topk_group=topk_group,
                              num_experts_per_tok=top_k, norm_topk_prob=norm, routed_scaling_factor=scale)
    router = DeepseekV3TopkRouter(config)
    router.weight.data = torch.eye(experts)
    router.e_score_correction_bias.copy_(shift + 0.3 * torch.randn(experts, generator=generator))
    logits = 1.5 * torch.randn(tokens, experts, generator=generator)
    with torch.no_grad():
        _, weights, indices = router(logits)
    case = dict(scoring="sigmoid", experts=experts, groups=groups, topk_group=topk_group, top_k=top_k, norm_topk_prob=norm,
                routed_scaling_factor=scale, bias=router.e_score_correction_bias.tolist(), scores=logits.sigmoid().tolist())
    return finish_case(case, logits, weights, indices)


def softmax_case(generator, tokens, experts, top_k, norm):
    config = Qwen3MoeConfig(hidden_size=experts, num_experts=experts, num_experts_per_tok=top_k, norm_topk_prob=norm)
    router = Qwen3MoeTopKRouter(config)
    router.weight.data = torch.eye(experts)
    logits = 1.5 * torch.randn(tokens, experts, generator=generator)
    with torch.no_grad():
        _, weights, indices = router(logits)
    case = dict(scoring="softmax", experts=experts, top_k=top_k, norm_topk_prob=norm, scores=logits.softmax(-1).tolist())
    return finish_case(case, logits, weights, indices)


def finish_case(case, logits, weights, indices):
    """Experts are listed in ascending order: the reference leaves the order open."""
    indices, order = indices.sort(dim=-1)
    return case | dict(logits=logits.tolist(), indices=indices.tolist(), weights=weights.gather(1, order).tolist())


def write_router(path):
    generator = torch.Generator().manual_seed(5)
    cases = {
        "groups": sigmoid_case(generator, 12, 16, 4, 2, 4, True, 2.5, 0.2),
        "negative_choice": sigmoid_case(generator, 12, 8, 4, 2, 3, True, 2.5, -0.6),
        "one_group": sigmoid_case(generator, 8, 8, 1, 1, 2, True, 1.5, 0.2),
        "not_normalised": sigmoid_case(generator, 8, 8, 2, 1, 3, False, 2.0, 0.0),
        "softmax": softmax_case(generator, 8, 8, 3, True),
        "softmax_not_normalised": softmax_case(generator, 8, 8, 2, False),
    }
    path.write_text(json.dumps(cases, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")


def write_adamw(path):
    """Tensors: grad.P.T (as given, before clipping), start.P, {plain,clipped}.P.T after step T = 1..10, norm.T = global norm of the gradients."""
    generator = torch.Generator().manual_seed(11)
    start = [torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)]
    # Scales on both sides of the clipping threshold.
    grads = [[(0.02 if t % 3 == 0 else 0.8) * torch.randn(p.shape, generator=generator) for p in start] for t in range(10)]
    out = {f"start.{p}": s for p, s in enumerate(start)}
    out |= {f"grad.{p}.{t + 1}": g for t, pair in enumerate(grads) for p, g in enumerate(pair)}
    settings = dict(lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for name, limit in (("plain", None), ("clipped", 1.0)):
        params = [torch.nn.Parameter(s.clone()) for s in start]
        optimizer = torch.optim.AdamW(params, foreach=False, **settings)
        for t, pair in enumerate(grads):
            for param, grad in zip(params, pair):
                param.grad = grad.clone()
            if limit is not None:
                out[f"norm.{t + 1}"] = torch.nn.utils.clip_grad_norm_(params, limit).detach().clone()
            optimizer.step()
            out |= {f"{name}.{p}.{t + 1}": param.detach().clone() for p, param in enumerate(params)}
    norms = [out[f"norm.{t}"].item() for t in range(1, 11)]
    assert min(norms) < 1.0 < max(norms)
    save_file(out, path, metadata={"settings": "lr 0.01, betas 0.9 0.95, eps 1e-8, weight_decay 0.1, max_norm 1.0"})
    path.chmod(0o644)


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    wanted = sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    if not wanted:
        write_rope(folder / "rope.json")
        write_router(folder / "router.json")
        write_adamw(folder / "adamw.safetensors")
    for name, config in model_configs().items():
        if not wanted or name in wanted:
            write_model(folder / name, name, config)
    for name, config in reward_configs().items():
        if not wanted or name in wanted:
            write_reward(folder / name, config)


if __name__ == "__main__":
    main()
