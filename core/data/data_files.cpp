#include "core/data/data_files.h"

#include <glob.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "core/base/error.h"

namespace cohort::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 10'000;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::vector<std::string> files_of_folder(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string file = entry->path().string();
    if ((file.ends_with(".jsonl") || is_parquet(file)) && is_file(file)) files.push_back(file);
    if (files.size() > kMaxFiles) break;
  }
  if (error) throw InputError(folder + ": expected a folder that can be read, found " + error.message());
  return files;
}

std::vector<std::string> files_of_pattern(const std::string& pattern) {
  glob_t found = {};
  const int status = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> files;
  for (size_t i = 0; status == 0 && i < found.gl_pathc && files.size() <= kMaxFiles; ++i)
    if (is_file(found.gl_pathv[i])) files.emplace_back(found.gl_pathv[i]);
  globfree(&found);
  return files;
}

}  // namespace

std::string resolve_data_path(const std::string& path) {
  const std::string variable = "$COHORT_DATA";
  if (!path.starts_with(variable + "/")) return path;
  const char* folder = std::getenv("COHORT_DATA");
  if (folder == nullptr || *folder == '\0')
    throw InputError("data.path: expected the environment variable COHORT_DATA to name a folder for \"" + path + "\", found it unset");
  return folder + path.substr(variable.size());
}

std::vector<std::string> find_data_files(const std::string& path) {
  const std::string resolved = resolve_data_path(path);
  std::error_code ignored;
  if (is_file(resolved)) return {resolved};
  const bool folder = fs::is_directory(resolved, ignored);
  const bool pattern = !folder && resolved.find_first_of("*?[") != std::string::npos;
  std::vector<std::string> files = folder ? files_of_folder(resolved) : pattern ? files_of_pattern(resolved) : std::vector<std::string>();
  if (files.size() > kMaxFiles) throw InputError(resolved + ": expected at most " + std::to_string(kMaxFiles) + " files, found more");
  if (files.empty() && folder) throw InputError(resolved + ": expected a folder with *.jsonl or *.parquet files, found none");
  if (files.empty()) throw InputError(resolved + ": expected an existing file, folder or pattern, found none");
  std::sort(files.begin(), files.end());
  return files;
}

bool is_parquet(const std::string& file) { return file.ends_with(".parquet"); }

}  // namespace cohort::data
