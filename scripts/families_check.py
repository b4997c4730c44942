#!/usr/bin/env python3
"""Compares cohort with transformers on small random models of every family that cohort reads.

For each family a few models of awkward random sizes (odd numbers of heads, head widths that do not follow from the hidden width, tied and
untied heads, one and three groups of experts, YaRN and Llama 3 scaling, with and without low-rank queries) are written by transformers, in
fp32 and in bf16. Then, all in fp32 with eager attention:

  score     cohort score's log-probabilities against log-softmax of transformers' logits          (at most 2e-5 apart)
  greedy    64 tokens of cohort generate --temperature 0 against transformers' generate, with two end tokens in generation_config.json
  export    cohort export --model, read back by transformers: no missing or unexpected key, the same logits; the same tensors, byte for byte

A row is printed for each model; the exit code is 1 when one of them differs. Needs torch, transformers and safetensors:

    pip install torch transformers safetensors
    scripts/families_check.py [--cohort build/cohort] [--models 3] [--seed 0] [--only FAMILY…] [--keep DIR]
"""

import argparse
import math
import pathlib
import random
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open
from transformers import (AutoModelForCausalLM, DeepseekV2Config, DeepseekV3Config, GenerationConfig, LlamaConfig, Qwen2Config, Qwen3Config,
                          Qwen3MoeConfig)

from cohort_rows import read_rows, run, write_rows

LENGTHS = (2, 7, 23, 60)
NEW_TOKENS = 64
SCORE_LIMIT = 2e-5

PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 4.0, "beta_slow": 0.5}
YARN_LITE = YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 200.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


def grouped_query(draw, index):
    """Heads, key heads and width; every third model has a head width that does not follow from the hidden width."""
    key_heads, share = draw.choice((1, 2, 3)), draw.choice((1, 3, 5))
    heads, width = key_heads * share, 2 * draw.randint(3, 9)
    hidden = heads * width if index % 3 == 0 else heads * draw.randint(4, 9)
    return {"num_attention_heads": heads, "num_key_value_heads": key_heads, "head_dim": width, "hidden_size": hidden}


def latent(draw):
    """The rotary code of transformers for DeepSeek-V2 needs even widths."""
    heads = draw.choice((1, 3, 5))
    return {"num_attention_heads": heads, "num_key_value_heads": heads, "hidden_size": heads * draw.randint(5, 13),
            "kv_lora_rank": 2 * draw.randint(4, 9), "qk_rope_head_dim": 2 * draw.randint(2, 5), "qk_nope_head_dim": 2 * draw.randint(2, 7),
            "v_head_dim": draw.randint(3, 11)}


def experts(draw, groups):
    per_group = draw.randint(2, 4)
    return {"n_routed_experts": groups * per_group, "n_group": groups, "topk_group": max(1, groups - 1), "num_experts_per_tok": 2,
            "n_shared_experts": draw.choice((1, 2)), "moe_intermediate_size": draw.randint(5, 12), "first_k_dense_replace": 1,
            "routed_scaling_factor": draw.choice((1.0, 2.5))}


def qwen2(draw, i, common):
    sizes = grouped_query(draw, 0)  # this family's width is hidden / heads
    return Qwen2Config(**common, **sizes, rope_parameters=dict(YARN if i == 1 else PLAIN))


def qwen3(draw, i, common):
    return Qwen3Config(**common, **grouped_query(draw, i), attention_bias=i == 2, rope_parameters=dict(YARN if i == 1 else PLAIN))


def qwen3_moe(draw, i, common):
    return Qwen3MoeConfig(**common, **grouped_query(draw, i), num_experts=draw.randint(4, 9), num_experts_per_tok=draw.choice((1, 2, 3)),
                          moe_intermediate_size=draw.randint(5, 12), norm_topk_prob=i != 1, mlp_only_layers=[1] if i == 2 else [],
                          rope_parameters=dict(YARN if i == 1 else PLAIN))


def llama(draw, i, common):
    return LlamaConfig(**common, **grouped_query(draw, i), attention_bias=i == 2, mlp_bias=i == 2,
                       rope_parameters=dict(PLAIN if i == 2 else LLAMA3))


def deepseek_v2(draw, i, common):
    grouped = i == 1
    return DeepseekV2Config(**common, **latent(draw), **experts(draw, 3 if grouped else 1), q_lora_rank=draw.randint(5, 11) if grouped else None,
                            topk_method="group_limited_greedy" if grouped else "greedy", norm_topk_prob=False,
                            rope_parameters=dict(PLAIN if i == 2 else YARN_LITE))


def deepseek_v3(draw, i, common):
    return DeepseekV3Config(**common, **latent(draw), **experts(draw, 3 if i == 1 else 1), q_lora_rank=None if i == 2 else draw.randint(5, 11),
                            norm_topk_prob=i != 2, rope_parameters=dict(PLAIN if i == 2 else YARN | {"mscale": 1.0, "mscale_all_dim": 0.8}))


FAMILIES = {f.__name__: f for f in (qwen2, qwen3, qwen3_moe, llama, deepseek_v2, deepseek_v3)}


def make_config(family, index, seed):
    draw = random.Random(f"{family}/{index}/{seed}")
    common = {"vocab_size": draw.randint(60, 300), "num_hidden_layers": 3, "intermediate_size": draw.randint(17, 60),
              "max_position_embeddings": 256, "tie_word_embeddings": index % 2 == 1, "bos_token_id": None, "eos_token_id": None}
    return FAMILIES[family](draw, index % 3, common)


