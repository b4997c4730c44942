#include <algorithm>
#include <array>

#include "core/data/task_makers.h"

namespace cohort::data {
namespace {

struct Word {
  std::string_view english;
  std::string_view chinese;
};

constexpr std::array<Word, 12> kNames = {{{"Tom", "汤姆"},
                                          {"Anna", "安娜"},
                                          {"Ben", "小本"},
                                          {"Mia", "米娅"},
                                          {"Sam", "山姆"},
                                          {"Lily", "莉莉"},
                                          {"Jack", "杰克"},
                                          {"Emma", "艾玛"},
                                          {"Max", "小马"},
                                          {"Nina", "妮娜"},
                                          {"Leo", "利奥"},
                                          {"Rosa", "罗莎"}}};
constexpr std::array<Word, 10> kThings = {{{"apples", "苹果"},
                                           {"books", "本子"},
                                           {"coins", "硬币"},
                                           {"cards", "卡片"},
                                           {"shells", "贝壳"},
                                           {"pens", "笔"},
                                           {"eggs", "鸡蛋"},
                                           {"balls", "皮球"},
                                           {"stamps", "邮票"},
                                           {"cookies", "饼干"}}};

/// A story about how many things somebody has: a start, then events that change the number.
class Story {
 public:
  explicit Story(const Making& making)
      : making_(making),
        name_(draw(kNames)),
        thing_(draw(kThings)),
        largest_(making.level == 1   ? 9
                 : making.level == 2 ? 20
                                     : 50) {
    do other_ = draw(kNames);
    while (other_ == name_);
  }

  TaskItem tell() {
    const bool in_boxes = making_.stream.below(4) == 0;
    in_boxes ? begin_with_boxes() : begin_with_number();
    for (uint32_t events = in_boxes ? 1 : 0; events < making_.level; ++events) add_event();
    text_ += making_.say("How many " + thing_ + " does " + name_ + " have now?", name_ + "现在有多少个" + thing_ + "？");
    item_.question.set_category(records::REASONING);
    item_.question.set_text(text_);
    item_.question.set_verifier("number");
    item_.question.set_ground_truth(std::to_string(right_));
    item_.question.set_answer(std::to_string(told_));
    return std::move(item_);
  }

 private:
  template <size_t N>
  std::string draw(const std::array<Word, N>& words) {
    const Word& word = words[making_.stream.below(N)];
    return making_.say(word.english, word.chinese);
  }

  void begin_with_number() {
    right_ = told_ = making_.stream.between(2, largest_);
    const std::string count = std::to_string(right_);
    text_ = making_.say(name_ + " has " + count + " " + thing_ + ". ", name_ + "有" + count + "个" + thing_ + "。");
    item_.key = count;
  }

  void begin_with_boxes() {
    const int64_t boxes = making_.stream.between(2, 9), each = making_.stream.between(2, 9);
    const std::string first = std::to_string(boxes), second = std::to_string(each);
    text_ = making_.say(name_ + " has " + first + " boxes with " + second + " " + thing_ + " in each box. ",
                        name_ + "有" + first + "个盒子，每个盒子里有" + second + "个" + thing_ + "。");
    right_ = told_ = boxes;
    item_.key = first;
    work_out('*', each);
  }

  /// What happens next: a gain, or a loss of what is there.
  void add_event() {
    const bool loses = right_ > 2 && making_.stream.below(2) == 0;
    const int64_t amount = loses ? making_.stream.between(1, std::min(right_ - 1, largest_)) : making_.stream.between(2, largest_);
    const std::string count = std::to_string(amount);
    switch (making_.stream.below(3)) {
      case 0:
        text_ +=
            loses ? making_.say(name_ + " gives " + count + " " + thing_ + " to " + other_ + ". ", name_ + "给" + other_ + count + "个。")
                  : making_.say(other_ + " gives " + name_ + " " + count + " more. ", other_ + "又给" + name_ + count + "个。");
        break;
      case 1:
        text_ += loses ? making_.say(name_ + " loses " + count + " of them. ", name_ + "丢了" + count + "个。")
                       : making_.say(name_ + " finds " + count + " more. ", name_ + "又找到" + count + "个。");
        break;
      default:
        text_ += loses ? making_.say(name_ + " sells " + count + " of them. ", name_ + "卖了" + count + "个。")
                       : making_.say(name_ + " buys " + count + " more. ", name_ + "又买了" + count + "个。");
    }
    work_out(loses ? '-' : '+', amount);
  }

  /// Tom has 6 + 3 = 9 apples.
  void work_out(char operation, int64_t amount) {
    const auto apply = [&](int64_t value) {
      return operation == '*' ? value * amount : operation == '+' ? value + amount : value - amount;
    };
    const std::string sum = std::to_string(told_) + " " + operation + " " + std::to_string(amount) + " = ";
    right_ = apply(right_);
    told_ = apply(told_);
    if (making_.slips()) told_ = off_by_one(told_, making_.mistakes);
    const std::string space = item_.steps.empty() || making_.chinese ? "" : " ";
    item_.steps.push_back(space + making_.say(name_ + " has " + sum + std::to_string(told_) + " " + thing_ + ".",
                                              name_ + "有" + sum + std::to_string(told_) + "个" + thing_ + "。"));
    item_.key += operation + std::to_string(amount);
  }

  const Making& making_;
  std::string name_, other_, thing_;
  int64_t largest_;    ///< number in the text
  int64_t right_ = 0;  ///< how many there are
  int64_t told_ = 0;   ///< how many the solution says there are
  std::string text_;
  TaskItem item_;
};

}  // namespace

TaskItem make_word_problem(const Making& making) { return Story(making).tell(); }

}  // namespace cohort::data
