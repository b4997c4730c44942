#!/usr/bin/env python3
"""Writes the reference values of tests/core/rl: values and gradients of verl's and TRL's own functions, run in float64 on the CPU.

    python make_rl_golden.py --verl DIR        DIR: an unpacked verl wheel (pip download --no-deps verl; unzip)

The files beside this script were made with verl 0.9.1, trl 1.16.0, torch 2.11.0, Python 3.11.

verl's functions are taken out of its source files one by one, so that its many dependencies are not needed; TRL's loss is
GRPOTrainer._compute_loss itself, called with a stand-in for the trainer that returns our log-probabilities. Both work on padded [B, T]
tensors; the fixtures hold the packed values, which is one more thing that the tests compare.
"""

import argparse
import ast
import json
import math
import pathlib
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, Optional

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
LENGTHS = [5, 1, 7, 3, 4, 6, 2, 5]
GROUP = [0, 0, 0, 0, 1, 1, 1, 1]
MAX_RESPONSE_LENGTH = 8


# ---------------------------------------------------------------------------------------------------------------- verl's functions


def take(path, names, scope):
    """Executes the named top-level definitions of a Python file in `scope`, without decorators and annotations."""
    for node in ast.parse(path.read_text()).body:
        name = getattr(node, "name", None) or (node.targets[0].id if isinstance(node, ast.Assign) else None)
        if name in names:
            node.decorator_list = []
            exec(compile(ast.Module([node], []), str(path), "exec"), scope)
    missing = [n for n in names if n not in scope]
    assert not missing, missing
    return SimpleNamespace(**{n: scope[n] for n in names})


class ActorConfig(dict):
    """Stands for verl's ActorConfig: attributes and get()."""

    def __init__(self, **kwargs):
        defaults = dict(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.28, clip_ratio_c=3.0, tau_pos=1.0, tau_neg=1.05, gamma=1.0)
        super().__init__({"global_batch_info": {}, **defaults, **kwargs})
        self.__dict__ = self


def load_verl(root):
    base = {"torch": torch, "Any": Any, "Optional": Optional, "math": math}
    functional = take(root / "verl/utils/torch_functional.py", ["masked_sum", "masked_mean", "masked_var", "masked_whiten"], dict(base))
    scope = dict(base, np=np, defaultdict=defaultdict, verl_F=functional, ActorConfig=ActorConfig, DictConfig=dict, AlgoConfig=type("AlgoConfig", (), {}))
    core = take(
        root / "verl/trainer/ppo/core_algos.py",
        [
            "agg_loss", "compute_policy_loss_vanilla", "compute_policy_loss_gspo", "compute_policy_loss_cispo", "compute_policy_loss_sapo",
            "kl_penalty", "kl_penalty_forward", "compute_rewards", "compute_grpo_outcome_advantage", "compute_rloo_outcome_advantage",
            "compute_reinforce_plus_plus_outcome_advantage", "compute_reinforce_plus_plus_baseline_outcome_advantage",
        ],
        scope,
    )  # fmt: skip
    correction = take(
        root / "verl/trainer/ppo/rollout_corr_helper.py",
        [
            "SAFETY_BOUND", "_parse_rollout_is_threshold", "compute_rollout_correction_weights", "_parse_rollout_rs_thresholds",
            "compute_rollout_rejection_mask", "compute_offpolicy_metrics",
        ],
        dict(base, verl_F=functional, SUPPORTED_ROLLOUT_RS_OPTIONS=RS_OPTIONS, TOKEN_LEVEL_ROLLOUT_RS_OPTIONS=RS_OPTIONS[:3],
             compute_is_metrics=lambda **_: {}, compute_rs_metrics=lambda **_: {}),
    )  # fmt: skip
    return core, correction


RS_OPTIONS = ["token_k1", "token_k2", "token_k3", "seq_sum_k1", "seq_sum_k2", "seq_sum_k3", "seq_mean_k1", "seq_mean_k2", "seq_mean_k3",
              "seq_max_k2", "seq_max_k3"]  # fmt: skip


