#include "core/model/end_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/folder.h"
#include "core/base/json.h"
#include "core/base/text_util.h"

namespace cohort::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr const char* kKey = "eos_token_id";

std::vector<int32_t> end_tokens_of(const Folder& folder, const char* name, int64_t vocab_size) {
  if (!folder.has(name)) return {};
  const std::string path = folder.place(name);
  const nlohmann::json config = parse_json(folder.read(name, kMaxConfigBytes), path);
  if (!config.is_object()) throw InputError(path + ": expected an object");
  if (!config.contains(kKey) || config.at(kKey).is_null()) return {};
  const nlohmann::json& found = config.at(kKey);
  const nlohmann::json list = found.is_array() ? found : nlohmann::json::array({found});
  std::vector<int32_t> ids;
  for (const nlohmann::json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= vocab_size)
      throw InputError(
          fmt::format("{}: {}: expected token ids from 0 to {}, found {}", path, kKey, vocab_size - 1, printable(found.dump())));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace

std::vector<int32_t> read_end_tokens(const std::string& folder, int64_t vocab_size) {
  const Folder files(folder);
  std::vector<int32_t> ids = end_tokens_of(files, "generation_config.json", vocab_size);
  return ids.empty() ? end_tokens_of(files, "config.json", vocab_size) : ids;
}

}  // namespace cohort::model
