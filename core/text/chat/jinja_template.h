#pragma once
/// Chat templates that this project does not know, through the interpreter of core/text/jinja.

#include <memory>
#include <string>
#include <string_view>

#include "core/text/chat/chat_template.h"

namespace cohort::text {

/// InputError for what the interpreter does not have. Rendering refuses messages and variables with objects of more than one key inside
/// (calls of tools, lists of tools): templates print them in the order of their keys, which nlohmann::json does not keep.
std::unique_ptr<ChatTemplate> make_jinja_template(std::string_view source, const std::string& where);

}  // namespace cohort::text
