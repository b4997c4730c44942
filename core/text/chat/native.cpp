#include "core/text/chat/native.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/text_util.h"

namespace cohort::text::chat {
namespace {

class Native final : public ChatTemplate {
 public:
  explicit Native(const NativeTemplate& row) : row_(row) {}

  std::vector<ChatPart> render(const nlohmann::ordered_json& messages, const ChatOptions& options) const override {
    if (!messages.is_array()) throw InputError(std::string("messages: expected a list, found ") + messages.type_name());
    require_variables(options);
    const std::vector<Value> values = Value(&messages, "messages").items();
    for (size_t i = 0; i < values.size(); ++i)
      if (!messages[i].is_object()) values[i].refuse("an object");
    PartWriter out;
    row_.render({values, options}, out);
    return out.take();
  }
  std::string_view name() const override { return row_.name; }

 private:
  const NativeTemplate& row_;
};

const std::vector<NativeTemplate>& known_templates() {
  static const std::vector<NativeTemplate> all = [] {
    std::vector<NativeTemplate> rows;
    for (const auto& family : {chatml_templates(), deepseek_templates(), llama_templates(), qwen_templates()})
      rows.insert(rows.end(), family.begin(), family.end());
    return rows;
  }();
  return all;
}

std::unique_ptr<ChatTemplate> first_that(const std::function<bool(const NativeTemplate&)>& fits) {
  const auto found = std::find_if(known_templates().begin(), known_templates().end(), fits);
  return found == known_templates().end() ? nullptr : std::make_unique<Native>(*found);
}

}  // namespace

PartWriter& PartWriter::add(std::string_view text, bool from_message) {
  if (text.empty()) return *this;
  if (parts_.empty() || parts_.back().from_message != from_message) parts_.push_back({"", from_message});
  parts_.back().text += text;
  return *this;
}

Value Conversation::variable(const char* name) const {
  const auto found = options.variables.find(name);
  return {found == options.variables.end() ? nullptr : &*found, std::string("variables.") + name};
}

const Value& Conversation::first() const {
  if (messages.empty()) throw InputError("messages: expected at least one, found none");
  return messages.front();
}

std::string source_hash(std::string_view source) {
  for (int i = 0; i < 2 && source.ends_with('\n'); ++i) source.remove_suffix(1);
  return xxh3_128_hex(source);
}

std::unique_ptr<ChatTemplate> find_native_template(std::string_view source) {
  const std::string hash = source_hash(source);
  return first_that([&](const NativeTemplate& row) { return std::find(row.hashes.begin(), row.hashes.end(), hash) != row.hashes.end(); });
}

std::unique_ptr<ChatTemplate> native_template_named(std::string_view name) {
  return first_that([&](const NativeTemplate& row) { return row.name == name; });
}

}  // namespace cohort::text::chat
