#include "suites/commands/tokenize_command.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "datasets/test_support.h"
#include "datasets/tokenizer.h"

namespace oasis {
namespace {

class TokenizeCommand : public testing::Test {
 protected:
  TokenizeCommand() { byte_tokenizer()->save(folder_.path()); }

  std::string run(const std::string& content, const std::string& flags = "") {
    write_text(folder_ / "input", content);
    CLI::App app;
    add_tokenize_command(app);
    testing::internal::CaptureStdout();
    try {
      app.parse("tokenize --tokenizer " + folder_.path().string() + " " + flags + " " +
                (folder_ / "input").string());
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    std::fflush(stdout);
    return testing::internal::GetCapturedStdout();
  }

  TestFolder folder_;
};

TEST_F(TokenizeCommand, PrintsTheIdsOfEachLine) {
  EXPECT_EQ(run("AB\n\nC"), "[65,66]\n[]\n[67]\n");
  EXPECT_EQ(run(R"("A\nB")", "--json-lines"), "[65,10,66]\n");
}

TEST_F(TokenizeCommand, DecodesThem) {
  EXPECT_EQ(run("[65,10,66]\n[]\n[233]", "--decode"), "\"A\\nB\"\n\"\"\n\"\xef\xbf\xbd\"\n");
}

TEST_F(TokenizeCommand, MistakesNameFileAndLine) {
  const auto message = [this](const std::string& content, const std::string& flags) {
    return message_of([&] { run(content, flags); });
  };
  EXPECT_TRUE(contains(message("\"a\"\nb\n", "--json-lines"), "input: line 2: not valid JSON"));
  EXPECT_TRUE(contains(message("3\n", "--json-lines"), "must be a JSON string, not number"));
  EXPECT_TRUE(contains(message("3\n", "--decode"), "must be an array of token ids, not number"));
  EXPECT_TRUE(contains(message("[1,257]\n", "--decode"), "257 is not a token id (0 to 256)"));
  EXPECT_TRUE(contains(message("[-1]\n", "--decode"), "-1 is not a token id"));
  std::filesystem::remove(folder_ / kTokenizerFile);
  EXPECT_TRUE(contains(message("a\n", ""), "holds no tokenizer"));
}

}  // namespace
}  // namespace oasis
