#include <algorithm>
#include <numeric>

#include "core/data/task_makers.h"

namespace cohort::data {
namespace {

TaskItem reasoning_item(std::string text, std::string verifier, std::string ground_truth) {
  TaskItem item;
  item.question.set_category(records::REASONING);
  item.question.set_text(std::move(text));
  item.question.set_verifier(std::move(verifier));
  item.question.set_ground_truth(std::move(ground_truth));
  return item;
}

int64_t power_of_ten(uint32_t exponent) {
  int64_t power = 1;
  for (uint32_t i = 0; i < exponent; ++i) power *= 10;
  return power;
}

std::string pair_key(int64_t a, int64_t b) { return std::to_string(std::min(a, b)) + "+" + std::to_string(std::max(a, b)); }

std::string listed(const std::vector<int64_t>& values, std::string_view separator) {
  std::string text;
  for (const int64_t value : values) text.append(text.empty() ? "" : separator).append(std::to_string(value));
  return text;
}

std::string spaced(const std::vector<int64_t>& values) { return listed(values, " "); }

/// The steps of a + b from the right: "7+5=12 carry 1", " then 4+8+1=13". Returns the sum that they lead to.
std::string add_by_digits(int64_t a, int64_t b, const Making& making, std::vector<std::string>& steps) {
  std::string low_digits;
  int64_t carry = 0;
  for (uint32_t place = 0; place < making.level; ++place, a /= 10, b /= 10) {
    std::string step = place > 0 ? making.say(" then ", "再") : "";
    step += std::to_string(a % 10) + "+" + std::to_string(b % 10);
    if (place > 0) step += "+" + std::to_string(carry);
    int64_t sum = a % 10 + b % 10 + carry;
    if (making.slips()) sum = off_by_one(sum, making.mistakes);
    step += "=" + std::to_string(sum);
    if (place + 1 == making.level) {
      steps.push_back(step);
      return std::to_string(sum) + low_digits;
    }
    carry = sum / 10;
    low_digits = std::to_string(sum % 10) + low_digits;
    steps.push_back(step + making.say(" carry ", "进") + std::to_string(carry));
  }
  return {};  // not reached: level is at least 1
}

/// An expression over the given numbers and its value.
struct Candidate {
  std::string expression;
  int64_t value;
};

Candidate combine(int64_t a, char op, int64_t b) {
  const int64_t value = op == '+' ? a + b : op == '-' ? a - b : a * b;
  return {std::to_string(a) + op + std::to_string(b), value};
}

Candidate combine(int64_t a, char first, int64_t b, char second, int64_t c) {
  const Candidate left = combine(a, first, b);
  return {left.expression + second + std::to_string(c), second == '+' ? left.value + c : left.value - c};
}

/// What a solver tries, in this order.
std::vector<Candidate> candidates(uint32_t level, const std::vector<int64_t>& n) {
  if (level == 1) return {combine(n[0], '+', n[1]), combine(std::max(n[0], n[1]), '-', std::min(n[0], n[1]))};
  if (level == 2) {
    return {combine(n[0], '+', n[1], '+', n[2]), combine(n[0], '+', n[1], '-', n[2]), combine(n[0], '+', n[2], '-', n[1]),
            combine(n[1], '+', n[2], '-', n[0])};
  }
  return {combine(n[0], '*', n[1], '+', n[2]), combine(n[0], '*', n[1], '-', n[2]), combine(n[0], '*', n[2], '+', n[1]),
          combine(n[0], '*', n[2], '-', n[1]), combine(n[1], '*', n[2], '+', n[0])};
}

/// Tries until the target is reached, or seems to be; with nothing left it settles for the last. Returns the expression chosen.
std::string search(const std::vector<Candidate>& tries, int64_t target, const Making& making, std::vector<std::string>& steps) {
  for (size_t i = 0; i < tries.size(); ++i) {
    int64_t value = tries[i].value;
    if (making.slips()) value = off_by_one(value, making.mistakes);
    const bool reached = value == target || i + 1 == tries.size();
    steps.push_back((i == 0 ? making.say("try ", "试") : "") + tries[i].expression + "=" + std::to_string(value) +
                    (reached ? making.say(" yes", "对") : making.say(" no, ", "错，")));
    if (reached) return tries[i].expression;
  }
  return {};
}

}  // namespace

int64_t off_by_one(int64_t value, Mistakes& mistakes) { return value + (mistakes.stream.below(2) == 0 || value == 0 ? 1 : -1); }

TaskItem make_add(const Making& making) {
  const int64_t low = making.level == 1 ? 0 : power_of_ten(making.level - 1);
  const int64_t high = power_of_ten(making.level) - 1;
  const int64_t a = making.stream.between(low, high);
  const int64_t b = making.stream.between(low, high);
  const std::string first = std::to_string(a);
  const std::string second = std::to_string(b);
  TaskItem item = reasoning_item(making.say("Add " + first + " and " + second + ".", "求" + first + "加" + second + "。"), "number",
                                 std::to_string(a + b));
  item.key = pair_key(a, b);
  item.question.set_answer(add_by_digits(a, b, making, item.steps));
  // A single sum has no words of its own.
  if (making.level == 1) item.steps.front() = making.say("one step ", "一步") + item.steps.front();
  return item;
}

TaskItem make_countdown(const Making& making) {
  const bool pair = making.level == 1;
  std::vector<int64_t> numbers;
  for (int i = 0; i < (pair ? 2 : 3); ++i) numbers.push_back(making.stream.between(making.level == 3 ? 2 : 1, pair ? 20 : 9));
  const std::vector<Candidate> tries = candidates(making.level, numbers);
  std::vector<Candidate> targets = tries;
  std::erase_if(targets, [](const Candidate& candidate) { return candidate.value < 0; });
  const int64_t target = targets[making.stream.below(targets.size())].value;

  std::vector<int64_t> sorted = numbers;
  std::sort(sorted.begin(), sorted.end());
  const std::string list = spaced(numbers);
  const std::string goal = std::to_string(target);
  TaskItem item = reasoning_item(making.say("Use " + list + " to make " + goal + ".", "用" + list + "得" + goal + "。"), "countdown", "");
  item.question.set_ground_truth(goal + ";" + listed(numbers, ","));
  item.key = goal + ";" + spaced(sorted);
  item.question.set_answer(search(tries, target, making, item.steps));
  return item;
}

TaskItem make_sort(const Making& making) {
  std::vector<int64_t> digits(10);
  std::iota(digits.begin(), digits.end(), 0);
  const size_t count = making.level + 2;
  for (size_t i = 0; i < count; ++i) std::swap(digits[i], digits[i + making.stream.below(10 - i)]);
  digits.resize(count);
  std::vector<int64_t> sorted = digits;
  std::sort(sorted.begin(), sorted.end());
  TaskItem item = reasoning_item(making.say("Sort " + spaced(digits) + ".", "排序" + spaced(digits) + "。"), "list", spaced(sorted));
  item.key = spaced(digits);

  std::vector<int64_t> taken;
  while (digits.size() > 1) {
    auto pick = std::min_element(digits.begin(), digits.end());
    if (making.slips()) pick = digits.begin() + static_cast<std::ptrdiff_t>(making.mistakes.stream.below(digits.size()));
    const std::string smallest = std::to_string(*pick);
    taken.push_back(*pick);
    digits.erase(pick);
    item.steps.push_back(making.say("min " + smallest + " left ", "取" + smallest + "剩") + listed(digits, "") +
                         (digits.size() > 1 ? making.say(", ", "，") : ""));
  }
  taken.push_back(digits.front());
  item.question.set_answer(spaced(taken));
  return item;
}

TaskItem make_echo_digit(const Making& making) {
  const std::string digit = std::to_string(making.stream.below(10));
  TaskItem item = reasoning_item(digit + "=", "exact", digit);
  item.key = digit;
  item.question.set_answer(digit);
  return item;
}

TaskItem make_add2_reversed(const Making& making) {
  const int64_t a = making.stream.between(0, 99);
  const int64_t b = making.stream.between(0, 99);
  const auto padded = [](int64_t value, size_t width) {
    const std::string digits = std::to_string(value);
    return std::string(width - digits.size(), '0') + digits;
  };
  std::string sum = padded(a + b, 3);
  std::reverse(sum.begin(), sum.end());
  TaskItem item = reasoning_item(padded(a, 2) + "+" + padded(b, 2) + "=", "exact", sum);
  item.key = pair_key(a, b);
  item.question.set_answer(sum);
  return item;
}

}  // namespace cohort::data
