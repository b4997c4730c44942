// A build without Apache Arrow.
#include "core/base/error.h"
#include "core/data/parquet.h"

namespace cohort::data {

struct ParquetReader::Content {};

ParquetReader::ParquetReader(const std::string& path, size_t) {
  throw InputError(path + ": expected JSONL, found Parquet, which this build does not read: it was made without Apache Arrow (run scripts/setup.sh and configure again)");
}
ParquetReader::~ParquetReader() = default;
bool ParquetReader::next(nlohmann::json&) { return false; }
uint64_t ParquetReader::row() const { return 0; }
uint64_t ParquetReader::rows() const { return 0; }

bool has_parquet() { return false; }

}  // namespace cohort::data
