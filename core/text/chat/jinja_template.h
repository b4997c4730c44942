#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/text/chat/chat_template.h"

namespace cohort::text {

std::unique_ptr<ChatTemplate> make_jinja_template(std::string_view source, const std::string& where);

}  // namespace cohort::text
