#include "core/config/yaml_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text_util.h"
#include "core/config/yaml_node.h"

namespace cohort::config {

namespace {

constexpr size_t kMaxProblems = 100;     // a file that is something else entirely should not fill the terminal
constexpr size_t kMaxElements = 10'000;  // structs in one list
constexpr size_t kMaxNameBytes = 64;     // longer names do not stand for list elements in key paths

std::string with_range(const char* what, const Range& range) {
  const std::string words = range.text();
  return words.empty() ? what : fmt::format("{} {}", what, words);
}

bool is_plain(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar && !node.quoted; }

size_t digits_from(std::string_view text, size_t begin) {
  size_t end = begin;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  return end - begin;
}

/// -?(0|[1-9][0-9]*) at the start of the text; its length, or 0.
size_t integer_length(std::string_view text) {
  const size_t sign = text.starts_with('-') ? 1 : 0;
  const size_t digits = digits_from(text, sign);
  if (digits == 0 || (digits > 1 && text[sign] == '0')) return 0;
  return sign + digits;
}

bool is_integer(std::string_view text) { return !text.empty() && integer_length(text) == text.size(); }

/// JSON's numbers: an integer, then maybe a fraction, then maybe an exponent.
bool is_number(std::string_view text) {
  size_t at = integer_length(text);
  if (at == 0) return false;
  if (at < text.size() && text[at] == '.') {
    const size_t digits = digits_from(text, at + 1);
    if (digits == 0) return false;
    at += 1 + digits;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t digits = digits_from(text, at);
    if (digits == 0) return false;
    at += digits;
  }
  return at == text.size();
}

/// The name by which paths call an element of a list.
std::string element_name(const YamlNode& element, size_t index) {
  const YamlEntry* name = element.find("name");
  const bool usable = name != nullptr && name->value.kind == YamlNode::Kind::kScalar && !name->value.text.empty() &&
                      name->value.text.size() <= kMaxNameBytes;
  return usable ? printable(name->value.text) : std::to_string(index);
}

/// The element that `rest` begins with, by name or index; takes it off `rest` together with the dot. Names may contain dots.
YamlNode* find_element(YamlNode& sequence, std::string_view& rest) {
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    for (const std::string& name : {element_name(sequence.items[i], i), std::to_string(i)}) {
      if (rest == name) {
        rest = {};
        return &sequence.items[i];
      }
      if (rest.size() > name.size() && rest.starts_with(name) && rest[name.size()] == '.') {
        rest.remove_prefix(name.size() + 1);
        return &sequence.items[i];
      }
    }
  }
  return nullptr;
}

std::string unknown_element(const YamlNode& sequence, std::string_view wanted) {
  std::vector<std::string> names;
  for (size_t i = 0; i < sequence.items.size() && i < kMaxProblems; ++i) names.push_back(element_name(sequence.items[i], i));
  const std::string shown = printable(wanted.substr(0, wanted.find('.')));
  const std::string near = nearest_name(shown, names);
  if (!near.empty()) return fmt::format("expected an element of the list, found '{}', did you mean '{}'?", shown, near);
  return fmt::format("expected an element of the list ({}), found '{}'", names.empty() ? "it is empty" : printable(join(names), 200),
                     shown);
}

/// An overridden value stands on no line.
void move_to_command_line(YamlNode& node) {
  node.line = kCommandLine;
  for (YamlNode& item : node.items) move_to_command_line(item);
  for (YamlEntry& entry : node.entries) move_to_command_line(entry.value);
}

}  // namespace

// ---- Places ------------------------------------------------------------------------------------------------------------------------

std::string Places::at(int line) const { return line == kCommandLine ? "command line" : fmt::format("{}:{}", file_, line); }

int Places::line_of(std::string key_path) const {
  while (true) {
    const auto found = lines_.find(key_path);
    if (found != lines_.end()) return found->second;
    const size_t dot = key_path.rfind('.');
    if (dot == std::string::npos) return 1;
    key_path.resize(dot);
  }
}

std::string Places::problem(const std::string& key_path, const std::string& expected, const std::string& found) const {
  return fmt::format("{}: {}: expected {}, found {}", at(line_of(key_path)), key_path, expected, found);
}

// ---- YamlReader: parsing -----------------------------------------------------------------------------------------------------------

