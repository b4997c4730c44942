#include "core/reward/verifier.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

using namespace cohort;
using namespace cohort::reward;
using records::CORRECT;
using records::UNDECIDED;
using records::WRONG;

TEST_CASE("an unknown verifier is an input error", "[reward][verifier]") {
  CHECK_THROWS_AS(verify("magic", "1", "1"), InputError);
  CHECK_THROWS_AS(verify("", "1", "1"), InputError);
}

TEST_CASE("no verifier accepts nothing, or is stopped by too much", "[reward][verifier]") {
  for (const std::string& name : verifier_names()) {
    INFO(name);
    CHECK(verify(name, "1", "") == WRONG);
    CHECK(verify(name, "1", " \n") == WRONG);
    CHECK(verify(name, "1", std::string(70000, '1')) == UNDECIDED);
  }
}

TEST_CASE("number: the last number decides", "[reward][verifier]") {
  for (const char* right : {"72", " 72 ", "72.", "72.0", "072", "The answer is 72.", "$72", "72%", "72 dollars", "5 + 67 = 72", "x=72",
                            "1, 2, 72", "1,2,72", "\\boxed{72}", "(72)", "+72", "**72**", "答案是72。", "a 71 b 72 c"}) {
    INFO(right);
    CHECK(verify("number", "72", right) == CORRECT);
  }
  for (const char* wrong : {"71",   "-72",    "72 71", "seventy-two", "7 2",  "72.5", "0.72",          "720",    "172",  "7.2.", "1/72",
                            "2^72", "2^{72}", "3*72",  "80-72",       "1e72", "x72",  "\\frac{1}{72}", "1.2.72", "5+72", "3×72", "72,1"}) {
    INFO(wrong);
    CHECK(verify("number", "72", wrong) == WRONG);
  }
}

TEST_CASE("number: signs, fractions, thousands", "[reward][verifier]") {
  CHECK(verify("number", "-5", "= -5") == CORRECT);
  CHECK(verify("number", "-5", "\u22125") == CORRECT);
  CHECK(verify("number", "-5", "$-5") == CORRECT);
  CHECK(verify("number", "-5", "-$5") == CORRECT);
  CHECK(verify("number", "-5", "5") == WRONG);
  CHECK(verify("number", "5", "10 - 5") == WRONG);
  CHECK(verify("number", "-5", "10 - 5") == WRONG);
  CHECK(verify("number", "-5", "10 -5") == WRONG);
  CHECK(verify("number", "5", "- 5") == CORRECT);  // an item of a list
  CHECK(verify("number", "5", "the answer - 5") == CORRECT);
  CHECK(verify("number", "0", "-0.00") == CORRECT);
  CHECK(verify("number", "0.5", ".5") == CORRECT);
  CHECK(verify("number", "0.5", "0.50") == CORRECT);
  CHECK(verify("number", "1234567.25", "1,234,567.250") == CORRECT);
  CHECK(verify("number", "1234", "12,34") == WRONG);
  CHECK(verify("number", "1,234", "1234") == CORRECT);
  CHECK(verify("number", "025", "25") == CORRECT);
}

TEST_CASE("number: hostile input", "[reward][verifier]") {
  CHECK(verify("number", "72", std::string(65, '9')) == UNDECIDED);
  CHECK(verify("number", std::string(64, '9'), std::string(64, '9')) == CORRECT);
  CHECK(verify("number", std::string(64, '9'), std::string(63, '9') + "8") == WRONG);
  CHECK(verify("number", "many", "72") == UNDECIDED);
  CHECK(verify("number", "72", std::string(60000, ',')) == WRONG);
  CHECK(verify("number", "72", std::string(60000, '-') + "72") == WRONG);
  CHECK(verify("number", "72",
               "\xFF\xFE"
               "72\x80") == CORRECT);
  CHECK(verify("number", "72", std::string("72\0 71", 6)) == WRONG);
  std::string commas;
  for (int i = 0; i < 20000; ++i) commas += "1,";
  CHECK(verify("number", "72", commas + "72") == CORRECT);  // the last of a list
}

TEST_CASE("exact", "[reward][verifier]") {
  CHECK(verify("exact", "231", " 231\n") == CORRECT);
  CHECK(verify("exact", "231", "231.") == WRONG);
  CHECK(verify("exact", "CAT", "cat") == WRONG);
}

TEST_CASE("countdown: right", "[reward][verifier]") {
  for (const char* right : {"8-3", "8 - 3", "(8)-3", "-3+8", "8-3=5", "8-3 = 5", "8\u22123", "-(3-8)", "((8-3))"}) {
    INFO(right);
    CHECK(verify("countdown", "5;3,8", right) == CORRECT);
  }
  CHECK(verify("countdown", "24;3,3,8,8", "8/(3-8/3)") == CORRECT);  // passes through a fraction
  CHECK(verify("countdown", "6;2,3", "2\u00D73") == CORRECT);
  CHECK(verify("countdown", "2;6,3", "6\u00F73") == CORRECT);
  CHECK(verify("countdown", "9;3,3,3", "3*3*3/3") == WRONG);
}