def init_weights(model, generator):
    """Far from flat logits; norms and biases away from one and zero, so that leaving one out shows."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if "norm" in name:
                value = 1.0 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.15 + 0.1 * noise
            elif "embed_tokens" in name or "lm_head" in name:
                value = 2.0 / math.sqrt(tensor.shape[-1]) * noise  # logits of a few units, whatever the width
            else:
                value = 1.3 / math.sqrt(tensor.shape[-1]) * noise
            tensor.copy_(value)
    model.tie_weights()


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
                                                       output_loading_info=True)
    return model.eval(), info


def write_model(folder, config, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    init_weights(model, generator)
    model.to(dtype).save_pretrained(folder)
    sequences = [torch.randint(0, config.vocab_size, (n,), generator=generator).tolist() for n in LENGTHS]
    ends = torch.randint(0, config.vocab_size, (2,), generator=generator).tolist()
    GenerationConfig(eos_token_id=ends, pad_token_id=0).save_pretrained(folder)
    return sequences


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def score_gap(cohort, folder, work, model, sequences):
    """Largest distance of a log-probability."""
    write_rows(work / "score.in", [{"ids": ids} for ids in sequences])
    run([cohort, "score", "--model", folder, "--input", work / "score.in", "--output", work / "score.out"])
    gap = 0.0
    for ids, row in zip(sequences, read_rows(work / "score.out"), strict=True):
        wanted = logits_of(model, ids).double().log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        gap = max(gap, (torch.tensor(row["logprobs"], dtype=torch.double) - wanted).abs().max().item())
    return gap


def greedy_mismatches(cohort, folder, work, model, sequences):
    """Answers that differ, how many end at an end token, and the smallest gap between two best logits on the way."""
    write_rows(work / "prompts.in", [{"ids": ids} for ids in sequences])
    run([cohort, "generate", "--model", folder, "--prompts", work / "prompts.in", "--output", work / "answers.out", "--temperature", "0",
         "--max-new-tokens", NEW_TOKENS])
    different = stopped = 0
    margin = math.inf
    for ids, row in zip(sequences, read_rows(work / "answers.out"), strict=True):
        with torch.no_grad():
            # Without a mask, generate() would leave out tokens that happen to be the padding token.
            prompt = torch.tensor([ids])
            whole = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=NEW_TOKENS,
                                   use_cache=False)[0].tolist()
        best = logits_of(model, whole[:-1])[len(ids) - 1:].topk(2)[0]
        margin = min(margin, (best[:, 0] - best[:, 1]).min().item())
        different += row["ids"] != whole[len(ids):]
        stopped += row["finish_reason"] == "stop"
    return different, stopped, margin


def tensors_of(folder):
    """Name -> (type, shape, bytes) over all safetensors files."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                out[name] = (tensor.dtype, tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return out


def export_problem(cohort, folder, work, model, sequences):
    """Empty when the exported folder is the same model."""
    out = work / "exported"
    run([cohort, "export", "--model", folder, "--to", out])
    again, info = load(out)
    wrong = {key: sorted(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if info.get(key)}
    if wrong:
        return str(wrong)
    if not all(torch.equal(logits_of(model, ids), logits_of(again, ids)) for ids in sequences):
        return "logits differ"
    before, after = tensors_of(folder), tensors_of(out)
    if before != after:
        return "tensors differ: " + ", ".join(n for n in sorted(before.keys() | after.keys()) if before.get(n) != after.get(n))[:200]
    return ""


def check(cohort, work, family, index, seed, dtype):
    config = make_config(family, index, seed)
    work.mkdir(parents=True)
    folder = work / "model"
    sequences = write_model(folder, config, dtype, seed + index)
    model, _ = load(folder)
    gap = score_gap(cohort, folder, work, model, sequences)
    different, stopped, margin = greedy_mismatches(cohort, folder, work, model, sequences)
    problem = export_problem(cohort, folder, work, model, sequences)
    good = gap <= SCORE_LIMIT and different == 0 and not problem
    heads = f"{config.num_attention_heads}/{config.num_key_value_heads}"
    print(f"{family:12} {str(dtype)[6:]:9} hidden {config.hidden_size:4} heads {heads:6} {'tied' if config.tie_word_embeddings else '':5}"
          f"{config.rope_parameters['rope_type']:8} score {gap:.1e}  greedy {len(sequences) - different}/{len(sequences)} "
          f"({stopped} ended, margin {margin:.0e})  export {problem or 'same'}  {'' if good else 'DIFFERS'}",
          flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "build" / "cohort")
    parser.add_argument("--models", type=int, default=3, help="of each family and type")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=sorted(FAMILIES), default=sorted(FAMILIES))
    parser.add_argument("--keep", type=pathlib.Path, help="a new folder for the models; default: one that is removed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or pathlib.Path(temporary)
        for family in options.only:
            for index in range(options.models):
                for dtype in (torch.float32, torch.bfloat16):
                    work = root / f"{family}_{index}_{str(dtype)[6:]}"
                    results.append(check(options.cohort, work, family, index, options.seed, dtype))
    print(f"{sum(results)} of {len(results)} models agree with transformers {transformers.__version__}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
