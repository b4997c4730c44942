#pragma once
/// Which files a data path means.

#include <string>
#include <vector>

namespace cohort::data {

/// "$COHORT_DATA/x" → the folder named by the environment variable, then /x; other paths unchanged. InputError when it is not set.
std::string resolve_data_path(const std::string& path);

/// A file as it is; a folder's own *.jsonl and *.parquet files; or the regular files that a pattern of *, ? and […] means. Sorted by bytes.
/// `path` may begin with $COHORT_DATA. InputError when there is none, or more than 10,000.
std::vector<std::string> find_data_files(const std::string& path);

/// By its name: *.parquet.
bool is_parquet(const std::string& file);

}  // namespace cohort::data
