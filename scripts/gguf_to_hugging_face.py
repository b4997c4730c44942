#!/usr/bin/env python3
"""Writes a Llama model of a GGUF file as a Hugging Face folder in bf16.

    python scripts/gguf_to_hugging_face.py MODEL.gguf OUT

OUT gets config.json, generation_config.json, model.safetensors, tokenizer.json, tokenizer_config.json and chat_template.jinja. Needs `gguf` and
`numpy` only. Quantised weights are dequantised once (gguf.quants) and rounded to bf16. GGUF files store the rows of q and k in the
order of adjacent rotary pairs (convert_hf_to_gguf.py of llama.cpp, LlamaModel.permute); they are put back into halves.

Of tokenizers it knows the pre-tokenizer "smollm": digits one by one, then GPT-2's words. Others are refused.
"""
import json
import os
import sys
import tempfile

import gguf
import numpy

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
CONTROL = 3  # gguf.TokenType.CONTROL


def published_name(name):
    part, rest = name.rsplit(".", 1)
    if part in OTHER_NAMES:
        return f"{OTHER_NAMES[part]}.{rest}"
    block, layer, part = part.split(".")
    if block != "blk" or part not in LAYER_NAMES:
        raise SystemExit(f"unexpected tensor {name}")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{rest}"


def halves(rows, heads):
    """[heads * 2n, D], rotary pairs beside each other -> the first parts of all pairs of a head, then the second ones."""
    return rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def to_bf16(values):
    """Round to nearest, ties to even; the bits as uint16."""
    bits = numpy.ascontiguousarray(values, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path, tensors):
    """The bytes that safetensors.torch.save_file writes: by name, since there is one dtype."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, values in sorted(tensors.items()):
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, values in sorted(tensors.items()):
            file.write(values.tobytes())


def read_tensors(reader, heads, key_heads):
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith("attn_q.weight"):
            values = halves(values, heads)
        if tensor.name.endswith("attn_k.weight"):
            values = halves(values, key_heads)
        tensors[published_name(tensor.name)] = to_bf16(values)
    return tensors


def make_config(field, tensors):
    embedding = tensors["model.embed_tokens.weight"]
    heads = field("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "head_dim": embedding.shape[1] // heads,
        "hidden_act": "silu",
        "hidden_size": embedding.shape[1],
        "initializer_range": 0.02,
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": field("llama.block_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": field("llama.rope.freq_base"),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": embedding.shape[0],
    }


def make_tokenizer(field):
    if (field("tokenizer.ggml.model"), field("tokenizer.ggml.pre")) != ("gpt2", "smollm"):
        raise SystemExit("expected a byte-level BPE tokenizer with the pre-tokenizer smollm")
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    added = [
        {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, (text, kind) in enumerate(zip(tokens, types))
        if kind == CONTROL
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: i for i, text in enumerate(tokens)},
            "merges": field("tokenizer.ggml.merges"),
        },
    }


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


def convert(source, out):
    reader = gguf.GGUFReader(source)

    def field(key):
        if key not in reader.fields:
            raise SystemExit(f"{source}: expected the key {key}, found none")
        return reader.fields[key].contents()

    if field("general.architecture") != "llama":
        raise SystemExit(f"{source}: expected the architecture llama, found {field('general.architecture')}")
    tensors = read_tensors(reader, field("llama.attention.head_count"), field("llama.attention.head_count_kv"))
    config = make_config(field, tensors)
    token = field("tokenizer.ggml.tokens").__getitem__
    write_json(f"{out}/config.json", config)
    write_json(f"{out}/generation_config.json", {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")})
    write_json(f"{out}/tokenizer.json", make_tokenizer(field))
    write_json(
        f"{out}/tokenizer_config.json",
        {
            "add_prefix_space": False,
            "bos_token": token(config["bos_token_id"]),
            "chat_template": field("tokenizer.chat_template"),
            "eos_token": token(config["eos_token_id"]),
            "model_max_length": config["max_position_embeddings"],
            "pad_token": token(config["pad_token_id"]),
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    write_safetensors(f"{out}/model.safetensors", tensors)


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    source, out = sys.argv[1:]
    if os.path.exists(out):
        raise SystemExit(f"{out}: expected a folder that does not exist yet")
    parent = os.path.dirname(os.path.abspath(out))
    with tempfile.TemporaryDirectory(dir=parent, prefix=".unfinished.") as unfinished:  # all or nothing
        folder = os.path.join(unfinished, "model")
        os.mkdir(folder)
        convert(source, folder)
        os.rename(folder, out)


if __name__ == "__main__":
    main()