/// A struct being visited.
struct YamlReader::Frame {
  const YamlNode* node = nullptr;  // null when the file leaves the struct out
  std::string path;
  std::vector<std::string> known = {};  // keys that visit() asked for
  bool any_key = false;                 // the variant's type is unknown, and with it which keys belong here
};

YamlReader::YamlReader(std::string_view text, std::string file, const std::vector<std::string>& overrides) {
  places_.file_ = std::move(file);
  root_ = parse_yaml(text, [this](int line, const std::string& words) { problem(line, words); });
  if (root_ == nullptr) return;
  for (const std::string& override : overrides) apply_override(override);
}

YamlReader::~YamlReader() = default;

void YamlReader::problem(int line, const std::string& text) {
  if (problems_.size() >= kMaxProblems) {
    ++left_out_;
    return;
  }
  problems_.push_back({line, places_.at(line) + ": " + text});
}

void YamlReader::finish() {
  if (problems_.empty()) return;
  // In the order of the file; what the command line did wrong comes last.
  std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
    return static_cast<unsigned>(a.line - 1) < static_cast<unsigned>(b.line - 1);
  });
  std::vector<std::string> lines;
  for (const Problem& each : problems_) lines.push_back(each.text);
  if (left_out_ > 0) lines.push_back(fmt::format("{}: {} more problems", places_.file_, left_out_));
  throw InputError(std::move(lines));
}

// ---- YamlReader: overrides ---------------------------------------------------------------------------------------------------------

void YamlReader::apply_override(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    problem(kCommandLine, fmt::format("expected key.path=value, found '{}'", printable(text)));
    return;
  }
  const std::string path = text.substr(0, equals);
  const std::string_view value = std::string_view(text).substr(equals + 1);
  YamlNode node;
  if (!value.empty() && std::string_view("[{\"'").find(value.front()) != std::string_view::npos) {
    const auto report = [&](int, const std::string& words) { problem(kCommandLine, printable(path) + ": " + words); };
    const std::unique_ptr<YamlNode> parsed = parse_yaml(value, report);
    if (parsed == nullptr) return;
    node = *parsed;
  } else if (first_invalid_utf8(value) < value.size()) {
    problem(kCommandLine, printable(path) + ": expected UTF-8, found other bytes");
    return;
  } else if (value != "null" && value != "~") {
    node.kind = YamlNode::Kind::kScalar;
    node.text = value;
  }
  move_to_command_line(node);
  set(path, std::move(node));
}

void YamlReader::set(const std::string& path, YamlNode value) {
  std::string_view rest = path;
  YamlNode* node = root_.get();
  const auto fail = [&](const std::string& words) {
    const std::string done = path.substr(0, path.size() - rest.size());
    problem(kCommandLine, fmt::format("{}: {}", printable(done.empty() ? path : done.substr(0, done.size() - 1)), words));
  };
  while (!rest.empty()) {
    if (node->kind == YamlNode::Kind::kSequence) {
      YamlNode* element = find_element(*node, rest);
      if (element == nullptr) return fail(unknown_element(*node, rest));
      node = element;
      continue;
    }
    if (node->kind == YamlNode::Kind::kNull) node->kind = YamlNode::Kind::kMapping;
    if (node->kind != YamlNode::Kind::kMapping) return fail("expected a mapping to set a key in, found " + describe(*node));
    const std::string key(rest.substr(0, rest.find('.')));
    if (key.empty() || rest.back() == '.') return fail("expected key.path=value, found an empty key");
    YamlEntry* entry = node->find(key);
    if (entry == nullptr) entry = &node->entries.emplace_back(YamlEntry{key, {}});
    node = &entry->value;
    rest.remove_prefix(std::min(rest.size(), key.size() + 1));
  }
  *node = std::move(value);
}

// ---- YamlReader: structs -----------------------------------------------------------------------------------------------------------

bool YamlReader::open_root() {
  if (root_ == nullptr) return false;
  return open(root_.get(), "");
}

bool YamlReader::open(const YamlNode* node, const std::string& path) {
  if (node != nullptr) {
    if (!path.empty()) places_.lines_[path] = node->line;
    if (node->kind != YamlNode::Kind::kMapping) {
      expect(*node, path, "a mapping");
      return false;
    }
  }
  frames_.push_back({.node = node, .path = path});
  return true;
}

