#pragma once
/// The grammar of Jinja2, as far as chat templates use it.
///
///   statements   if elif else, for else (with an inline if, break, continue), set (of names, attributes of namespaces, and blocks), macro,
///                with, raw, and Hugging Face's generation
///   expressions  all of Jinja2's, but *args and **kwargs
///
/// Left out, and refused by name: include, import, extends, block, call, filter, do, autoescape, recursive loops.

#include <string_view>

#include "core/text/jinja/syntax.h"

namespace cohort::text::jinja {

/// `source` with normalised newlines (lexer.h). Problem "line N: …" for what is not understood.
Body parse(std::string_view source);

}  // namespace cohort::text::jinja
