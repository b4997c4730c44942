#include "core/pipeline/trace_file.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "core/base/error.h"
#include "core/base/file.h"

namespace cohort::pipeline {
namespace {
constexpr uint64_t kMaxBytes = 1ull << 32;
}

void write_traces(const std::string& path, const std::vector<records::Trace>& traces) {
  std::string bytes;
  for (const auto& t : traces) {
    std::string line;
    if (!google::protobuf::util::MessageToJsonString(t, &line).ok()) throw Fault("a trace cannot be written as JSON");
    bytes += line + "\n";
  }
  write_file_atomic(path, bytes);
}

std::vector<records::Trace> read_traces(const std::string& path) {
  const std::string bytes = read_file(path, kMaxBytes);
  std::vector<records::Trace> traces;
  size_t line = 1;
  for (size_t from = 0; from < bytes.size(); ++line) {
    const size_t end = std::min(bytes.find('\n', from), bytes.size());
    records::Trace t;
    if (!google::protobuf::util::JsonStringToMessage(bytes.substr(from, end - from), &t).ok())
      throw InputError(fmt::format("{}:{}: expected a trace, found something else", path, line));
    traces.push_back(std::move(t));
    from = end + 1;
  }
  return traces;
}

}  // namespace cohort::pipeline