void YamlReader::close() {
  report_unknown(frames_.back());
  frames_.pop_back();
}

void YamlReader::report_unknown(const Frame& frame) {
  if (frame.node == nullptr || frame.any_key) return;
  for (const YamlEntry& entry : frame.node->entries) {
    if (std::find(frame.known.begin(), frame.known.end(), entry.key) != frame.known.end()) continue;
    if (problems_.size() >= kMaxProblems) {
      ++left_out_;
      continue;
    }
    const std::string near = nearest_name(entry.key, frame.known);
    const std::string hint = near.empty() ? fmt::format("expected one of {}", join(frame.known)) : fmt::format("did you mean '{}'?", near);
    problem(entry.value.line, fmt::format("{}: unknown key, {}", path_of(printable(entry.key)), hint));
  }
}

bool YamlReader::in_file() const { return frames_.back().node != nullptr; }

std::string YamlReader::path_of(const std::string& key) const {
  const std::string& path = frames_.back().path;
  return path.empty() ? key : path + "." + key;
}

const YamlNode* YamlReader::find(const char* key) {
  Frame& frame = frames_.back();
  frame.known.emplace_back(key);
  if (frame.node == nullptr) return nullptr;
  const YamlEntry* entry = frame.node->find(key);
  if (entry == nullptr) return nullptr;
  places_.lines_[path_of(key)] = entry->value.line;
  return &entry->value;
}

bool YamlReader::open_section(const char* key) { return open(find(key), path_of(key)); }

const YamlNode* YamlReader::find_list(const char* key) {
  const YamlNode* node = find(key);
  if (node == nullptr) return nullptr;
  if (node->kind != YamlNode::Kind::kSequence) {
    expect(*node, path_of(key), "a list of mappings");
    return nullptr;
  }
  if (node->items.size() > kMaxElements) {
    problem(node->line, fmt::format("{}: expected at most {} elements, found {}", path_of(key), kMaxElements, node->items.size()));
    return nullptr;
  }
  return node;
}

size_t YamlReader::list_size(const YamlNode& sequence) { return sequence.items.size(); }

bool YamlReader::open_element(const char* key, const YamlNode& sequence, size_t index) {
  const YamlNode& element = sequence.items[index];
  return open(&element, path_of(key) + "." + element_name(element, index));
}

std::string YamlReader::selected_type(const char* key, const std::vector<std::string>& types) {
  const YamlNode* node = find(key);
  if (!in_file()) return "";
  const std::string expected = "one of " + join(types);
  std::string type;
  if (node == nullptr) {
    problem(frames_.back().node->line, fmt::format("{}: expected {}, found nothing", path_of(key), expected));
  } else if (node->kind != YamlNode::Kind::kScalar || std::find(types.begin(), types.end(), node->text) == types.end()) {
    const std::string near = nearest_name(node->text, types);
    expect(*node, path_of(key), near.empty() ? expected : fmt::format("{} (did you mean '{}'?)", expected, near));
  } else {
    type = node->text;
  }
  if (type.empty()) frames_.back().any_key = true;
  return type;
}

void YamlReader::rule(bool holds, const std::string& key, const std::string& expected, const std::string& found) {
  if (holds) return;
  const std::string path = path_of(key);
  if (std::find(wrong_.begin(), wrong_.end(), path) != wrong_.end()) return;
  problem(places_.line_of(path), fmt::format("{}: expected {}, found {}", path, expected, printable(found, 200)));
}

// ---- YamlReader: values ------------------------------------------------------------------------------------------------------------

void YamlReader::expect(const YamlNode& node, const std::string& path, const std::string& expected) {
  if (problems_.size() < kMaxProblems) wrong_.push_back(path);
  if (node.kind == YamlNode::Kind::kRefused) return;
  const std::string place = path.empty() ? "" : path + ": ";
  problem(node.line, fmt::format("{}expected {}, found {}", place, expected, describe(node)));
}

bool YamlReader::read_number(const YamlNode& node, const std::string& path, double& value, const Range& range) {
  double read = 0.0;
  bool good = is_plain(node) && is_number(node.text);
  if (good) {
    const auto result = std::from_chars(node.text.data(), node.text.data() + node.text.size(), read);
    good = result.ec == std::errc{} && range.contains(read);
  }
  if (good) {
    value = read;
  } else {
    expect(node, path, with_range("a number", range));
  }
  return good;
}

