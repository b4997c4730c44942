#include "core/text/chat/chat_template.h"

#include <fmt/core.h>

#include "core/base/error.h"
#include "core/base/folder.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/text/chat/jinja_template.h"
#include "core/text/chat/native.h"

namespace cohort::text {
namespace {

constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 24;
constexpr const char* kOwnFile = "chat_template.jinja";
constexpr const char* kConfig = "tokenizer_config.json";

using nlohmann::json;

[[noreturn]] void fail(const std::string& where, const char* expected, const json& found) {
  throw InputError(fmt::format("{}: expected {}, found {}", where, expected, found.type_name()));
}

/// A list of named templates: the text of "default".
const json& default_of(const json& list, const std::string& where) {
  for (const json& each : list) {
    if (!each.is_object() || !each.contains("name") || !each.contains("template"))
      fail(where, "a list of objects with name and template", each);
    if (each["name"] == "default") return each["template"];
  }
  throw InputError(where + ": expected a template with the name \"default\" in the list, found none");
}

std::unique_ptr<ChatTemplate> from_config(const Folder& folder) {
  const std::string path = folder.place(kConfig);
  const json config = parse_json(folder.read(kConfig, kMaxConfigBytes), path);
  if (!config.is_object()) fail(path, "an object", config);
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return nullptr;
  const std::string where = path + ": chat_template";
  const json& source = found->is_array() ? default_of(*found, where) : *found;
  if (!source.is_string()) fail(where, "a string or a list of named templates", source);
  return make_chat_template(source.get_ref<const std::string&>(), where);
}

}  // namespace

std::unique_ptr<ChatTemplate> make_chat_template(std::string_view source, const std::string& where) {
  if (source.size() > kMaxTemplateBytes)
    throw InputError(fmt::format("{}: expected a template of at most {} bytes, found {}", where, kMaxTemplateBytes, source.size()));
  if (const size_t bad = first_invalid_utf8(source); bad < source.size())
    throw InputError(fmt::format("{}: expected UTF-8, found another byte at offset {}", where, bad));
  if (auto native = chat::find_native_template(source)) return native;
  return make_jinja_template(source, where);
}

std::unique_ptr<ChatTemplate> load_chat_template(const std::string& folder) {
  const Folder files(folder);
  if (files.has(kOwnFile)) return make_chat_template(files.read(kOwnFile, kMaxTemplateBytes), files.place(kOwnFile));
  return files.has(kConfig) ? from_config(files) : nullptr;
}

std::tm usual_date() {
  std::tm day{};
  day.tm_year = 2024 - 1900, day.tm_mon = 6, day.tm_mday = 26, day.tm_wday = 5, day.tm_yday = 207;
  return day;
}

void require_variables(const ChatOptions& options) {
  if (!options.variables.is_object())
    throw InputError(std::string("variables: expected an object, found ") + options.variables.type_name());
  for (const char* taken : {"messages", "add_generation_prompt", "bos_token", "eos_token"})
    if (options.variables.contains(taken)) throw InputError(fmt::format("variables.{}: expected other names than those of options", taken));
}

std::string text_of(const std::vector<ChatPart>& parts) {
  std::string text;
  for (const ChatPart& part : parts) text += part.text;
  return text;
}

}  // namespace cohort::text
