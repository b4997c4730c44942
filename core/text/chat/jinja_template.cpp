#include "core/text/chat/jinja_template.h"

#include "core/base/error.h"

namespace cohort::text {

std::unique_ptr<ChatTemplate> make_jinja_template(std::string_view, const std::string& where) {
  throw InputError(where + ": is not a template that this build knows");
}

}  // namespace cohort::text
