#include "core/text/language.h"

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/utf8.h"

namespace cohort::text {
namespace {

enum class Script { kNeutral, kLatin, kHan, kOther, kJoiner, kMark };

struct Block {
  char32_t first;
  char32_t last;
  Script script;
};

/// Unicode 15 blocks that hold letters, ascending. What is not listed is neutral.
constexpr std::array kBlocks = {
    Block{0x27, 0x27, Script::kJoiner},       // apostrophe
    Block{0x41, 0x5A, Script::kLatin},        // A-Z
    Block{0x61, 0x7A, Script::kLatin},        // a-z
    Block{0xAA, 0xAA, Script::kLatin},        // feminine ordinal
    Block{0xBA, 0xBA, Script::kLatin},        // masculine ordinal
    Block{0xC0, 0xD6, Script::kLatin},        // Latin-1 letters without × and ÷
    Block{0xD8, 0xF6, Script::kLatin},        //
    Block{0xF8, 0x24F, Script::kLatin},       // Latin extended A and B
    Block{0x250, 0x2AF, Script::kLatin},      // phonetic
    Block{0x300, 0x36F, Script::kMark},       // combining marks: part of the letter before
    Block{0x370, 0x1DFF, Script::kOther},     // Greek to phonetic extensions: Cyrillic, Arabic, Indic, Thai, Georgian, …
    Block{0x1E00, 0x1EFF, Script::kLatin},    // Latin extended additional
    Block{0x1F00, 0x1FFF, Script::kOther},    // Greek extended
    Block{0x2019, 0x2019, Script::kJoiner},   // typographic apostrophe
    Block{0x2C00, 0x2DFF, Script::kOther},    // Glagolitic, Coptic, Georgian, Ethiopic, Cyrillic extended
    Block{0x3005, 0x3005, Script::kHan},      // iteration mark
    Block{0x3007, 0x3007, Script::kHan},      // zero
    Block{0x3041, 0x30FA, Script::kOther},    // kana, without the middle dot
    Block{0x30FC, 0x318F, Script::kOther},    // kana, bopomofo, Hangul letters
    Block{0x3400, 0x4DBF, Script::kHan},      // extension A
    Block{0x4E00, 0x9FFF, Script::kHan},      // unified ideographs
    Block{0xA000, 0xABFF, Script::kOther},    // Yi to Meetei Mayek
    Block{0xAC00, 0xD7FF, Script::kOther},    // Hangul syllables
    Block{0xF900, 0xFAFF, Script::kHan},      // compatibility ideographs
    Block{0xFB00, 0xFB06, Script::kLatin},    // Latin ligatures
    Block{0xFB07, 0xFDFF, Script::kOther},    // Armenian, Hebrew, Arabic forms
    Block{0xFE70, 0xFEFC, Script::kOther},    // Arabic forms
    Block{0xFF21, 0xFF3A, Script::kLatin},    // full width A-Z
    Block{0xFF41, 0xFF5A, Script::kLatin},    // full width a-z
    Block{0xFF66, 0xFFDC, Script::kOther},    // half width kana and Hangul
    Block{0x10000, 0x1CFFF, Script::kOther},  // historic scripts, kana supplement
    Block{0x1E000, 0x1EFFF, Script::kOther},  // more scripts
    Block{0x20000, 0x323AF, Script::kHan},    // extensions B to H
};

Script script_of(char32_t code) {
  const auto above = std::upper_bound(kBlocks.begin(), kBlocks.end(), code, [](char32_t c, const Block& block) { return c < block.first; });
  if (above == kBlocks.begin()) return Script::kNeutral;
  const Block& block = *(above - 1);
  return code <= block.last ? block.script : Script::kNeutral;
}

/// Adds words one by one; a run of letters of one script counts when it begins.
class WordCounter {
 public:
  void add(Script script) {
    if (script == Script::kMark) return;
    if (script == Script::kJoiner) {  // goes on with a word only if a letter follows
      if (run_ == Script::kNeutral || joined_) run_ = Script::kNeutral;
      joined_ = run_ != Script::kNeutral;
      return;
    }
    if (script == Script::kHan) ++counts_.chinese;
    if (script == Script::kLatin && run_ != script) ++counts_.english;
    if (script == Script::kOther && run_ != script) ++counts_.other;
    run_ = script == Script::kHan ? Script::kNeutral : script;
    joined_ = false;
  }
  const WordCounts& counts() const { return counts_; }

 private:
  WordCounts counts_;
  Script run_ = Script::kNeutral;  // script of the word we are in
  bool joined_ = false;            // the last character was an apostrophe inside it
};

}  // namespace

WordCounts count_words(std::string_view text) {
  WordCounter counter;
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    counter.add(character.valid ? script_of(character.code) : Script::kNeutral);
    i += character.length;
  }
  return counter.counts();
}

double language_consistency(std::string_view text, std::string_view language) {
  if (language != "en" && language != "zh") throw InputError("language: expected en or zh, found \"" + printable(language) + "\"");
  const WordCounts counts = count_words(text);
  if (counts.total() == 0) return 1.0;
  const int64_t wanted = language == "en" ? counts.english : counts.chinese;
  return static_cast<double>(wanted) / static_cast<double>(counts.total());
}

std::string dominant_language(std::string_view text) {
  const WordCounts counts = count_words(text);
  return 2 * counts.chinese > counts.total() ? "zh" : "en";
}

}  // namespace cohort::text
