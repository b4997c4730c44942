#include "core/base/error.h"

#include "core/base/text_util.h"

namespace cohort {

InputError::InputError(const std::string& problem) : InputError(std::vector<std::string>{problem}) {}

InputError::InputError(std::vector<std::string> problems) : std::runtime_error(join(problems, "\n")), problems_(std::move(problems)) {}

}  // namespace cohort
