#pragma once
/// A bounded interpreter of the Jinja2 that chat templates are written in (parser.h says which).
///
/// Renders what jinja2 3.1 renders under the settings of transformers: ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop
/// controls, the tag generation, tojson as json.dumps without ASCII escapes, raise_exception, strftime_now. What it cannot do exactly it
/// refuses: letters outside ASCII in upper() and its like, integers over 64 bits, *args, % on strings, attributes like __class__, …
/// Templates come from outside: the bounds in bounds.h make every one end soon, with a text or with an InputError.

#include <ctime>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text/jinja/syntax.h"
#include "core/text/marked_text.h"

namespace cohort::text::jinja {

/// Immutable and safe to share between threads.
class Template {
 public:
  /// `where` names the source in messages. InputError "WHERE: line N: …".
  Template(std::string_view source, std::string where);

  /// `own` are texts of the template's side (bos_token, …), `foreign` an object with everything else. `today` is what strftime_now()
  /// writes. InputError with the line for what goes wrong, raise_exception() among it.
  MarkedText render(const std::vector<std::pair<std::string, std::string>>& own, const nlohmann::ordered_json& foreign,
                    const std::tm& today) const;

 private:
  std::string where_;
  Body body_;
};

}  // namespace cohort::text::jinja
