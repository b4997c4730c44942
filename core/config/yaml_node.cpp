#include "core/config/yaml_node.h"

#include <fmt/core.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "core/base/text_util.h"

namespace cohort::config {

namespace {

constexpr size_t kMaxKeyBytes = 128;

/// Leaves the parser after a problem that has been reported.
struct GiveUp {};

/// Builds the tree from the parser's events. yaml-cpp's own nodes would hide duplicate keys, anchors and tags.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const ReportProblem& report) : text_(text), report_(report) {}

  std::unique_ptr<YamlNode> root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) give_up(mark, "expected one document, found a second");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    take(mark, make(YamlNode::Kind::kNull, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    report_(line(mark), path() + "expected a value, found an alias");
    take(mark, make(YamlNode::Kind::kRefused, mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    refuse_anchor(mark, anchor);
    YamlNode node = make(YamlNode::Kind::kScalar, mark);
    // The parser calls plain text "?" and quoted text "!", but so it does what was written with the tag "!".
    const auto position = static_cast<size_t>(mark.pos);
    const bool written = position < text_.size() && text_[position] == '!';
    if (written || (tag != "?" && tag != "!" && !tag.empty())) {
      report_(line(mark), path() + "expected a value without a tag, found a tag");
      node.kind = YamlNode::Kind::kRefused;
    }
    node.quoted = tag == "!";
    node.text = value;
    take(mark, std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::Kind::kMapping);
  }
  void OnSequenceEnd() override { finish(); }
  void OnMapEnd() override { finish(); }

 private:
  struct Open {
    YamlNode node;
    YAML::Mark mark;
    bool has_key = false;  // a mapping whose key was read and whose value comes next
    bool drop_value = false;
    std::string key = {};
    int key_line = 0;
    std::unordered_map<std::string, int> lines = {};  // of the keys so far
  };

  static int line(const YAML::Mark& mark) { return mark.line + 1; }

  static YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    node.kind = kind;
    node.line = line(mark);
    return node;
  }

  [[noreturn]] void give_up(const YAML::Mark& mark, const std::string& problem) {
    report_(line(mark), path() + problem);
    throw GiveUp{};
  }

  /// "stages.1.n: " of the value that comes next.
  std::string path() const {
    std::string words;
    for (const Open& open : open_) {
      std::string part;
      if (open.node.kind == YamlNode::Kind::kSequence) part = std::to_string(open.node.items.size());
      if (open.has_key) part = printable(open.key);
      if (!part.empty()) words += (words.empty() ? "" : ".") + part;
    }
    return words.empty() ? words : words + ": ";
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) report_(line(mark), path() + "expected a value without an anchor, found an anchor");
  }

  void start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    refuse_anchor(mark, anchor);
    if (tag != "?" && !tag.empty()) report_(line(mark), path() + "expected a value without a tag, found a tag");
    if (open_.size() >= static_cast<size_t>(kMaxConfigDepth)) {
      give_up(mark, fmt::format("expected nesting up to {} levels, found more", kMaxConfigDepth));
    }
    open_.push_back({.node = make(kind, mark), .mark = mark});
  }

  void finish() {
    Open done = std::move(open_.back());
    open_.pop_back();
    take(done.mark, std::move(done.node));
  }

  /// A complete node: the root, an element, a key, or the value of the last key.
  void take(const YAML::Mark& mark, YamlNode node) {
    if (open_.empty()) {
      root_ = std::make_unique<YamlNode>(std::move(node));
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else if (parent.has_key) {
      node.line = parent.key_line;
      if (!parent.drop_value) parent.node.entries.push_back({parent.key, std::move(node)});
      parent.has_key = false;
    } else {
      take_key(mark, parent, node);
    }
  }

  void take_key(const YAML::Mark& mark, Open& parent, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kScalar && node.kind != YamlNode::Kind::kRefused) {
      give_up(mark, "expected a name as key, found " + describe(node));
    }
    if (node.text.size() > kMaxKeyBytes)
      give_up(mark, fmt::format("expected a key of at most {} bytes, found {}", kMaxKeyBytes, node.text.size()));
    parent.key = node.text;
    parent.key_line = node.line;
    parent.has_key = true;
    parent.drop_value = node.kind == YamlNode::Kind::kRefused;
    if (parent.key == "<<" && !node.quoted) {
      report_(node.line, path() + "expected a key, found a merge key");
      parent.drop_value = true;
      return;
    }
    const auto [first, is_new] = parent.lines.emplace(parent.key, node.line);
    if (is_new) return;
    report_(node.line, path() + fmt::format("expected each key once, found it again (first on line {})", first->second));
    parent.drop_value = true;
  }

  std::string_view text_;
  const ReportProblem& report_;
  std::unique_ptr<YamlNode> root_;
  std::vector<Open> open_;
  int documents_ = 0;
};

int line_at(std::string_view text, size_t position) {
  int line = 1;
  for (size_t i = 0; i < position; ++i) line += text[i] == '\n' ? 1 : 0;
  return line;
}

/// What yaml-cpp would accept or explain badly. False when parsing makes no sense.
bool check_bytes(std::string_view text, const ReportProblem& report) {
  const size_t invalid = first_invalid_utf8(text);
  if (invalid < text.size()) {
    report(line_at(text, invalid), fmt::format("expected UTF-8, found the byte 0x{:02x}", static_cast<unsigned char>(text[invalid])));
    return false;
  }
  const size_t zero = text.find('\0');
  if (zero != std::string_view::npos) {
    report(line_at(text, zero), "expected text, found a zero byte");
    return false;
  }
  bool good = true;
  int line = 1;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const size_t first = text.find_first_not_of(" \t", begin);
    const size_t indentation = std::min(first, end) - begin;
    if (text.substr(begin, indentation).find('\t') != std::string_view::npos) {
      report(line, "expected spaces as indentation, found a tab");
      good = false;
    }
    begin = end + 1;
  }
  return good;
}

}  // namespace

const YamlEntry* YamlNode::find(std::string_view key) const {
  for (const YamlEntry& entry : entries) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

YamlEntry* YamlNode::find(std::string_view key) { return const_cast<YamlEntry*>(std::as_const(*this).find(key)); }

std::unique_ptr<YamlNode> parse_yaml(std::string_view text, const ReportProblem& report) {
  if (text.size() > kMaxConfigBytes) {
    report(1, fmt::format("expected at most {} bytes, found {}", kMaxConfigBytes, text.size()));
    return nullptr;
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!check_bytes(text, report)) return nullptr;
  TreeBuilder builder(text, report);
  try {
    // yaml-cpp takes a quoted text that never ends for a good one if the last character is a line break: end with a comment.
    std::istringstream stream(std::string(text) + (text.ends_with('\n') ? "#" : "\n#"));
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const GiveUp&) {
    return nullptr;
  } catch (const YAML::Exception& error) {
    const size_t last = text.empty() ? 0 : text.size() - 1;  // what is missing at the end is reported on the last line
    report(std::min(error.mark.line + 1, line_at(text, last)), "expected YAML, found: " + printable(error.msg, 200));
    return nullptr;
  }
  std::unique_ptr<YamlNode> root = builder.root();
  if (root == nullptr) {
    root = std::make_unique<YamlNode>();
    root->line = 1;
  }
  return root;
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kScalar:
      return node.quoted ? "the text '" + printable(node.text) + "'" : printable(node.text);
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMapping:
      return "a mapping";
    default:
      return "nothing";
  }
}

}  // namespace cohort::config