# --------------------------------------------------------------------------------------------------------------------- TRL's loss


class Accelerator:
    num_processes = 1
    sync_gradients = True
    device = "cpu"

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction="sum"):
        return x


def trl_loss(batch, logprob, **o):
    """GRPOTrainer._compute_loss on given log-probabilities."""
    from trl import GRPOTrainer

    args = SimpleNamespace(
        use_bias_correction_kl=o.get("use_bias_correction_kl", False), delta=o.get("delta"), steps_per_generation=1,
        sapo_temperature_pos=1.0, sapo_temperature_neg=1.05,
    )  # fmt: skip
    trainer = SimpleNamespace(
        args=args, accelerator=Accelerator(), model=SimpleNamespace(training=True), aux_loss_enabled=False, top_entropy_quantile=1.0,
        off_policy_mask_threshold=o.get("off_policy_mask_threshold"), importance_sampling_level=o.get("level", "token"),
        beta=o.get("beta", 0.0), loss_type=o["loss_type"], epsilon_low=o.get("epsilon_low", 0.2), epsilon_high=o.get("epsilon_high", 0.28),
        use_vllm="is_weight" in o, vllm_importance_sampling_correction=True, current_gradient_accumulation_steps=1,
        max_completion_length=MAX_RESPONSE_LENGTH, _entropy_bonus_enabled=False, _metrics={"train": defaultdict(list)},
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
        _get_per_token_logps_and_entropies=lambda *a, **k: (logprob, torch.zeros_like(logprob), None),
    )  # fmt: skip
    mask = batch["mask"]
    ids = torch.zeros(mask.shape, dtype=torch.long)
    inputs = dict(
        prompt_ids=ids[:, :1], prompt_mask=torch.ones_like(ids[:, :1]), completion_ids=ids, completion_mask=mask,
        advantages=batch["advantage"], old_per_token_logps=batch["old"], ref_per_token_logps=batch["ref"],
        sampling_per_token_logps=batch["rollout"], num_items_in_batch=mask.sum(),
    )  # fmt: skip
    if "is_weight" in o:
        inputs["importance_sampling_ratio"] = o["is_weight"]
    return GRPOTrainer._compute_loss(trainer, None, inputs)


# ------------------------------------------------------------------------------------------------------------------------ batches


def make_batch():
    """Eight answers of two questions. Ratios reach far beyond every clip; one token of each sign is extreme."""
    g = torch.Generator().manual_seed(7)
    rows, width = len(LENGTHS), max(LENGTHS)
    mask = torch.zeros(rows, width, dtype=torch.float64)
    for i, n in enumerate(LENGTHS):
        mask[i, :n] = 1
    noise = lambda s: s * torch.randn(rows, width, generator=g, dtype=torch.float64)
    old = -torch.rand(rows, width, generator=g, dtype=torch.float64) * 3 - 0.3
    logprob = old + noise(0.3)
    logprob[0, 1], logprob[4, 2] = old[0, 1] + 2.0, old[4, 2] + 2.0  # ratio 7.4: above the dual clip and every two-sided bound
    logprob[2, 3] = old[2, 3] - 21.0  # beyond the clamp of the log-ratio
    batch = dict(mask=mask, old=old, logprob=logprob, ref=old + noise(0.3), rollout=old + noise(0.15))
    batch["rollout"][3, 0] -= 1.2
    batch["ref"][5, 1] = logprob[5, 1] + 3.5  # k3 above its bound of 10
    batch["advantage"] = torch.tensor([1.5, -0.5, -0.5, -0.5, -1.2, 0.4, 0.8, 0.0], dtype=torch.float64)
    return {k: v * mask if v.dim() == 2 else v for k, v in batch.items()}


def packed(x, mask):
    return [float(f"{v:.12g}") for v in x.detach()[mask > 0].tolist()]


def with_gradient(batch, function):
    """Value and gradient with respect to the packed log-probabilities of function(logprob) → (scalar, extras)."""
    logprob = batch["logprob"].clone().requires_grad_(True)
    value, extra = function(logprob)
    value.backward()
    return {"value": value.item(), "grad": packed(logprob.grad, batch["mask"]), **extra}


