// cohort tokenize: text to token ids and back, JSONL to JSONL, a line at a time.

#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/data/jsonl.h"
#include "core/text/bpe/bpe_tokenizer.h"
#include "core/text/chat/chat_prompt.h"
#include "core/text/chat/chat_template.h"
#include "core/text/utf8.h"
#include "launcher/commands/command.h"
#include "launcher/commands/output.h"

namespace cohort::launcher {
namespace {

constexpr size_t kMaxLineBytes = size_t{1} << 28;

struct TokenizeOptions {
  std::string model;
  std::string input;
  std::string output;
  bool decode = false;
  bool offsets = false;
  bool no_special_tokens = false;
  bool skip_special_tokens = false;
  bool keep_going = false;
};

class Converter {
 public:
  explicit Converter(const TokenizeOptions& options) : options_(options), tokenizer_(text::load_tokenizer(options.model)) {
    published_ = dynamic_cast<const text::bpe::BpeTokenizer*>(tokenizer_.get());
    if (options.offsets && published_ == nullptr)
      throw InputError("--offsets: expected a model with tokenizer.json, found " + options.model);
  }

  nlohmann::ordered_json convert(const nlohmann::ordered_json& row, const std::string& where) {
    if (row.is_object() && row.contains("messages") && template_ == nullptr) template_ = load_template();
    if (!options_.keep_going) return convert_strictly(row, where);
    try {
      return convert_strictly(row, where);
    } catch (const InputError& error) {
      return {{"error", text::replace_invalid(error.what())}};
    }
  }

 private:
  nlohmann::ordered_json convert_strictly(const nlohmann::ordered_json& row, const std::string& where) const {
    if (!row.is_object()) throw InputError(where + ": expected an object, found " + row.type_name());
    if (options_.decode) return decode(row, where);
    return row.contains("messages") ? encode_conversation(row, where) : encode(row, where);
  }

  nlohmann::ordered_json encode(const nlohmann::ordered_json& row, const std::string& where) const {
    const auto found = row.find("text");
    if (found == row.end() || !found->is_string())
      throw InputError(fmt::format("{}: text: expected a string, found {}", where, found == row.end() ? "nothing" : found->type_name()));
    const std::string& text = found->get_ref<const std::string&>();
    const bool special = !options_.no_special_tokens;
    if (!options_.offsets) return {{"text", text}, {"ids", tokenizer_->encode_with_added_tokens(text, special)}};
    const text::bpe::Encoding encoding = published_->encode_with_offsets(text, special);
    auto offsets = nlohmann::ordered_json::array();
    for (const text::bpe::Span& span : encoding.offsets) offsets.push_back({span.begin, span.end});
    return {{"text", text}, {"ids", encoding.ids}, {"offsets", offsets}};
  }

  nlohmann::ordered_json encode_conversation(const nlohmann::ordered_json& row, const std::string& where) const {
    if (options_.offsets) throw InputError(where + ": messages: expected rows of text with --offsets, found a conversation");
    text::ChatOptions chat = text::chat_options(*tokenizer_);
    chat.today = text::local_date();
    for (const auto& [key, value] : row.items()) {
      if (key == "add_generation_prompt" && value.is_boolean()) {
        chat.add_generation_prompt = value.get<bool>();
      } else if (key == "chat_template_kwargs" && value.is_object()) {
        chat.variables = value;
      } else if (key != "messages") {
        throw InputError(fmt::format("{}: {}: expected add_generation_prompt, true or false, or chat_template_kwargs, an object, found {}",
                                     where, printable(key), value.type_name()));
      }
    }
    const std::vector<text::ChatPart> parts = render(row["messages"], chat, where);
    return {{"text", text::text_of(parts)}, {"ids", text::encode_chat(parts, *tokenizer_)}};
  }

  std::unique_ptr<text::ChatTemplate> load_template() const {
    auto loaded = text::load_chat_template(options_.model);
    if (loaded == nullptr)
      throw InputError(options_.model + ": expected chat_template.jinja or chat_template in tokenizer_config.json, found neither");
    return loaded;
  }

