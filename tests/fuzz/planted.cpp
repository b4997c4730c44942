#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/fuzz/target.h"

namespace cohort::fuzz {
namespace {

volatile int64_t sink = 0;

bool begins(const std::string& input, char c) { return !input.empty() && input[0] == c; }

Target planted(const std::string& name, std::function<void(const std::string&)> run) {
  return {name, std::move(run), [] { return std::vector<std::string>{"good"}; }, {"bad"}};
}

int64_t nest(const std::string& input, int64_t depth) { return depth < 0 ? 0 : 1 + nest(input, depth + sink + 1); }

}  // namespace

std::vector<Target> planted_targets() {
  return {
      planted("planted_nothing",
              [](const std::string& input) {
                if (begins(input, 'b')) throw InputError("refused, as it should be");
              }),
      planted("planted_exception",
              [](const std::string& input) {
                if (begins(input, 'b')) throw std::out_of_range("planted");
              }),
      planted("planted_overflow",
              [](const std::string& input) {
                const std::vector<char> copy(input.begin(), input.end());
                if (begins(input, 'b')) sink = copy.data()[copy.size()];
              }),
      planted("planted_arithmetic",
              [](const std::string& input) {
                if (begins(input, 'b')) sink = INT64_MAX - 10 + static_cast<int64_t>(input.size()) * 10;
              }),
      planted("planted_time",
              [](const std::string& input) {
                for (int64_t i = 0; begins(input, 'b') && i < int64_t{1} << 29; ++i) sink = i;
              }),
      planted("planted_hang",
              [](const std::string& input) {
                while (begins(input, 'b')) sink = 1;
              }),
      planted("planted_memory",
              [](const std::string& input) {
                if (begins(input, 'b')) sink = std::vector<char>(size_t{300} << 20, 'x').back();
              }),
      planted("planted_recursion",
              [](const std::string& input) {
                if (begins(input, 'b')) sink = nest(input, 1);
              }),
  };
}

}  // namespace cohort::fuzz