def tokenwise(batch):
    return batch["advantage"].unsqueeze(1) * batch["mask"]


def write(name, content):
    (HERE / name).write_text(json.dumps(content, separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n")


# ------------------------------------------------------------------------------------------------------------------------ fixtures


def make_losses(verl, batch):
    modes = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
    mask, cases = batch["mask"], []

    def verl_case(name, function, config, agg, **keys):
        scale = {"loss_scale_factor": MAX_RESPONSE_LENGTH}

        def run(logprob):
            loss, metrics = function(batch["old"], logprob, tokenwise(batch), mask, agg, ActorConfig(global_batch_info=scale, **config), keys.get("weights"))
            return loss, {k.replace("actor/", ""): v for k, v in metrics.items()}

        cases.append({"name": name, "config": {**config, "loss_agg_mode": agg, **keys.get("ours", {})}, **with_gradient(batch, run)})

    for agg in modes:
        verl_case(f"verl vanilla {agg}", verl.compute_policy_loss_vanilla, {}, agg)
    verl_case("verl vanilla symmetric", verl.compute_policy_loss_vanilla, {"clip_ratio_high": 0.2}, "token-mean")
    verl_case("verl vanilla R1's clip of 10", verl.compute_policy_loss_vanilla, {"clip_ratio_low": 10.0, "clip_ratio_high": 10.0}, "token-mean")
    verl_case("verl vanilla dual clip 1.5", verl.compute_policy_loss_vanilla, {"clip_ratio_c": 1.5}, "token-mean")
    for agg in modes[:2]:
        ours = {"loss_mode": "gspo"}
        verl_case(f"verl gspo {agg}", verl.compute_policy_loss_gspo, {"clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}, agg, ours=ours)
        ours = {"loss_mode": "cispo", "cispo_ratio_min": 0.8, "cispo_ratio_max": 1.28}
        verl_case(f"verl cispo {agg}", verl.compute_policy_loss_cispo, {}, agg, ours=ours)
    verl_case("verl sapo", verl.compute_policy_loss_sapo, {}, "seq-mean-token-mean", ours={"loss_mode": "sapo"})

    def trl_case(name, ours, **o):
        # TRL has no dual clip; the log-ratio of answer 2 is beyond the clamp that TRL does not have, so it is not compared here.
        cases.append({"name": name, "config": {"clip_ratio_c": 0.0, **ours}, **with_gradient(tame, lambda logprob: (trl_loss(tame, logprob, **o), {})), "tame": True})

    tame = {**batch, "logprob": batch["logprob"].clone(), "ref": batch["ref"].clone()}
    tame["logprob"][2, 3] = tame["old"][2, 3] - 1.5
    tame["ref"][5, 1] = tame["logprob"][5, 1] + 1.0
    seq = "seq-mean-token-mean"
    aggregations = {"grpo": seq, "bnpo": "bnpo", "dr_grpo": "dr_grpo", "dapo": "token-mean"}
    for loss_type, agg in aggregations.items():
        trl_case(f"trl {loss_type}", {"loss_agg_mode": agg}, loss_type=loss_type)
    for loss_type, agg in [("grpo", seq), ("dapo", "token-mean")]:
        kl = {"use_kl_loss": True, "kl_loss_coef": 0.04, "kl_loss_type": "k3"}
        trl_case(f"trl {loss_type} kl", {"loss_agg_mode": agg, **kl}, loss_type=loss_type, beta=0.04)
        trl_case(f"trl {loss_type} off-policy kl", {"loss_agg_mode": agg, **kl, "kl_loss_off_policy": True}, loss_type=loss_type, beta=0.04, use_bias_correction_kl=True)
    trl_case("trl two-sided clip", {"loss_agg_mode": "token-mean", "clip_ratio_delta": 4.0}, loss_type="dapo", delta=4.0)
    trl_case("trl gspo", {"loss_agg_mode": seq, "loss_mode": "gspo", "clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4}, loss_type="grpo", level="sequence", epsilon_low=3e-4, epsilon_high=4e-4)
    trl_case("trl cispo", {"loss_agg_mode": "token-mean", "loss_mode": "cispo", "cispo_ratio_max": 5.0}, loss_type="cispo", epsilon_high=5.0)
    trl_case("trl sapo", {"loss_agg_mode": seq, "loss_mode": "sapo"}, loss_type="sapo")
    trl_case("trl off-policy sequence mask", {"loss_agg_mode": seq, "off_policy_mask_threshold": 0.02}, loss_type="grpo", off_policy_mask_threshold=0.02)
    diff = (tame["old"] - tame["rollout"]) * mask
    w_token, w_sequence = torch.exp(diff), torch.exp(diff.sum(-1, keepdim=True))
    corrections = {}
    corrections["token truncate"] = (w_token.clamp(max=1.2), "token", "truncate", 0.0, 1.2)
    corrections["token mask"] = (w_token.masked_fill((w_token < 0.8) | (w_token > 1.2), 0.0), "token", "mask", 0.8, 1.2)
    corrections["sequence truncate"] = (w_sequence.clamp(max=1.2), "sequence", "truncate", 0.0, 1.2)
    corrections["sequence mask"] = (w_sequence.masked_fill(w_sequence > 1.2, 0.0), "sequence", "mask", 0.0, 1.2)
    for name, (w, rollout_is, outside, low, high) in corrections.items():
        ours = {"rollout_is": rollout_is, "rollout_is_outside": outside, "rollout_is_threshold_lower": low, "rollout_is_threshold": high}
        kl = {"use_kl_loss": True, "kl_loss_coef": 0.04, "kl_loss_type": "k3"}
        trl_case(f"trl {name}", {"loss_agg_mode": "token-mean", **kl, **ours}, loss_type="dapo", beta=0.04, is_weight=w)

    tensors = {k: packed(batch[k], mask) for k in ["old", "logprob", "ref", "rollout"]}
    tensors.update(tame_logprob=packed(tame["logprob"], mask), tame_ref=packed(tame["ref"], mask), advantage=batch["advantage"].tolist())
    write("loss.json", {"lengths": LENGTHS, "max_response_length": MAX_RESPONSE_LENGTH, **tensors, "cases": cases})


def make_kl(verl, batch):
    cases = []
    for kind in ["k1", "k2", "k3", "k1+", "k3+"]:
        def run(logprob):
            kl = verl.kl_penalty(logprob, batch["ref"], kind)
            return (kl * batch["mask"]).sum(), {"tokens": packed(kl, batch["mask"])}

        cases.append({"name": kind, **with_gradient(batch, run)})
    write("kl.json", {"logprob": packed(batch["logprob"], batch["mask"]), "ref": packed(batch["ref"], batch["mask"]), "cases": cases})


def make_advantages(verl, batch):
    mask = batch["mask"]
    reward = torch.tensor([1.0, 0.0, 0.25, 1.1, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    index = np.array(GROUP)
    last = torch.zeros_like(mask)
    last[torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1] = 1
    outcome = last * reward.unsqueeze(1)
    with_kl = verl.compute_rewards(outcome, batch["old"], batch["ref"], 0.05) * mask
    cases = []

    def case(name, value, **config):
        cases.append({"name": name, "config": config, "tokens": packed(value * mask, mask)})

    for rewards, kl in [(outcome, {}), (with_kl, {"use_kl_in_reward": True, "kl_coef": 0.05})]:
        suffix = " kl" if kl else ""
        call = lambda f, *a, **k: f(rewards.clone(), mask, *a, **k)[0]
        case("verl grpo" + suffix, call(verl.compute_grpo_outcome_advantage, index), adv_estimator="grpo", adv_eps=1e-6, **kl)
        case("verl grpo without std" + suffix, call(verl.compute_grpo_outcome_advantage, index, norm_adv_by_std_in_grpo=False), adv_estimator="grpo", norm_adv_by_std_in_grpo=False, **kl)
        case("verl rloo" + suffix, call(verl.compute_rloo_outcome_advantage, index), adv_estimator="rloo", **kl)
        for gamma in [1.0, 0.9]:
            value = call(verl.compute_reinforce_plus_plus_outcome_advantage, config=SimpleNamespace(gamma=gamma))
            case(f"verl reinforce_plus_plus {gamma}" + suffix, value, adv_estimator="reinforce_plus_plus", gamma=gamma, **kl)
        case("verl reinforce_plus_plus_baseline" + suffix, call(verl.compute_reinforce_plus_plus_baseline_outcome_advantage, index), adv_estimator="reinforce_plus_plus_baseline", **kl)

    from trl.trainer.utils import nanstd  # GRPOTrainer._generate_and_score_completions, scale_rewards

    groups = reward.view(-1, 4)
    mean = groups.mean(1).repeat_interleave(4)
    trl = {"group": nanstd(groups, dim=1).repeat_interleave(4), "batch": nanstd(reward)}
    for scope, std in trl.items():
        case(f"trl scale_rewards {scope}", ((reward - mean) / (std + 1e-4)).unsqueeze(1), adv_estimator="grpo", adv_std_scope=scope)
    population = groups.std(1, unbiased=False).repeat_interleave(4)  # policy-gradient/GRPO-Zero
    case("grpo-zero population", ((reward - mean) / (population + 1e-4)).unsqueeze(1), adv_estimator="grpo", adv_std="population")
    write("advantage.json", {"lengths": LENGTHS, "group": GROUP, "reward": reward.tolist(), "old": packed(batch["old"], mask), "ref": packed(batch["ref"], mask), "cases": cases})


def make_correction(correction, batch):
    mask = batch["mask"]
    log_ratio = (batch["old"] - batch["rollout"]) * mask
    weights, rejections = [], []
    for level in ["token", "sequence"]:
        for low, high in [(0.0, 2.0), (0.0, 1.1), (0.5, 5.0), (0.9, 1.2)]:
            spec = f"{low}_{high}" if low else high
            w, _ = correction.compute_rollout_correction_weights(log_ratio, mask, level, spec)
            config = {"rollout_is": level, "rollout_is_outside": "mask" if low else "truncate", "rollout_is_threshold_lower": low, "rollout_is_threshold": high}
            weights.append({"name": f"verl {level} {spec}", "config": config, "tokens": packed(w, mask)})
    bounds = {"k1": [(0.9, 1.15), (0.999, 1.001), (0.5, 2.0)], "k2": [(0, 0.01), (0, 0.05), (0, 0.1)], "k3": [(0, 0.001), (0, 0.01), (0, 0.05), (0, 0.1)]}
    for option in RS_OPTIONS:
        for low, high in bounds[option[-2:]]:
            # verl bounds 1/w, we bound w.
            spec = f"{1 / high!r}_{1 / low!r}" if low else str(high)
            keep, _ = correction.compute_rollout_rejection_mask(log_ratio, mask, option, spec)
            config = {"rollout_rs": option, "rollout_rs_threshold": high, "rollout_rs_threshold_lower": low}
            rejections.append({"name": f"verl {option} {low} {high}", "config": config, "tokens": packed(keep, mask)})
    metrics = correction.compute_offpolicy_metrics(batch["old"], batch["rollout"], mask)
    names = ["kl", "k3_kl", "ppl_ratio", "chi2_token", "chi2_seq"]
    write("rollout_correction.json", {"lengths": LENGTHS, "old": packed(batch["old"], mask), "rollout": packed(batch["rollout"], mask),
                                      "metrics": {n: metrics[n] for n in names}, "weights": weights, "rejections": rejections})  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verl", type=pathlib.Path, required=True)
    core, correction = load_verl(parser.parse_args().verl)
    batch = make_batch()
    make_losses(core, batch)
    make_kl(core, batch)
    make_advantages(core, batch)
    make_correction(correction, batch)


if __name__ == "__main__":
    main()