bool YamlReader::read_integer(const YamlNode& node, const std::string& path, int64_t& value, const Range& range) {
  int64_t read = 0;
  if (!is_plain(node) || !is_integer(node.text)) {
    expect(node, path, with_range("an integer", range));
    return false;
  }
  const auto result = std::from_chars(node.text.data(), node.text.data() + node.text.size(), read);
  if (result.ec != std::errc{}) {
    expect(node, path, "an integer of 64 bits");
    return false;
  }
  if (!range.contains(static_cast<double>(read))) {
    expect(node, path, with_range("an integer", range));
    return false;
  }
  value = read;
  return true;
}

bool YamlReader::read_text(const YamlNode& node, const std::string& path, std::string& value) {
  // A zero byte can come from an escape; it would cut file names short.
  if (node.kind != YamlNode::Kind::kScalar || node.text.find('\0') != std::string::npos) {
    expect(node, path, "text");
    return false;
  }
  value = node.text;
  return true;
}

void YamlReader::number(const char* key, double& value, const Range& range, const char*) {
  if (const YamlNode* node = find(key)) read_number(*node, path_of(key), value, range);
}

void YamlReader::integer(const char* key, int64_t& value, const Range& range, const char*) {
  if (const YamlNode* node = find(key)) read_integer(*node, path_of(key), value, range);
}

void YamlReader::flag(const char* key, bool& value, const char*) {
  const YamlNode* node = find(key);
  if (node == nullptr) return;
  if (is_plain(*node) && (node->text == "true" || node->text == "false")) {
    value = node->text == "true";
  } else {
    expect(*node, path_of(key), "true or false");
  }
}

void YamlReader::text(const char* key, std::string& value, const char*) {
  if (const YamlNode* node = find(key)) read_text(*node, path_of(key), value);
}

void YamlReader::choice(const char* key, std::string& value, const std::vector<std::string>& choices, const char*) {
  const YamlNode* node = find(key);
  if (node == nullptr) return;
  if (node->kind == YamlNode::Kind::kScalar && std::find(choices.begin(), choices.end(), node->text) != choices.end()) {
    value = node->text;
    return;
  }
  const std::string near = nearest_name(node->text, choices);
  expect(*node, path_of(key), "one of " + join(choices) + (near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near)));
}

template <class Value, class Read>
void YamlReader::read_list(const char* key, std::vector<Value>& values, const std::string& expected, Read read) {
  const YamlNode* node = find(key);
  if (node == nullptr) return;
  const std::string path = path_of(key);
  if (node->kind != YamlNode::Kind::kSequence) return expect(*node, path, expected);
  std::vector<Value> result(node->items.size());
  bool good = true;
  for (size_t i = 0; i < result.size(); ++i) {
    good = read(node->items[i], fmt::format("{}.{}", path, i), result[i]) && good;
  }
  if (good) {
    values = std::move(result);
  } else if (problems_.size() < kMaxProblems) {
    wrong_.push_back(path);
  }
}

void YamlReader::numbers(const char* key, std::vector<double>& values, const Range& range, const char*) {
  read_list(key, values, "a list of numbers",
            [&](const YamlNode& node, const std::string& path, double& value) { return read_number(node, path, value, range); });
}

void YamlReader::integers(const char* key, std::vector<int64_t>& values, const Range& range, const char*) {
  read_list(key, values, "a list of integers",
            [&](const YamlNode& node, const std::string& path, int64_t& value) { return read_integer(node, path, value, range); });
}

void YamlReader::texts(const char* key, std::vector<std::string>& values, const char*) {
  if (in_file()) {
    const YamlEntry* entry = frames_.back().node->find(key);
    if (entry != nullptr && entry->value.kind == YamlNode::Kind::kScalar) {
      std::string one;
      text(key, one, "");
      values = {one};
      return;
    }
  }
  read_list(key, values, "a list of texts",
            [&](const YamlNode& node, const std::string& path, std::string& value) { return read_text(node, path, value); });
}

std::string read_config_file(const std::string& path) { return read_file(path, kMaxConfigBytes); }

}  // namespace cohort::config