  std::vector<text::ChatPart> render(const nlohmann::ordered_json& messages, const text::ChatOptions& chat,
                                     const std::string& where) const {
    try {
      return template_->render(messages, chat);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}: {}", where, error.what()));
    }
  }

  nlohmann::ordered_json decode(const nlohmann::ordered_json& row, const std::string& where) const {
    const auto found = row.find("ids");
    if (found == row.end() || !found->is_array()) throw InputError(where + ": ids: expected a list of token ids");
    std::vector<int32_t> ids;
    for (const nlohmann::ordered_json& id : *found) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX)
        throw InputError(fmt::format("{}: ids: expected token ids, found {}", where, printable(id.dump())));
      if (tokenizer_->has_token(id.get<int32_t>())) ids.push_back(id.get<int32_t>());
    }
    const auto specials = options_.skip_special_tokens ? text::SpecialTokens::kSkip : text::SpecialTokens::kKeep;
    return {{"text", text::replace_invalid_sequences(tokenizer_->decode(ids, specials))}};
  }

  const TokenizeOptions& options_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  const text::bpe::BpeTokenizer* published_ = nullptr;
  std::unique_ptr<text::ChatTemplate> template_;  // read for the first conversation
};

int run_tokenize(const TokenizeOptions& options, comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;
  std::error_code none;
  if (!options.output.empty() && std::filesystem::equivalent(options.input, options.output, none))
    throw InputError("--output: expected another file than --input, found " + printable(options.output, 200));
  data::LineReader input(options.input, kMaxLineBytes);
  Converter converter(options);
  LineWriter output(options.output);
  std::string line;
  for (bool too_long = false; input.next(line, too_long);) {
    const std::string where = fmt::format("{}:{}", options.input, input.line());
    if (too_long) throw InputError(fmt::format("{}: expected lines of at most {} bytes, found more", where, kMaxLineBytes));
    if (text::trim(line).empty()) continue;
    output.write(converter.convert(parse_ordered_json(line, where), where).dump() + "\n");
  }
  output.finish();
  return kExitDone;
}

}  // namespace

void add_tokenize(CLI::App& program, Action& action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = program.add_subcommand("tokenize", "Text to token ids and back, JSONL to JSONL");
  command->add_option("--model", options->model, "folder with tokenizer.json or cohort_tokenizer.json")->required();
  command
      ->add_option("--input", options->input,
                   "JSONL; each row {\"text\": …} or {\"messages\": [{\"role\", \"content\"}, …]}, with --decode {\"ids\": […]}")
      ->required();
  command->add_option("--output", options->output, "JSONL in the same order: text and ids, with --decode text; default: standard output");
  CLI::Option* decode =
      command->add_flag("--decode", options->decode, "ids to text; ids without a token give nothing, bytes that are not UTF-8 give U+FFFD");
  command->add_flag("--skip-special-tokens", options->skip_special_tokens, "with --decode: without <|im_end|> and the like")->needs(decode);
  command->add_flag("--no-special-tokens", options->no_special_tokens, "without what the tokenizer puts around a text, such as BOS")
      ->excludes(decode);
  command->add_flag("--keep-going", options->keep_going,
                    "a row that cannot be converted gives {\"error\": …} and does not end the command");
  command->add_flag("--offsets", options->offsets, "also the characters [begin, end) of the text that each token stands for")
      ->excludes(decode);
  command->footer(
      "With a tokenizer.json the ids are those of the Python package `tokenizers`, Tokenizer.encode(text): names of special tokens in\n"
      "the text become those tokens, and what the post-processor puts around a text is there.\n"
      "Messages are written down by the model's chat template, with the row's \"add_generation_prompt\" and \"chat_template_kwargs\":\n"
      "text and ids of apply_chat_template, but names of special tokens in the messages stay text.\n\n"
      "Examples:\n"
      "  echo '{\"text\": \"Add 47 and 85.\"}' > texts.jsonl\n"
      "  cohort tokenize --model DIR --input texts.jsonl --output ids.jsonl\n"
      "  cohort tokenize --model DIR --input ids.jsonl --decode");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return run_tokenize(*options, world); }; });
}

}  // namespace cohort::launcher
