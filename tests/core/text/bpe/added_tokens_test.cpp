#include "core/text/bpe/added_tokens.h"

#include <catch2/catch.hpp>

#include "core/base/random.h"
#include "core/base/stopwatch.h"

using namespace cohort;
using namespace cohort::text::bpe;

namespace {

TokenFinder finder_of(const std::vector<std::string>& contents) {
  TokenFinder finder;
  for (size_t i = 0; i < contents.size(); ++i) {
    AddedToken token;
    token.id = static_cast<int32_t>(i), token.content = contents[i];
    finder.add(contents[i], token);
  }
  finder.finish();
  return finder;
}

/// By trying every token at every byte.
std::vector<Segment> find_slowly(const std::vector<std::string>& contents, const std::string& text, const std::vector<bool>& open) {
  std::vector<Segment> segments;
  uint32_t done = 0;
  for (uint32_t i = 0; i < text.size();) {
    uint32_t length = 0;
    int32_t id = -1;
    for (size_t k = 0; k < contents.size(); ++k) {
      const auto size = static_cast<uint32_t>(contents[k].size());
      bool fits = size > length && text.compare(i, size, contents[k]) == 0;
      for (uint32_t b = i; fits && b < i + size; ++b) fits = open[b];
      if (fits) length = size, id = static_cast<int32_t>(k);
    }
    if (id < 0) {
      ++i;
      continue;
    }
    if (done < i) segments.push_back({-1, done, i});
    segments.push_back({id, i, i + length});
    done = i += length;
  }
  if (done < text.size()) segments.push_back({-1, done, static_cast<uint32_t>(text.size())});
  return segments;
}

std::string random_text(RandomStream& stream, uint64_t longest) {
  std::string text(1 + stream.below(longest), 'a');
  for (char& c : text) c = static_cast<char>('a' + stream.below(2));
  return text;
}

}  // namespace

TEST_CASE("added tokens: the leftmost, of those the longest, none over a closed byte", "[text][bpe]") {
  RandomStream stream(3, "added tokens test");
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> contents(1 + stream.below(8));
    for (std::string& content : contents) content = random_text(stream, 6);
    const std::string text = random_text(stream, 40);
    std::vector<bool> open(text.size(), true);
    if (round % 2 == 0)
      for (size_t i = 0; i < open.size(); ++i) open[i] = stream.below(8) != 0;
    const std::vector<Segment> found = finder_of(contents).find(text, round % 2 == 0 ? &open : nullptr);
    const std::vector<Segment> expected = find_slowly(contents, text, open);
    INFO(text);
    REQUIRE(found.size() == expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i].id == expected[i].id);
      CHECK(found[i].begin == expected[i].begin);
      CHECK(found[i].end == expected[i].end);
    }
  }
}

TEST_CASE("a long token that almost fits everywhere does not make a text slow", "[text][bpe]") {
  const std::string text(1 << 20, 'a'), run(16383, 'a');
  const TokenFinder finder = finder_of({run + "b", "b" + run, "aaa"});
  const Stopwatch watch;
  CHECK(finder.find(text).size() == (text.size() + 2) / 3);
  CHECK(watch.seconds() < 5.0);  // 2^34 steps, if every byte is a start
}
