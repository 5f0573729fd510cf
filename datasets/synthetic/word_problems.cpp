#include "datasets/synthetic/word_problems.h"

#include <array>

#include "datasets/synthetic/stream.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::array kNames = {"Mia",  "Tom", "Ana",  "Ben",  "Eva",  "Leo",
                               "Nora", "Sam", "Lily", "Omar", "Ruth", "Ivan"};
constexpr std::array kThings = {"apples", "books",   "coins", "stamps",  "pens",
                                "shells", "marbles", "cards", "buttons", "stones"};
constexpr std::array kBoxes = {"boxes", "bags", "jars", "drawers"};

template <std::size_t N>
std::string pick(Random& random, const std::array<const char*, N>& from) {
  return from[random.below(N)];
}

std::uint64_t between(Random& random, std::uint64_t low, std::uint64_t high) {
  return low + random.below(high - low + 1);
}

// "12+7=<<12+7=19>>19"
std::string step(std::uint64_t a, char operation, std::uint64_t b, std::uint64_t result) {
  return fmt::format("{0}{1}{2}=<<{0}{1}{2}={3}>>{3}", a, operation, b, result);
}

WordProblem bought_and_gave(Random& random) {
  const auto name = pick(random, kNames), other = pick(random, kNames),
             thing = pick(random, kThings);
  const auto had = between(random, 2, 40), bought = between(random, 2, 40);
  const auto gave = between(random, 1, had + bought);
  const auto sum = had + bought;
  return {
      fmt::format("{0} has {1} {2}. {0} buys {3} more and gives {4} to {5}. How many {2} does "
                  "{0} have now?",
                  name, had, thing, bought, gave, other == name ? std::string("a friend") : other),
      fmt::format("After buying, {0} has {1} {2}.\nAfter giving, {0} has {3} {2}.\n#### {4}", name,
                  step(had, '+', bought, sum), thing, step(sum, '-', gave, sum - gave),
                  sum - gave)};
}

WordProblem packed_in_boxes(Random& random) {
  const auto name = pick(random, kNames), thing = pick(random, kThings), box = pick(random, kBoxes);
  const auto boxes = between(random, 2, 12), each = between(random, 2, 20);
  const auto loose = between(random, 1, 30), product = boxes * each;
  return {
      fmt::format("{0} has {1} {2} with {3} {4} in each of them, and {5} more {4} on the table. "
                  "How many {4} does {0} have in all?",
                  name, boxes, box, each, thing, loose),
      fmt::format("In the {0} there are {1} {2}.\nIn all, {3} has {4} {2}.\n#### {5}", box,
                  step(boxes, '*', each, product), thing, name,
                  step(product, '+', loose, product + loose), product + loose)};
}

WordProblem compared(Random& random) {
  const auto name = pick(random, kNames), thing = pick(random, kThings);
  auto other = pick(random, kNames);
  if (other == name) other = "a friend";
  const auto has = between(random, 2, 60), more = between(random, 1, 40), sum = has + more;
  return {fmt::format("{0} has {1} {2}. {3} has {4} more than {0}. How many {2} do they have "
                      "together?",
                      name, has, thing, other == "a friend" ? "A friend" : other, more),
          fmt::format("The other has {0} {1}.\nTogether they have {2} {1}.\n#### {3}",
                      step(has, '+', more, sum), thing, step(has, '+', sum, has + sum), has + sum)};
}

WordProblem spent(Random& random) {
  const auto name = pick(random, kNames), thing = pick(random, kThings);
  const auto count = between(random, 2, 12), price = between(random, 2, 15), cost = count * price;
  const auto had = cost + random.below(61);
  return {
      fmt::format("{0} buys {1} {2} for ${3} each and pays with ${4}. How many dollars does {0} "
                  "get back?",
                  name, count, thing, price, had),
      fmt::format("The {0} cost ${1}.\n{2} gets back ${3}.\n#### {4}", thing,
                  step(count, '*', price, cost), name, step(had, '-', cost, had - cost),
                  had - cost)};
}

WordProblem every_day(Random& random) {
  const auto name = pick(random, kNames), thing = pick(random, kThings);
  const auto each = between(random, 2, 30), days = between(random, 2, 12);
  return {fmt::format("{0} finds {1} {2} every day. How many {2} does {0} find in {3} days?", name,
                      each, thing, days),
          fmt::format("In {0} days {1} finds {2} {3}.\n#### {4}", days, name,
                      step(each, '*', days, each * days), thing, each * days)};
}

constexpr std::array kTemplates = {bought_and_gave, packed_in_boxes, compared, spent, every_day};

std::string_view split_of(const std::string& question) {
  const std::uint64_t tenth = mix64(fnv1a(question)) % 10;
  return tenth == 0 ? "valid" : tenth == 1 ? "test" : "train";
}

}  // namespace

WordProblem word_problem(std::uint64_t seed, std::string_view split, std::uint64_t index) {
  if (split != "train" && split != "valid" && split != "test") {
    throw bad_input("word_problems has no split '{}'; it has: train, valid, test", split);
  }
  Random random = item_stream(seed, split, index);
  while (true) {
    auto problem = kTemplates[random.below(kTemplates.size())](random);
    if (split_of(problem.question) == split) return problem;
  }
}

std::string document(const WordProblem& problem) {
  return fmt::format("Question: {}\nAnswer: {}", problem.question, problem.answer);
}

}  // namespace oasis
