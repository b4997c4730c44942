#pragma once
/// traces.jsonl: solved questions as text, one JSON object per line.

#include <string>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::pipeline {

/// Durable, replaces the file.
void write_traces(const std::string& path, const std::vector<records::Trace>& traces);
/// InputError "path:line: …" for a line that is not a trace.
std::vector<records::Trace> read_traces(const std::string& path);

}  // namespace cohort::pipeline
