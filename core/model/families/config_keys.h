#pragma once
/// Reads typed keys of a config.json, and remembers which keys were asked for and what is wrong with them, so that one error names all.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace cohort::model {

class ConfigKeys {
 public:
  enum class Need { kRequired, kOptional };

  /// `object` is borrowed. `where` begins every message, for example "DIR/config.json".
  ConfigKeys(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  /// Each leaves `out` as it is where an optional key is absent or null.
  void integer(const char* key, int64_t& out, Need need = Need::kRequired);
  void number(const char* key, double& out, Need need = Need::kRequired);
  void flag(const char* key, bool& out, Need need = Need::kRequired);
  void integers(const char* key, std::vector<int64_t>& out);

  /// A feature that there is in one form only. An absent key is taken to say so.
  void only(const char* key, const nlohmann::json& supported);
  /// The same for a key that says again what others have said.
  void agrees(const char* key, int64_t value, const char* with);

  bool has(const char* key);                                           ///< present and not null; known from now on
  bool names(const char* key) const { return object_.contains(key); }  ///< present, null or not
  const nlohmann::json& at(const char* key);                           ///< of a key that it has
  void ignore(const std::vector<const char*>& keys);                   ///< known, and without influence on the computation

  const std::string& where() const { return where_; }
  void bad(const char* key, const std::string& expected, const nlohmann::json& found);
  /// Every key that was neither asked for nor ignored, unless it is null. `reader` is who does not know it: "model family qwen2".
  void refuse_unknown(const std::string& reader);
  /// Takes over what another reader found, of a part of this object.
  void add_problems_of(const ConfigKeys& part);
  /// InputError with all problems, if there are any.
  void finish() const;

 private:
  const nlohmann::json* find(const char* key, Need need);

  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> known_;
  std::vector<std::string> problems_;
};

}  // namespace cohort::model
