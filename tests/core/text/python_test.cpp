#include "core/text/python.h"

#include <catch2/catch.hpp>
#include <limits>

using namespace cohort::text;

TEST_CASE("numbers are written as Python writes them", "[text][python]") {
  // repr() of Python 3.11.
  CHECK(python_float(1.0) == "1.0");
  CHECK(python_float(-0.0) == "-0.0");
  CHECK(python_float(0.1) == "0.1");
  CHECK(python_float(1e15) == "1000000000000000.0");
  CHECK(python_float(1e16) == "1e+16");
  CHECK(python_float(123456789012345680.0) == "1.2345678901234568e+17");
  CHECK(python_float(0.0001) == "0.0001");
  CHECK(python_float(0.00001) == "1e-05");
  CHECK(python_float(5e-324) == "5e-324");
  CHECK(python_float(std::numeric_limits<double>::max()) == "1.7976931348623157e+308");
  CHECK(python_float(-std::numeric_limits<double>::infinity()) == "-inf");
}

TEST_CASE("white space is stripped as Python strips it", "[text][python]") {
  CHECK(python_strip(" \t\n\x0b\x0c\r\x1c\x1f a b \u3000\u2028\u00a0\u0085") == "a b");
  CHECK(python_strip("\u3000\u200b ") == "\u200b");  // ZERO WIDTH SPACE is none
  CHECK(python_strip(" \n ").empty());
  CHECK(python_strip("").empty());
  CHECK(python_strip("\x85x\xa0") == "\x85x\xa0");  // bytes, not characters
  CHECK(begin_without_space(" \n ") == 3);
  CHECK(end_without_space(" \n ") == 0);
}
