#include "core/model/families/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

using nlohmann::json;
using Need = ConfigKeys::Need;

/// Keys of published files that say nothing about the computation of a forward pass: dropout and losses of other trainers, token ids, how
/// the file was written, how answers are sampled.
const std::vector<const char*>& harmless_keys() {
  static const std::vector<const char*> keys = {
      // Training elsewhere.
      "attention_dropout", "gradient_checkpointing", "use_cache", "problem_type", "finetuning_task", "task_specific_params",
      // Token ids: the tokenizer and generation_config.json are asked.
      "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "unk_token_id", "mask_token_id",
      "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
      // How the file was written, and by what.
      "_name_or_path", "_commit_hash", "auto_map", "dtype", "torch_dtype", "transformers_version", "transformers.js_config",
      "tokenizer_class", "model_max_length", "unsloth_version", "unsloth_fixed", "prefix",
      // How transformers runs the model.
      "_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "_flash_attn_2_enabled", "_experts_implementation",
      "chunk_size_feed_forward", "output_attentions", "output_hidden_states", "output_scores", "return_dict", "return_dict_in_generate",
      "torchscript", "use_bfloat16", "tf_legacy_loss", "pruned_heads", "is_decoder", "tie_encoder_decoder", "remove_invalid_values",
      // Sampling, in files of old versions.
      "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature",
      "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
      "bad_words_ids", "num_return_sequences", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"};
  return keys;
}

/// How many classes a sequence-classification head has: transformers counts the labels, and takes two where the file names none.
int64_t label_count(ConfigKeys& keys) {
  int64_t labels = 2;
  if (keys.has("id2label")) return keys.at("id2label").is_object() ? static_cast<int64_t>(keys.at("id2label").size()) : 0;
  keys.integer("num_labels", labels, Need::kOptional);
  return labels;
}

void read_head(ConfigKeys& keys, const Family& family, Architecture& a) {
  keys.ignore({"id2label", "label2id", "num_labels"});
  if (!keys.has("architectures")) return;
  const std::string prefix = family.class_prefix;
  const json language = json::array({prefix + "ForCausalLM"}), scalar = json::array({prefix + "ForSequenceClassification"});
  const json& found = keys.at("architectures");
  a.sequence_classification = found == scalar;
  if (!a.sequence_classification && found != language && found != json::array())
    return keys.bad("architectures", fmt::format("{} or {}", language.dump(), scalar.dump()), found);
  if (!a.sequence_classification) return;
  if (const int64_t labels = label_count(keys); labels != 1) keys.bad("id2label", "one label, as a reward model has", labels);
}

/// Only the block-scaled 8-bit floats of DeepSeek-V3's checkpoints, which are turned back when the weights are read.
void read_quantization(ConfigKeys& keys) {
  if (!keys.has("quantization_config")) return;
  const json& object = keys.at("quantization_config");
  if (!object.is_object()) return keys.bad("quantization_config", "an object or null", object);
  ConfigKeys part(object, keys.where() + ": quantization_config");
  if (!part.has("quant_method")) part.bad("quant_method", "\"fp8\"", nullptr);
  part.only("quant_method", "fp8");
  if (part.has("quant_method") && part.at("quant_method") == "fp8") {
    part.only("fmt", "e4m3"), part.only("activation_scheme", "dynamic");
    if (!part.has("weight_block_size")) part.bad("weight_block_size", "[128,128]", nullptr);
    part.only("weight_block_size", json::array({128, 128}));
    part.ignore({"modules_to_not_convert", "scale_fmt"});
    part.refuse_unknown("quant_method fp8");
  }
  keys.add_problems_of(part);
}

void read_layer_types(ConfigKeys& keys, const Architecture& a) {
  if (!keys.has("layer_types")) return;
  const json& found = keys.at("layer_types");
  const bool full = found.is_array() && std::all_of(found.begin(), found.end(), [](const json& x) { return x == "full_attention"; });
  if (!full || static_cast<int64_t>(found.size()) != a.num_hidden_layers)
    keys.bad("layer_types", fmt::format("\"full_attention\" for each of {} layers (nothing else is supported)", a.num_hidden_layers),
             found);
}

/// What the decoders of all families have.
void read_common(ConfigKeys& keys, Architecture& a) {
  keys.integer("vocab_size", a.vocab_size), keys.integer("hidden_size", a.hidden_size);
  keys.integer("num_hidden_layers", a.num_hidden_layers), keys.integer("num_attention_heads", a.num_attention_heads);
  keys.integer("intermediate_size", a.intermediate_size), keys.integer("max_position_embeddings", a.max_position_embeddings);
  keys.number("rms_norm_eps", a.rms_norm_eps), keys.flag("tie_word_embeddings", a.tie_word_embeddings, Need::kOptional);
  keys.number("initializer_range", a.initializer_range, Need::kOptional);
  keys.only("hidden_act", "silu");
  keys.only("is_encoder_decoder", false), keys.only("add_cross_attention", false);
  read_rope(keys, a);
  read_layer_types(keys, a);
  read_quantization(keys);
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> table = {kDeepseekV2, kDeepseekV3, kLlama, kQwen2, kQwen3, kQwen3Moe};
  return table;
}

const Family* find_family(const std::string& model_type) {
  for (const Family& family : families())
    if (family.model_type == model_type) return &family;
  return nullptr;
}

Architecture read_family_config(const json& config, const std::string& where) {
  if (!config.is_object()) throw InputError(where + ": expected an object");
  const std::string type =
      config.contains("model_type") && config.at("model_type").is_string() ? config.at("model_type").get<std::string>() : "";
  const Family* family = find_family(type);
  if (!family) {
    std::vector<std::string> known;
    for (const Family& each : families()) known.emplace_back(each.model_type);
    throw InputError(fmt::format("{}: model_type: expected one of {}, found \"{}\"", where, join(known), printable(type)));
  }
  Architecture a;
  a.model_type = type;
  ConfigKeys keys(config, where);
  keys.ignore({"model_type"});
  keys.ignore(harmless_keys());
  read_common(keys, a);
  read_head(keys, *family, a);
  family->read(keys, a);
  keys.refuse_unknown("model family " + type);
  keys.finish();
  return a;
}

json write_family_config(const Architecture& a) {
  const Family* family = find_family(a.model_type);
  if (!family) throw Fault("no model family " + a.model_type);
  json j = {{"model_type", a.model_type},
            {"architectures", json::array({family->class_prefix + std::string("ForCausalLM")})},
            {"vocab_size", a.vocab_size},
            {"hidden_size", a.hidden_size},
            {"num_hidden_layers", a.num_hidden_layers},
            {"num_attention_heads", a.num_attention_heads},
            {"intermediate_size", a.intermediate_size},
            {"rms_norm_eps", a.rms_norm_eps},
            {"max_position_embeddings", a.max_position_embeddings},
            {"tie_word_embeddings", a.tie_word_embeddings},
            {"initializer_range", a.initializer_range},
            {"hidden_act", "silu"},
            {"torch_dtype", "float32"}};
  write_rope(a, j);
  family->write(a, j);
  return j;
}

}  // namespace cohort::model
