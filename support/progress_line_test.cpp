#include "support/progress_line.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

namespace oasis {
namespace {

struct Capture {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* file = open_memstream(&text, &size);
  ~Capture() {
    std::fclose(file);
    std::free(text);
  }
  std::string contents() {
    std::fflush(file);
    return {text, size};
  }
};

TEST(ProgressLine, PlainLinesComeAtABoundedRateAndTheLastStateIsShown) {
  Capture capture;
  double now = 100;
  ProgressLine line(capture.file, {false, 5.0}, [&] { return now; });
  line.begin("train", 0, 100, "steps");
  for (int step = 1; step <= 100; ++step) {
    now += 0.125;
    line.update(step);
  }
  line.end();
  EXPECT_EQ(capture.contents(),
            "train 1/100 steps (1 %), 8.0 steps/s, 12s left\n"
            "train 41/100 steps (41 %), 8.0 steps/s, 7s left\n"
            "train 81/100 steps (81 %), 8.0 steps/s, 2s left\n"
            "train 100/100 steps (100 %), 8.0 steps/s\n");
}

TEST(ProgressLine, WorkOfAnEarlierSessionDoesNotCountForTheRate) {
  Capture capture;
  double now = 0;
  ProgressLine line(capture.file, {false, 5.0}, [&] { return now; });
  line.begin("train", 90, 100, "steps");
  now = 1;
  line.update(91, "loss 3.5");
  EXPECT_EQ(capture.contents(), "train 91/100 steps (91 %), 1.0 steps/s, 9s left, loss 3.5\n");
}

TEST(ProgressLine, TerminalLineRewritesItselfAndLeavesNothing) {
  Capture capture;
  double now = 0;
  ProgressLine line(capture.file, {true, 0.0}, [&] { return now; });
  line.begin("a", 0, 10, "steps");
  now = 1;
  line.update(5);
  line.message("note");
  line.end();
  const std::string text = capture.contents();
  EXPECT_EQ(text.front(), '\r');
  EXPECT_NE(text.find("note\n"), std::string::npos);
  EXPECT_EQ(text.back(), '\r') << "the line is erased at the end";
}

}  // namespace
}  // namespace oasis
