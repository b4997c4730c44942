#pragma once
/// Chat templates that this project does not know, through the interpreter of core/text/jinja.

#include <memory>
#include <string>
#include <string_view>

#include "core/text/chat/chat_template.h"

namespace cohort::text {

/// InputError for what the interpreter does not have.
std::unique_ptr<ChatTemplate> make_jinja_template(std::string_view source, const std::string& where);

}  // namespace cohort::text
