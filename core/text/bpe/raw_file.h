#pragma once
/// The JSON of a tokenizer.json, before anybody asks what it means: vocabulary and merges, which are nearly all of the file, as flat lists,
/// the rest as a document. Strict as core/base/json.h, and bounded: in depth, in values, in the length of a token.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort::text::bpe {

inline constexpr size_t kMaxTokenBytes = 1 << 14;  ///< of one token

/// A string of the file in RawFile::bytes.
struct Slice {
  uint32_t begin, size;
};

struct RawFile {
  std::string bytes;
  std::vector<std::pair<Slice, int64_t>> vocabulary;  ///< of the object model.vocab, in its order; ids from 0 on
  std::vector<std::pair<Slice, Slice>> merges;        ///< of the list model.merges
  nlohmann::json document;                            ///< all of it, with these two empty

  std::string_view text(Slice s) const { return std::string_view(bytes).substr(s.begin, s.size); }
};

/// InputError "WHERE: …" for what is no JSON, a key given twice, or something else than tokens in these two.
RawFile read_raw_file(std::string_view text, const std::string& where);

}  // namespace cohort::text::bpe