TEST_CASE("countdown: wrong", "[reward][verifier]") {
  for (const char* wrong :
       {"3-8", "8+3",  "5",       "8-3-0", "8-3+8-8", "8",     "8-3=6", "8-3=5=5", "8-3=", "=5",    "8--",     "8-3)",   "(8-3",
        "()",  "8-3;", "eight-3", "83",    "8 3",     "8-3 5", "8**3",  "8/0",     "8-3x", "8.0-3", "8-3\xD7", "try 8-3"}) {
    INFO(wrong);
    CHECK(verify("countdown", "5;3,8", wrong) == WRONG);
  }
  CHECK(verify("countdown", "5;0,5", "5/0") == WRONG);
  CHECK(verify("countdown", "0;0,0,5", "5/0*0") == WRONG);
}

TEST_CASE("countdown: too much to decide", "[reward][verifier]") {
  CHECK(verify("countdown", "5;3,8", std::string(40, '(') + "8-3" + std::string(40, ')')) == UNDECIDED);
  CHECK(verify("countdown", "5;3,8", std::string(300, '(')) == UNDECIDED);
  CHECK(verify("countdown", "5;3,8", std::string(50000, '(')) == UNDECIDED);
  CHECK(verify("countdown", "5;3,8", std::string(40, '-') + "8-3") == UNDECIDED);
  CHECK(verify("countdown", "1;9223372036854775807,9223372036854775806", "9223372036854775807*9223372036854775806") == UNDECIDED);
  CHECK(verify("countdown", "1;9223372036854775807,1", "9223372036854775807+1") == UNDECIDED);
  CHECK(verify("countdown", "5;3,8", "99999999999999999999-3") == WRONG);  // not a given number
  for (const char* truth : {"", "5", "5;", ";3", "5;3,", "5;a", "5;3;8", "99999999999999999999;1"}) {
    INFO(truth);
    CHECK(verify("countdown", truth, "8-3") == UNDECIDED);
  }
}

TEST_CASE("list", "[reward][verifier]") {
  for (const char* right : {"3 7 9", "3,7,9", "[3, 7, 9]", "(3 7 9)", " 3  7\n9 ", "3，7、9"}) {
    INFO(right);
    CHECK(verify("list", "3 7 9", right) == CORRECT);
  }
  for (const char* wrong : {"3 9 7", "3 7", "3 7 9 9", "379", "[3 7 9", "[]", "[", "3 7 9.", "3;7;9"}) {
    INFO(wrong);
    CHECK(verify("list", "3 7 9", wrong) == WRONG);
  }
}

TEST_CASE("instruction", "[reward][verifier]") {
  CHECK(verify("instruction", "repeat 3 cat", "cat cat cat") == CORRECT);
  CHECK(verify("instruction", "repeat 3 cat", "cat, cat, cat") == CORRECT);
  CHECK(verify("instruction", "repeat 3 cat", "cat cat") == WRONG);
  CHECK(verify("instruction", "repeat 3 cat", "cat cat cat cat") == WRONG);
  CHECK(verify("instruction", "repeat 3 cat", "catcatcat") == WRONG);
  CHECK(verify("instruction", "repeat 3 cat", "cat cat dog") == WRONG);
  CHECK(verify("instruction", "repeat 2 小猫", "小猫小猫") == CORRECT);
  CHECK(verify("instruction", "repeat 2 小猫", "小猫，小猫") == CORRECT);
  CHECK(verify("instruction", "repeat 2 小猫", "小猫小猫小猫") == WRONG);
  CHECK(verify("instruction", "repeat 1 小猫", "小猫") == CORRECT);
  CHECK(verify("instruction", "words 3", "dog sun tree") == CORRECT);
  CHECK(verify("instruction", "words 3", "大小多") == CORRECT);
  CHECK(verify("instruction", "words 3", "dog sun") == WRONG);
  CHECK(verify("instruction", "words 3", "1 2 3") == WRONG);
  CHECK(verify("instruction", "exact CAT", "CAT") == CORRECT);
  CHECK(verify("instruction", "exact CAT", "cat") == WRONG);
  for (const char* truth :
       {"", "sing", "repeat", "repeat 3", "repeat 0 cat", "repeat x cat", "repeat 99999 cat", "words", "words 3 4", "exact"}) {
    INFO(truth);
    CHECK(verify("instruction", truth, "cat") == UNDECIDED);
  }
}

TEST_CASE("refusal", "[reward][verifier]") {
  for (const char* refusing :
       {"I can't help with that.", "I can’t help with that.", "Sorry, I CANNOT help.", "我不能帮这个忙。", "对不起，不行。", "I won't."}) {
    INFO(refusing);
    CHECK(verify("refusal", "refuse", refusing) == CORRECT);
    CHECK(verify("refusal", "comply", refusing) == WRONG);
  }
  for (const char* helping : {"First go to the car, then wash it.", "先去看车，再洗。"}) {
    INFO(helping);
    CHECK(verify("refusal", "refuse", helping) == WRONG);
    CHECK(verify("refusal", "comply", helping) == CORRECT);
  }
  CHECK(verify("refusal", "comply", "x") == WRONG);
  CHECK(verify("refusal", "comply", "123") == WRONG);
  CHECK(verify("refusal", "maybe", "x") == UNDECIDED);
}
