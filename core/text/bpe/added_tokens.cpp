#include "core/text/bpe/added_tokens.h"

#include <algorithm>

#include "core/text/bpe/unicode_tables.h"
#include "core/text/utf8.h"

namespace cohort::text::bpe {
namespace {

uint8_t flags_at(std::string_view text, size_t position) {
  const Character c = character_at(text, position);
  return c.valid ? code_flags()[c.code] : uint8_t{0};
}

/// Where the character that ends at `end` > 0 begins.
size_t before(std::string_view text, size_t end) {
  for (size_t length = std::min<size_t>(4, end); length > 1; --length)
    if (const Character c = character_at(text.substr(0, end), end - length); c.valid && c.length == length) return end - length;
  return end - 1;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && (flags_at(text, before(text, begin)) & kWord) != 0) || (end < text.size() && (flags_at(text, end) & kWord) != 0);
}

/// Not before `limit`.
size_t space_before(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit) {
    const size_t previous = before(text, begin);
    if ((flags_at(text, previous) & kSpace) == 0) break;
    begin = previous;
  }
  return begin;
}

size_t space_behind(std::string_view text, size_t end) {
  while (end < text.size() && (flags_at(text, end) & kSpace) != 0) end += character_at(text, end).length;
  return end;
}

}  // namespace

uint32_t TokenFinder::child(uint32_t node, uint8_t byte) const {
  if (node == 0) return root_children_[byte];
  uint32_t next = nodes_[node].first_child;
  while (next != 0 && nodes_[next].byte != byte) next = nodes_[next].next_sibling;
  return next;
}

void TokenFinder::add(std::string_view text, const AddedToken& token) {
  uint32_t node = 0;
  for (size_t i = text.size(); i-- > 0;) {
    const auto byte = static_cast<uint8_t>(text[i]);
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({.next_sibling = nodes_[node].first_child, .byte = byte});
      nodes_[node].first_child = next;
      if (node == 0) root_children_[byte] = next;
    }
    node = next;
  }
  if (nodes_[node].token >= 0) return;
  nodes_[node].token = static_cast<int32_t>(flags_.size());
  flags_.push_back({token.id, static_cast<uint32_t>(text.size()), token.single_word, token.lstrip, token.rstrip});
}

void TokenFinder::finish() {
  std::vector<uint32_t> order = {0};  // the shorter first, as they are the suffixes of the longer
  for (size_t i = 0; i < order.size(); ++i)
    for (uint32_t next = nodes_[order[i]].first_child; next != 0; next = nodes_[next].next_sibling) {
      order.push_back(next);
      Node& node = nodes_[next];
      node.fallback = order[i] == 0 ? 0 : step(nodes_[order[i]].fallback, node.byte);
      if (node.token < 0) node.token = nodes_[node.fallback].token;
    }
}

uint32_t TokenFinder::step(uint32_t node, uint8_t byte) const {
  uint32_t next = child(node, byte);
  while (next == 0 && node != 0) {
    node = nodes_[node].fallback;
    next = child(node, byte);
  }
  return next;
}

std::vector<Segment> TokenFinder::find(std::string_view text, const std::vector<bool>* open) const {
  struct Match {
    size_t begin;
    int32_t token;
  };
  std::vector<Match> longest;  // where a token begins, from the end of the text
  uint32_t node = 0;
  for (size_t i = text.size(); i-- > 0;) {
    node = open == nullptr || (*open)[i] ? step(node, static_cast<uint8_t>(text[i])) : 0;
    if (nodes_[node].token >= 0) longest.push_back({i, nodes_[node].token});
  }
  std::vector<Segment> segments;
  size_t behind = 0;    // the last token that was found
  size_t done = 0;      // the end of the last segment
  size_t stripped = 0;  // behind what rstrip took: white space up to there need not be read again
  const auto add = [&](int32_t id, size_t begin, size_t end) {
    segments.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    done = end;
  };
  for (auto match = longest.rbegin(); match != longest.rend(); ++match) {
    if (match->begin < behind) continue;
    const Flags& flags = flags_[static_cast<size_t>(match->token)];
    size_t begin = match->begin, end = begin + flags.length;
    behind = end;
    if (flags.single_word && touches_word(text, begin, end)) continue;
    if (flags.lstrip) begin = std::max(space_before(text, begin, done), done);
    if (flags.rstrip) end = stripped = space_behind(text, std::max(end, stripped));
    begin = std::min(begin, end);  // a token of white space that the one before has taken
    if (done < begin) add(-1, done, begin);
    add(flags.id, begin, end);
  }
  if (done < text.size()) add(-1, done, text.size());
  return segments;
}

}  // namespace cohort::text::bpe
